-- Extends the claims that still hold and returns their ids, in one statement whatever their number. $1 array of {id, token}, $2
-- milliseconds. Locks in the order of ids; checks the time again in the UPDATE, after the locks were obtained, so that a claim that
-- expired while this waited stays expired.
WITH wanted AS MATERIALIZED (
  SELECT w.id, w.token FROM jsonb_to_recordset($1::jsonb) AS w(id bigint, token text)
), held AS MATERIALIZED (
  SELECT h.migration_id FROM wanted w JOIN migrationd.heartbeat h ON h.migration_id = w.id AND h.token = w.token
  WHERE h.expires_at > clock_timestamp()
  ORDER BY h.migration_id
  FOR NO KEY UPDATE OF h
)
UPDATE migrationd.heartbeat h SET expires_at = clock_timestamp() + $2::bigint * interval '1 millisecond'
FROM held WHERE h.migration_id = held.migration_id AND h.expires_at > clock_timestamp()
RETURNING h.migration_id, h.token
