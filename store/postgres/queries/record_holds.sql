-- Writes the holds of migrations that nobody owns, in one statement whatever their number; one that was claimed meanwhile is left to its owner.
-- $1 array of {id, hold, hold_reason, hold_since, hold_until}, each id once. Locks in the order of ids; a hold that is so already is
-- not written again.
WITH input AS MATERIALIZED (
  SELECT u.* FROM jsonb_to_recordset($1::jsonb)
    AS u(id bigint, hold text, hold_reason text, hold_since timestamptz, hold_until timestamptz)
), free AS MATERIALIZED (
  SELECT i.* FROM input i
  JOIN migrationd.heartbeat h ON h.migration_id = i.id
  JOIN migrationd.progress p ON p.migration_id = i.id
  WHERE (h.token IS NULL OR h.expires_at <= clock_timestamp())
    AND (p.hold, p.hold_reason, p.hold_since, p.hold_until) IS DISTINCT FROM (i.hold, i.hold_reason, i.hold_since, i.hold_until)
  ORDER BY i.id
  FOR SHARE OF h FOR NO KEY UPDATE OF p
)
UPDATE migrationd.progress p SET hold = f.hold, hold_reason = f.hold_reason, hold_since = f.hold_since, hold_until = f.hold_until
FROM free f WHERE p.migration_id = f.id
