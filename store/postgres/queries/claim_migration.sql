-- Claims a migration that nobody holds: whether it exists, and the lease when it was obtained. $1 id, $2 owner, $3 fresh token, $4
-- milliseconds. SKIP LOCKED: when another claim or a write by the owner is under way there is nothing to wait for. The token is made
-- by the caller, so a claim sent again after a lost connection finds itself; the epoch is then one higher still, which is allowed.
WITH free AS MATERIALIZED (
  SELECT h.migration_id FROM migrationd.heartbeat h
  WHERE h.migration_id = $1::bigint AND (h.token IS NULL OR h.expires_at <= clock_timestamp() OR h.token = $3::text)
  FOR UPDATE SKIP LOCKED
), beat AS (
  UPDATE migrationd.heartbeat h SET token = $3::text, expires_at = clock_timestamp() + $4::bigint * interval '1 millisecond'
  FROM free f WHERE h.migration_id = f.migration_id
  RETURNING h.migration_id, h.token, h.expires_at
), claimed AS (
  UPDATE migrationd.lease l SET owner = $2::text, epoch = l.epoch + 1, claimed_at = clock_timestamp()
  FROM beat b WHERE l.migration_id = b.migration_id
  RETURNING jsonb_build_object('owner', l.owner, 'token', b.token, 'epoch', l.epoch, 'expires_at', b.expires_at, 'live', true) AS lease
)
SELECT EXISTS (SELECT FROM migrationd.migration m WHERE m.id = $1::bigint AND m.deleted_at IS NULL),
       (SELECT c.lease FROM claimed c)
