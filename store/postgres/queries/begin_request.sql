-- Takes a request id: one row when it is new (or older than 24 h), none when it is known. $1 request id, $2 call, $3 subject.
-- A second call with the same id at the same time waits here until the first one has ended.
INSERT INTO migrationd.request AS r (request_id, call, subject) VALUES ($1::text, $2::text, $3::text)
ON CONFLICT (request_id) DO UPDATE
  SET call = excluded.call, subject = excluded.subject, answer = NULL, created_at = clock_timestamp()
  WHERE r.created_at < clock_timestamp() - interval '24 hours'
RETURNING 1
