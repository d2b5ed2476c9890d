-- What migrationd keeps in a database that it migrates: how far each migration is, and who may move it.
--
-- Progress lives with the data: the cursor of a lane is a row here, moved in the transaction that changes the rows it covers. So a
-- crash, failover or restore of this database loses both or none. All tables are LOGGED, and rows of owner are never deleted.
--
-- Applied by migrationd under an advisory lock, or by a DBA from `migrationctl target-sql`. May be run again: every statement adds only what
-- is missing.
CREATE SCHEMA IF NOT EXISTS migration_control;
COMMENT ON SCHEMA migration_control IS 'Checkpoints of migrationd. Written by migrationd only; freeze(), unfreeze() are for people.';

CREATE TABLE IF NOT EXISTS migration_control.schema_version (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  version integer NOT NULL CHECK (version >= 1),
  oldest_program integer NOT NULL CHECK (oldest_program BETWEEN 1 AND version)
);
COMMENT ON COLUMN migration_control.schema_version.singleton IS 'There is one row.';
COMMENT ON COLUMN migration_control.schema_version.version IS 'Number of the newest step applied.';
COMMENT ON COLUMN migration_control.schema_version.oldest_program IS 'Programs that know at least this version may use the schema.';
COMMENT ON TABLE migration_control.schema_version IS 'Version of this schema, and the oldest schema version whose programs still may use it.';

