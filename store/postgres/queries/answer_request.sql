-- Keeps the answer with a request id. $1 request id, $2 answer.
UPDATE migrationd.request r SET answer = $2::jsonb WHERE r.request_id = $1::text
