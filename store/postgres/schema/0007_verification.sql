-- Verification on demand, and how rows to do were counted.
ALTER TABLE migrationd.migration
  ADD COLUMN verify_requested_at timestamptz,
  ADD COLUMN verify_actor text,
  ADD COLUMN verified_at timestamptz,
  ADD CONSTRAINT migration_verification_complete
    CHECK ((verify_requested_at IS NULL) = (verify_actor IS NULL) AND (verified_at IS NULL OR verify_requested_at IS NOT NULL));
COMMENT ON COLUMN migrationd.migration.verify_requested_at IS 'The last look over the table of a COMPLETED migration that was asked for. NULL: none.';
COMMENT ON COLUMN migrationd.migration.verified_at IS 'NULL: it waits, or is under way. regressed_rows is what it found.';

ALTER TABLE migrationd.progress
  ADD COLUMN estimate_method text NOT NULL DEFAULT '',
  ADD COLUMN rows_per_second_long double precision NOT NULL DEFAULT 0,
  ADD COLUMN verify_fraction double precision NOT NULL DEFAULT 0,
  ADD COLUMN verify_regressed bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN migrationd.progress.estimate_method IS 'How rows_estimated was found: COUNT, SAMPLE, STATISTICS; empty: unknown.';
COMMENT ON COLUMN migrationd.progress.rows_per_second_long IS 'Over about the last two minutes.';
COMMENT ON COLUMN migrationd.progress.verify_fraction IS 'Of a verification under way, 0 to 1.';
COMMENT ON COLUMN migrationd.progress.verify_regressed IS 'Rows that match again, as far as it has come.';
