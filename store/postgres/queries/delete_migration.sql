-- Makes a migration a tombstone and removes its history except events. The row stays, so the name stays taken and events keep what
-- they belong to. Returns a row when it was done. $1 id, $2 revision, $3 state, $4 the event.
WITH gone AS (
  UPDATE migrationd.migration m SET deleted_at = clock_timestamp(), revision = m.revision + 1
  WHERE m.id = $1::bigint AND m.revision = $2::bigint AND m.state = $3::text AND m.deleted_at IS NULL
  RETURNING m.id, m.target, m.name
), jobs AS (
  DELETE FROM migrationd.job j USING gone g WHERE j.migration_id = g.id
), leases AS (
  DELETE FROM migrationd.lease l USING gone g WHERE l.migration_id = g.id
), heartbeats AS (
  DELETE FROM migrationd.heartbeat h USING gone g WHERE h.migration_id = g.id
), event AS (
  INSERT INTO migrationd.event (migration_id, target, migration, at, kind, actor, request_id, from_word, to_word, reason, written_by)
  SELECT g.id, g.target, g.name, clock_timestamp(), e.kind, e.actor, e.request_id, e.from_word, e.to_word, e.reason, e.written_by
  FROM gone g CROSS JOIN jsonb_populate_record(NULL::migrationd.event, $4::jsonb) e
)
SELECT g.id FROM gone g
