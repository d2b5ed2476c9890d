-- Digest and body of the definitions asked for. $1 array of digests, only of those that the process has not read yet.
SELECT d.digest, d.body FROM migrationd.definition d WHERE d.digest IN (SELECT jsonb_array_elements_text($1::jsonb))
