-- Removes a few request ids older than 24 h; called with each new one, so more go than come. SKIP LOCKED: two calls never wait for
-- each other here.
DELETE FROM migrationd.request r USING (
  SELECT o.request_id FROM migrationd.request o WHERE o.created_at < clock_timestamp() - interval '24 hours'
  ORDER BY o.created_at LIMIT 20 FOR UPDATE SKIP LOCKED
) old
WHERE r.request_id = old.request_id
