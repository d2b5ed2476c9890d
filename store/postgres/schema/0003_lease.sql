-- Who works on which migration.
CREATE TABLE migrationd.lease (
  migration_id bigint PRIMARY KEY REFERENCES migrationd.migration,
  owner text NOT NULL DEFAULT '',
  epoch bigint NOT NULL DEFAULT 0 CHECK (epoch >= 0),
  claimed_at timestamptz
);
COMMENT ON TABLE migrationd.lease IS 'The last claim of each migration; whether it still holds stands in migrationd.heartbeat.';
COMMENT ON COLUMN migrationd.lease.owner IS 'host:pid:random of the process; kept after a release.';
COMMENT ON COLUMN migrationd.lease.epoch IS 'Fencing number: one higher at every claim, never lowered.';

CREATE TABLE migrationd.heartbeat (
  migration_id bigint PRIMARY KEY REFERENCES migrationd.migration,
  token text CHECK (token <> ''),
  expires_at timestamptz,
  CONSTRAINT heartbeat_complete CHECK ((token IS NULL) = (expires_at IS NULL))
) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
COMMENT ON TABLE migrationd.heartbeat IS
  'Renewed every few seconds, so narrow and without an index on what changes. The token stands here, not in migrationd.lease, so that a renewal is a check-and-set of one row. Claim, renewal, release and every write by an owner lock this row first.';
COMMENT ON COLUMN migrationd.heartbeat.token IS 'Proof of the claim, fresh each time. NULL: nobody holds it.';
COMMENT ON COLUMN migrationd.heartbeat.expires_at IS 'By the clock of this database. An expired claim is never extended.';