CREATE TABLE IF NOT EXISTS migration_control.identity (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  id uuid NOT NULL,
  system_identifier text NOT NULL,
  database_oid bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON COLUMN migration_control.identity.singleton IS 'There is one row.';
COMMENT ON COLUMN migration_control.identity.id IS 'Made once; two targets with the same one are the same database or copies of one.';
COMMENT ON COLUMN migration_control.identity.system_identifier IS 'Of the cluster in which the row was made.';
COMMENT ON COLUMN migration_control.identity.database_oid IS 'Of the database in which the row was made.';
COMMENT ON COLUMN migration_control.identity.created_at IS 'When migrationd first came here.';
COMMENT ON TABLE migration_control.identity IS 'Which database this is: a uuid of ours, and the cluster and database it was made in (a copy has the uuid, but another system_identifier).';

CREATE TABLE IF NOT EXISTS migration_control.freeze_flag (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  reason text NOT NULL,
  actor text NOT NULL,
  since timestamptz NOT NULL
);
COMMENT ON COLUMN migration_control.freeze_flag.singleton IS 'There is at most one row.';
COMMENT ON COLUMN migration_control.freeze_flag.reason IS 'For whoever wonders why nothing goes on; shown by the service.';
COMMENT ON COLUMN migration_control.freeze_flag.actor IS 'Who froze, as session_user.';
COMMENT ON COLUMN migration_control.freeze_flag.since IS 'Since when; kept when freeze() is called again.';
COMMENT ON TABLE migration_control.freeze_flag IS 'One row while nothing of migrationd may commit here. Set by freeze(), cleared by unfreeze(), never by migrationd.';

CREATE TABLE IF NOT EXISTS migration_control.owner (
  migration text PRIMARY KEY,
  control_id uuid NOT NULL,
  definition_digest text NOT NULL,
  epoch bigint NOT NULL CHECK (epoch >= 1),
  token uuid NOT NULL,
  pass integer NOT NULL DEFAULT 0 CHECK (pass >= 0),
  table_oid bigint NOT NULL DEFAULT 0,
  column_digest text NOT NULL DEFAULT '',
  rows_before bigint NOT NULL DEFAULT 0,
  sub_batches_before bigint NOT NULL DEFAULT 0,
  frozen boolean NOT NULL DEFAULT false,
  completed_at timestamptz,
  deleted_at timestamptz,
  barrier bigint NOT NULL DEFAULT 0,
  taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE migration_control.owner IS 'One row a migration: the fence. Whoever takes over raises epoch here first, then in all its lanes; then nothing of an earlier epoch commits.';
COMMENT ON COLUMN migration_control.owner.migration IS 'Name of the migration.';
COMMENT ON COLUMN migration_control.owner.definition_digest IS 'Of the definition that the owner works by.';
COMMENT ON COLUMN migration_control.owner.epoch IS 'Counts the claims on the migration; only ever raised, on this row itself.';
COMMENT ON COLUMN migration_control.owner.token IS 'Random, fresh with each epoch, so that an epoch that comes twice (a restore) is not taken for the same claim.';
COMMENT ON COLUMN migration_control.owner.table_oid IS 'Of the table, as at the start; 0: not recorded yet.';
COMMENT ON COLUMN migration_control.owner.column_digest IS 'Of the columns that matter, as at the start.';
COMMENT ON COLUMN migration_control.owner.sub_batches_before IS 'Sub-batches committed in the passes before this one.';
COMMENT ON COLUMN migration_control.owner.frozen IS 'Copy of the freeze flag, so that it is tested on a locked row.';
COMMENT ON COLUMN migration_control.owner.taken_at IS 'When the claim in force began.';
COMMENT ON COLUMN migration_control.owner.created_at IS 'When the migration first came here.';
COMMENT ON COLUMN migration_control.owner.control_id IS 'The control store that works here; another one is refused (FOREIGN_CONTROL).';
COMMENT ON COLUMN migration_control.owner.pass IS '0: none begun. 1: EXECUTE. 2 and up: VERIFY.';
COMMENT ON COLUMN migration_control.owner.rows_before IS 'Rows affected in the passes before this one; those of this pass are in lane.rows.';
COMMENT ON COLUMN migration_control.owner.completed_at IS 'Set once every row is done and verified.';
COMMENT ON COLUMN migration_control.owner.deleted_at IS 'A tombstone: the name is never begun again.';
COMMENT ON COLUMN migration_control.owner.barrier IS 'Counts synchronous commits: after one, all sub-batches before it are durable.';

CREATE TABLE IF NOT EXISTS migration_control.lane (
  migration text NOT NULL REFERENCES migration_control.owner (migration),
  lane integer NOT NULL CHECK (lane >= 0),
  epoch bigint NOT NULL,
  token uuid NOT NULL,
  frozen boolean NOT NULL DEFAULT false,
  lower_bound text[],
  cursor text[],
  upper_bound text[],
  rows bigint NOT NULL DEFAULT 0 CHECK (rows >= 0),
  sub_batches bigint NOT NULL DEFAULT 0 CHECK (sub_batches >= 0),
  PRIMARY KEY (migration, lane)
) WITH (fillfactor = 20);
COMMENT ON TABLE migration_control.lane IS 'One row a lane: a key range that progresses by itself. Moved last in the transaction of each sub-batch, only from exactly the expected epoch, token and cursor.';
COMMENT ON COLUMN migration_control.lane.migration IS 'Name of the migration.';
COMMENT ON COLUMN migration_control.lane.lane IS 'Number of the lane, from 0.';
COMMENT ON COLUMN migration_control.lane.epoch IS 'Of the claim in force: owner.epoch.';
COMMENT ON COLUMN migration_control.lane.token IS 'Of the claim in force: owner.token.';
COMMENT ON COLUMN migration_control.lane.frozen IS 'Copy of the freeze flag: with it no sub-batch commits.';
COMMENT ON COLUMN migration_control.lane.sub_batches IS 'Sub-batches committed in this pass.';
COMMENT ON COLUMN migration_control.lane.lower_bound IS 'Where the lane begins: included in the first lane, excluded in the others. NULL: the table was empty.';
COMMENT ON COLUMN migration_control.lane.cursor IS 'Last key done, as text in UTC and ISO form; NULL: none yet, and lower_bound is included.';
COMMENT ON COLUMN migration_control.lane.upper_bound IS 'Last key of the lane, included. NULL: nothing to do.';
COMMENT ON COLUMN migration_control.lane.rows IS 'Rows affected in this pass, exactly.';

CREATE TABLE IF NOT EXISTS migration_control.failed_range (
  migration text NOT NULL REFERENCES migration_control.owner (migration),
  key text[] NOT NULL,
  kind text NOT NULL CHECK (kind IN ('FAILED', 'UNCHANGED')),
  pass integer NOT NULL,
  sqlstate text NOT NULL DEFAULT '',
  message text NOT NULL DEFAULT '',
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (migration, key)
);
COMMENT ON COLUMN migration_control.failed_range.migration IS 'Name of the migration.';
COMMENT ON COLUMN migration_control.failed_range.key IS 'Key of the row, as text in UTC and ISO form.';
COMMENT ON COLUMN migration_control.failed_range.kind IS 'FAILED: the statement raised an error. UNCHANGED: it left the row as it was.';
COMMENT ON COLUMN migration_control.failed_range.pass IS 'In which pass.';
COMMENT ON COLUMN migration_control.failed_range.sqlstate IS 'Of the error; empty for UNCHANGED.';
COMMENT ON COLUMN migration_control.failed_range.message IS 'Of the error, without row values; empty for UNCHANGED.';
COMMENT ON COLUMN migration_control.failed_range.at IS 'When.';
COMMENT ON TABLE migration_control.failed_range IS 'Keys that could not be done, or (UNCHANGED) still matched `where` after their own turn in VERIFY.';

CREATE TABLE IF NOT EXISTS migration_control.step (
  migration text NOT NULL REFERENCES migration_control.owner (migration),
  name text NOT NULL,
  done_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (migration, name)
);
COMMENT ON COLUMN migration_control.step.migration IS 'Name of the migration.';
COMMENT ON COLUMN migration_control.step.name IS 'Such as prepare/0.';
COMMENT ON COLUMN migration_control.step.done_at IS 'When.';
COMMENT ON TABLE migration_control.step IS 'Statements of prepare and cleanup that have run: recorded in the transaction that ran them.';

CREATE OR REPLACE VIEW migration_control.migration AS
SELECT o.migration AS name,
       o.completed_at,
       o.rows_before + coalesce(l.rows, 0) AS rows,
       o.pass,
       o.epoch,
       o.frozen,
       l.cursors
  FROM migration_control.owner AS o
  LEFT JOIN LATERAL (
       SELECT sum(lane.rows)::bigint AS rows,
              jsonb_object_agg(lane.lane, to_jsonb(lane.cursor)) AS cursors
         FROM migration_control.lane AS lane
        WHERE lane.migration = o.migration) AS l ON true
 WHERE o.deleted_at IS NULL;
COMMENT ON VIEW migration_control.migration IS 'How far each migration is: the answer without migrationd.';

-- Anybody may ask these two, so they run with the rights of whoever made the schema; they tell nothing of rows.
CREATE OR REPLACE FUNCTION migration_control.is_completed(name text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
  SELECT coalesce((SELECT m.completed_at IS NOT NULL FROM migration_control.migration AS m WHERE m.name = $1), false)
$function$;
COMMENT ON FUNCTION migration_control.is_completed(text) IS 'True once every row of the migration is done and verified. False for an unknown one.';

CREATE OR REPLACE FUNCTION migration_control.require_completed(name text) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  found_one migration_control.migration;
BEGIN
  SELECT m.* INTO found_one FROM migration_control.migration AS m WHERE m.name = $1;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'MD005',
      MESSAGE = format('migration %s has not begun in this database', $1),
      HINT = 'Run it to its end before this step.';
  END IF;
  IF found_one.completed_at IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'MD005',
      MESSAGE = format('migration %s is not completed: %s rows done so far, %s', $1, found_one.rows,
                       CASE WHEN found_one.frozen THEN 'and frozen'
                            WHEN found_one.pass = 0 THEN 'not begun yet'
                            WHEN found_one.pass = 1 THEN 'in EXECUTE'
                            ELSE format('in VERIFY (pass %s)', found_one.pass) END),
      HINT = 'Wait for it (migrationctl wait), then repeat this step.';
  END IF;
END
$function$;
COMMENT ON FUNCTION migration_control.require_completed(text) IS 'Raises (MD005), saying how far it is, unless the migration is completed. One line for the next schema migration.';

-- The flag first, so that rows made from now on inherit it; then owners, then lanes, in the order in which takeovers lock them. Each
-- UPDATE waits for a sub-batch that is committing, and after it that lane's check-and-set matches nothing.
CREATE OR REPLACE FUNCTION migration_control.freeze(reason text DEFAULT '') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
  -- A snapshot from before the lock would not see the rows that were made while it was waited for.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION USING ERRCODE = '25001', MESSAGE = 'freeze() needs a READ COMMITTED transaction';
  END IF;
  LOCK TABLE migration_control.freeze_flag IN EXCLUSIVE MODE;
  INSERT INTO migration_control.freeze_flag AS f (singleton, reason, actor, since)
  VALUES (true, $1, session_user, clock_timestamp())
  ON CONFLICT (singleton) DO UPDATE SET reason = excluded.reason, actor = excluded.actor;
  UPDATE migration_control.owner SET frozen = true WHERE NOT frozen;
  UPDATE migration_control.lane SET frozen = true WHERE NOT frozen;
END
$function$;
COMMENT ON FUNCTION migration_control.freeze(text) IS 'After it has committed nothing of migrationd commits in this database until unfreeze(). For a DBA with only psql.';

CREATE OR REPLACE FUNCTION migration_control.unfreeze() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION USING ERRCODE = '25001', MESSAGE = 'unfreeze() needs a READ COMMITTED transaction';
  END IF;
  LOCK TABLE migration_control.freeze_flag IN EXCLUSIVE MODE;
  DELETE FROM migration_control.freeze_flag;
  UPDATE migration_control.owner SET frozen = false WHERE frozen;
  UPDATE migration_control.lane SET frozen = false WHERE frozen;
END
$function$;
COMMENT ON FUNCTION migration_control.unfreeze() IS 'Ends freeze(); migrationd goes on by itself within seconds.';

CREATE OR REPLACE FUNCTION migration_control.refuse(migration text, lane integer)
RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
  IF EXISTS (SELECT FROM migration_control.lane AS l WHERE l.migration = $1 AND l.lane = $2 AND l.frozen) THEN
    RAISE EXCEPTION USING ERRCODE = 'MD003',
      MESSAGE = 'frozen: ' || coalesce((SELECT f.reason FROM migration_control.freeze_flag AS f), '');
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'MD001',
    MESSAGE = format('fenced: another owner works on %s, or its cursor is not where it was', $1);
END
$function$;
COMMENT ON FUNCTION migration_control.refuse(text, integer) IS 'Raises why a check-and-set matched nothing: MD003 frozen, MD001 fenced.';

-- The check-and-set for sessions that can keep no function of their own (behind a transaction pooler); the others have the same statement
-- inside theirs.
CREATE OR REPLACE FUNCTION migration_control.advance(
  migration text, lane integer, epoch bigint, token uuid, old_cursor text[], new_cursor text[], affected bigint)
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
  UPDATE migration_control.lane AS l
     SET cursor = $6, rows = l.rows + $7, sub_batches = l.sub_batches + 1
   WHERE l.migration = $1 AND l.lane = $2 AND l.epoch = $3 AND l.token = $4
     AND l.cursor IS NOT DISTINCT FROM $5 AND NOT l.frozen;
  IF NOT FOUND THEN
    PERFORM migration_control.refuse($1, $2);
  END IF;
  RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
END
$function$;
COMMENT ON FUNCTION migration_control.advance(text, integer, bigint, uuid, text[], text[], bigint) IS 'The last write of a sub-batch: moves the cursor from exactly the expected place, or raises. Returns the time, in microseconds since 1970.';

GRANT USAGE ON SCHEMA migration_control TO PUBLIC;
REVOKE ALL ON FUNCTION migration_control.freeze(text), migration_control.unfreeze(), migration_control.refuse(text, integer),
  migration_control.advance(text, integer, bigint, uuid, text[], text[], bigint) FROM PUBLIC;

INSERT INTO migration_control.schema_version (version, oldest_program) VALUES (1, 1) ON CONFLICT (singleton) DO NOTHING;

-- When a DBA runs this, the role of migrationd (here migrator) needs, besides its rights on the tables that it migrates:
--   GRANT SELECT ON ALL TABLES IN SCHEMA migration_control TO migrator;
--   GRANT INSERT, UPDATE (singleton) ON migration_control.identity TO migrator;
--   GRANT UPDATE ON migration_control.freeze_flag TO migrator;
--   GRANT INSERT, UPDATE ON migration_control.owner TO migrator;
--   GRANT INSERT, UPDATE, DELETE ON migration_control.lane TO migrator;
--   GRANT INSERT, DELETE ON migration_control.failed_range, migration_control.step TO migrator;
--   GRANT EXECUTE ON FUNCTION migration_control.advance, migration_control.refuse TO migrator;
--   GRANT CREATE ON SCHEMA migration_control TO migrator;
-- the last one for the trigger function of copy_columns only. TEMPORARY on the database saves round trips.
