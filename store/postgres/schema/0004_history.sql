-- What happened.
CREATE TABLE migrationd.event (
  sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  migration_id bigint REFERENCES migrationd.migration,
  target text NOT NULL,
  migration text NOT NULL,
  at timestamptz NOT NULL,
  kind text NOT NULL CHECK (kind <> ''),
  actor text NOT NULL,
  request_id text NOT NULL,
  from_word text NOT NULL,
  to_word text NOT NULL,
  reason text NOT NULL,
  written_by uuid NOT NULL UNIQUE
);
CREATE INDEX event_of_migration ON migrationd.event (migration_id, sequence);
COMMENT ON TABLE migrationd.event IS
  'Who or what changed something, from, to, why, when. Kept for ever, also of deleted migrations: events are few, one for a decision and none for a batch.';
COMMENT ON COLUMN migrationd.event.migration IS 'Name; empty for what concerns the service or a whole target.';
COMMENT ON COLUMN migrationd.event.written_by IS
  'The call that wrote it: after a connection lost at COMMIT, its presence tells that the transaction was committed.';

CREATE TABLE migrationd.job (
  migration_id bigint NOT NULL REFERENCES migrationd.migration,
  number bigint NOT NULL,
  lane integer NOT NULL,
  pass integer NOT NULL,
  lower_key jsonb NOT NULL,
  upper_key jsonb NOT NULL,
  rows bigint NOT NULL,
  sub_batches integer NOT NULL,
  batch_size integer NOT NULL,
  sub_batch_size integer NOT NULL,
  started_at timestamptz NOT NULL,
  finished_at timestamptz NOT NULL,
  working_microseconds bigint NOT NULL,
  outcome text NOT NULL CONSTRAINT job_outcome_word CHECK (outcome IN ('DONE', 'INTERRUPTED')),
  sqlstate text NOT NULL,
  message text NOT NULL,
  epoch bigint NOT NULL,
  PRIMARY KEY (migration_id, number)
);
COMMENT ON TABLE migrationd.job IS
  'One batch. Written in bulk by the owner; the newest 10,000 of each migration are kept. A crash may lose the last second of it: totals come from the target.';
COMMENT ON COLUMN migrationd.job.number IS 'From 1, by migration (progress.last_job): the oldest rows are found without counting.';
COMMENT ON COLUMN migrationd.job.lower_key IS 'Array of text, exclusive; empty: from the first row.';
COMMENT ON COLUMN migrationd.job.upper_key IS 'Array of text, inclusive.';
COMMENT ON COLUMN migrationd.job.outcome IS 'INTERRUPTED: stopped before its end (pause, error, lost lease); what it did is kept.';
COMMENT ON COLUMN migrationd.job.epoch IS 'Of the claim under which it ran.';

CREATE TABLE migrationd.request (
  request_id text PRIMARY KEY CHECK (request_id <> ''),
  call text NOT NULL,
  subject text NOT NULL,
  answer jsonb,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX request_age ON migrationd.request (created_at);
COMMENT ON TABLE migrationd.request IS
  'Calls by request id, kept 24 h, so that a repeated one does nothing. Each new one removes a few that are older.';
COMMENT ON COLUMN migrationd.request.subject IS 'migration/ID or freeze/TARGET.';
COMMENT ON COLUMN migrationd.request.answer IS 'Kept for calls whose answer cannot be read again: Freeze and Unfreeze.';
