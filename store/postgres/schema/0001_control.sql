-- What this schema is at, and who this control store is. The schema is called migrationd, not migration_control: that one is on the
-- targets, and both may be in one database.
-- Steps are applied in order, each in one transaction together with its row in migrationd.version; a step that was released is never
-- changed, a new one is added. A DBA may have made the schema beforehand, so that the service needs no CREATE on the database.
CREATE SCHEMA IF NOT EXISTS migrationd;

CREATE TABLE migrationd.version (
  version integer PRIMARY KEY CHECK (version > 0),  -- number of the step's file
  name text NOT NULL,                               -- file name without .sql
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE migrationd.version IS 'One row for each step of this schema that was applied.';

CREATE TABLE migrationd.control (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  control_id uuid NOT NULL DEFAULT gen_random_uuid(),
  oldest_program integer NOT NULL CHECK (oldest_program > 0),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE migrationd.control IS 'Exactly one row: this control store.';
COMMENT ON COLUMN migrationd.control.control_id IS
  'Identity of this control store. Targets remember whose migrations they hold, and refuse another one.';
COMMENT ON COLUMN migrationd.control.oldest_program IS
  'A program may use this schema when the newest step it knows is at least this one. Additive steps leave it; a step that takes something away sets it.';

INSERT INTO migrationd.control (oldest_program) VALUES (1);
