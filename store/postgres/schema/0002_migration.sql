-- Definitions and migrations: what is to be done, and what was decided about it.
CREATE TABLE migrationd.definition (
  digest text PRIMARY KEY CHECK (digest <> ''),
  body jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE migrationd.definition IS
  'Normalized definitions by digest. Rows never change, so whoever has read a digest once need not read it again.';
COMMENT ON COLUMN migrationd.definition.body IS 'migrationcontrol.v1.MigrationDefinition in protobuf''s JSON form.';

CREATE TABLE migrationd.migration (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  target text NOT NULL CHECK (target <> ''),
  name text NOT NULL CHECK (name <> ''),
  version text NOT NULL,
  created_at timestamptz NOT NULL,

  -- Everything below is written only with the revision that was read as a condition, and raises it by one.
  revision bigint NOT NULL DEFAULT 1 CHECK (revision > 0),
  state text NOT NULL,
  intent_state text NOT NULL,
  intent_actor text NOT NULL,
  intent_reason text NOT NULL,
  intent_since timestamptz NOT NULL,
  intent_until timestamptz,
  halt_code text,
  halt_message text,
  halt_since timestamptz,
  start_requested boolean NOT NULL,
  enqueued boolean NOT NULL,
  parameters jsonb NOT NULL,
  batch_size integer NOT NULL CHECK (batch_size > 0),
  sub_batch_size integer NOT NULL CHECK (sub_batch_size > 0),
  max_batch_size integer NOT NULL CHECK (max_batch_size > 0),
  override_batch_size integer CHECK (override_batch_size > 0),
  override_sub_batch_size integer,
  override_author text,
  override_until timestamptz,
  fence text NOT NULL,
  restart_from text NOT NULL,
  pause_after_rows bigint NOT NULL CHECK (pause_after_rows >= 0),
  cleanup_requested boolean NOT NULL,
  cleaned_up boolean NOT NULL,
  accepted_rows bigint NOT NULL,
  regressed_rows bigint NOT NULL,
  started_at timestamptz,
  finished_at timestamptz,
  definition_digest text NOT NULL REFERENCES migrationd.definition,
  catalog_digest text NOT NULL,
  catalog_file text NOT NULL,
  catalog_missing boolean NOT NULL,
  labels jsonb NOT NULL,
  deleted_at timestamptz,

  UNIQUE (target, name),
  CONSTRAINT migration_state_word
    CHECK (state IN ('PENDING', 'RUNNING', 'PAUSING', 'PAUSED', 'HALTED', 'CANCELLING', 'CANCELLED', 'COMPLETED')),
  CONSTRAINT migration_intent_state_word
    CHECK (intent_state IN ('PENDING', 'RUNNING', 'PAUSING', 'PAUSED', 'HALTED', 'CANCELLING', 'CANCELLED', 'COMPLETED')),
  CONSTRAINT migration_fence_word CHECK (fence IN ('NONE', 'CREATING', 'CREATED')),
  CONSTRAINT migration_restart_from_word CHECK (restart_from IN ('CONTINUE', 'START', 'ADOPT', 'RECHECK', 'NEW_SCHEMA')),
  CONSTRAINT migration_halted_has_halt CHECK ((state = 'HALTED') = (halt_code IS NOT NULL)),
  CONSTRAINT migration_halt_complete
    CHECK ((halt_code IS NULL) = (halt_message IS NULL) AND (halt_code IS NULL) = (halt_since IS NULL) AND halt_code <> ''),
  CONSTRAINT migration_completed_has_finished CHECK (state <> 'COMPLETED' OR finished_at IS NOT NULL),
  CONSTRAINT migration_override_complete
    CHECK ((override_batch_size IS NULL) = (override_sub_batch_size IS NULL)
           AND (override_batch_size IS NULL) = (override_author IS NULL)
           AND (override_until IS NULL OR override_batch_size IS NOT NULL)),
  CONSTRAINT migration_deleted_is_over CHECK (deleted_at IS NULL OR state IN ('CANCELLED', 'COMPLETED'))
);
COMMENT ON TABLE migrationd.migration IS
  'One definition on one target. How far it is stands on the target; a copy of that for people is in migrationd.progress.';
COMMENT ON COLUMN migrationd.migration.name IS 'Identifies the migration on its target for ever: also when it is deleted.';
COMMENT ON COLUMN migrationd.migration.version IS '14 digits of the file name.';
COMMENT ON COLUMN migrationd.migration.intent_state IS 'What was last asked for; state follows.';
COMMENT ON COLUMN migrationd.migration.intent_until IS 'A pause that ends by itself at that time.';
COMMENT ON COLUMN migrationd.migration.fence IS
  'Whether the owner row on the target may be inserted: only while CREATING. A row missing after CREATED is a lost checkpoint.';
COMMENT ON COLUMN migrationd.migration.restart_from IS 'From where the next owner begins; set by Retry.';
COMMENT ON COLUMN migrationd.migration.pause_after_rows IS 'A canary: paused by the service once so many rows are done. 0: never.';
COMMENT ON COLUMN migrationd.migration.sub_batch_size IS 'Ceiling of rows in one transaction on the target.';
COMMENT ON COLUMN migrationd.migration.catalog_digest IS
  'Digest of the file as it is now; empty: came by RPC. Differs from definition_digest: changed and not applied.';
COMMENT ON COLUMN migrationd.migration.deleted_at IS 'Deleted: the row stays as a tombstone, so that the name stays taken.';

CREATE TABLE migrationd.progress (
  migration_id bigint PRIMARY KEY REFERENCES migrationd.migration,
  phase text NOT NULL DEFAULT 'PREPARE',
  pass integer NOT NULL DEFAULT 0,
  rows_done bigint NOT NULL DEFAULT 0,
  rows_estimated bigint NOT NULL DEFAULT 0,
  batches_done bigint NOT NULL DEFAULT 0,
  sub_batches_done bigint NOT NULL DEFAULT 0,
  unchanged_rows bigint NOT NULL DEFAULT 0,
  failed_ranges bigint NOT NULL DEFAULT 0,
  rows_per_second double precision NOT NULL DEFAULT 0,
  fraction double precision NOT NULL DEFAULT 0,
  attempts integer NOT NULL DEFAULT 0,
  error_sqlstate text,
  error_message text,
  error_at timestamptz,
  current_sub_batch_size integer NOT NULL DEFAULT 0,
  working_microseconds bigint NOT NULL DEFAULT 0,
  hold_seconds jsonb NOT NULL DEFAULT '{}',
  lanes jsonb NOT NULL DEFAULT '[]',
  hold text NOT NULL DEFAULT 'NONE',
  hold_reason text NOT NULL DEFAULT '',
  hold_since timestamptz,
  hold_until timestamptz,
  last_job bigint NOT NULL DEFAULT 0,
  written_by uuid,
  CONSTRAINT progress_phase_word CHECK (phase IN ('PREPARE', 'EXECUTE', 'VERIFY', 'CLEANUP')),
  CONSTRAINT progress_hold_word
    CHECK (hold IN ('NONE', 'THROTTLED', 'BLOCKED', 'OUT_OF_WINDOW', 'BACKOFF', 'WAITING_TURN', 'NEEDS_START', 'PREFLIGHT',
                    'SKIPPED', 'NO_OWNER', 'FROZEN')),
  CONSTRAINT progress_error_complete
    CHECK ((error_sqlstate IS NULL) = (error_message IS NULL) AND (error_sqlstate IS NULL) = (error_at IS NULL))
) WITH (fillfactor = 50);  -- rewritten about once a second while it runs, in place: no index on what changes
COMMENT ON TABLE migrationd.progress IS
  'Counters and hold of each migration, written in bulk by its owner, without a revision. Can be rebuilt from the target.';
COMMENT ON COLUMN migrationd.progress.pass IS '1: EXECUTE, 2 and up: VERIFY, 0: not begun.';
COMMENT ON COLUMN migrationd.progress.rows_estimated IS '0: unknown.';
COMMENT ON COLUMN migrationd.progress.fraction IS 'Of the key range, by position, 0 to 1; 0 when unknown.';
COMMENT ON COLUMN migrationd.progress.current_sub_batch_size IS 'Rows a transaction right now; 0: not working.';
COMMENT ON COLUMN migrationd.progress.working_microseconds IS 'Time in the target database, summed over lanes.';
COMMENT ON COLUMN migrationd.progress.hold_seconds IS 'Seconds by hold.';
COMMENT ON COLUMN migrationd.progress.lanes IS 'Array of {lane, cursor, upper_bound, rows}; keys are arrays of text.';
COMMENT ON COLUMN migrationd.progress.last_job IS 'Number of the newest job row; jobs of a migration are numbered from 1 without gaps.';
COMMENT ON COLUMN migrationd.progress.written_by IS
  'The call that wrote last: one that lost its connection at COMMIT and tries again finds itself here and adds nothing twice.';
