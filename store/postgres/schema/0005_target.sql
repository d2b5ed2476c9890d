-- What is known about targets.
CREATE TABLE migrationd.target (
  name text PRIMARY KEY CHECK (name <> ''),
  uuid text NOT NULL,
  system_identifier text NOT NULL,
  database_oid bigint NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE migrationd.target IS 'The database behind each target''s name, as last seen: another one there means that all is to be done anew.';
COMMENT ON COLUMN migrationd.target.uuid IS 'migration_control.identity on the target.';

CREATE TABLE migrationd.freeze (
  target text PRIMARY KEY,
  actor text NOT NULL,
  reason text NOT NULL,
  since timestamptz NOT NULL,
  until timestamptz
);
COMMENT ON TABLE migrationd.freeze IS 'Holds all migrations of a target. A row whose time is over is as good as none, and is replaced by the next one.';
COMMENT ON COLUMN migrationd.freeze.target IS 'Empty: all targets.';
COMMENT ON COLUMN migrationd.freeze.until IS 'NULL: until Unfreeze.';
