-- Remembers what stands behind a target's name. $1 the target by column names.
INSERT INTO migrationd.target (name, uuid, system_identifier, database_oid)
SELECT n.name, n.uuid, n.system_identifier, n.database_oid FROM jsonb_populate_record(NULL::migrationd.target, $1::jsonb) n
ON CONFLICT (name) DO UPDATE
  SET uuid = excluded.uuid, system_identifier = excluded.system_identifier, database_oid = excluded.database_oid,
      seen_at = clock_timestamp()
