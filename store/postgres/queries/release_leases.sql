-- Gives claims up; those that do not hold any more are left alone. $1 array of {id, token}. Locks in the order of ids.
WITH wanted AS MATERIALIZED (
  SELECT w.id, w.token FROM jsonb_to_recordset($1::jsonb) AS w(id bigint, token text)
), held AS MATERIALIZED (
  SELECT h.migration_id FROM wanted w JOIN migrationd.heartbeat h ON h.migration_id = w.id AND h.token = w.token
  ORDER BY h.migration_id
  FOR NO KEY UPDATE OF h
)
UPDATE migrationd.heartbeat h SET token = NULL, expires_at = NULL FROM held WHERE h.migration_id = held.migration_id
