-- Call, subject and answer of a request id; no row when it is unknown or older than 24 h. $1 request id.
SELECT r.call, r.subject, r.answer FROM migrationd.request r
WHERE r.request_id = $1::text AND r.created_at >= clock_timestamp() - interval '24 hours'
