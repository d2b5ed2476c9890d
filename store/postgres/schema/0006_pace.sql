-- The pace that an operator set, and the account of time.
ALTER TABLE migrationd.migration ADD COLUMN IF NOT EXISTS pace_override jsonb;
COMMENT ON COLUMN migrationd.migration.pace_override IS
  'What SetPace put in the place of the definition''s pace: {settings: only those that were set, durations in microseconds, author, until}. NULL: nothing.';

ALTER TABLE migrationd.progress ADD COLUMN IF NOT EXISTS time_seconds jsonb NOT NULL DEFAULT '{}',
  ADD COLUMN IF NOT EXISTS accounted_until timestamptz;
COMMENT ON COLUMN migrationd.progress.time_seconds IS
  'Where the time from started_at to accounted_until went, in seconds by word (working, lock_wait, interval, steps, a hold, a state); sums to it.';
