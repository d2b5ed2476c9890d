-- One row while the claim holds, and keeps it so until the end of the transaction: a claim by another skips the locked row. $1 id,
-- $2 token. The outer condition is checked after the lock was obtained, which may have taken longer than the claim lasts.
WITH held AS MATERIALIZED (
  SELECT h.expires_at FROM migrationd.heartbeat h WHERE h.migration_id = $1::bigint AND h.token = $2::text FOR SHARE
)
SELECT 1 FROM held WHERE held.expires_at > clock_timestamp()
