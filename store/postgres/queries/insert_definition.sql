-- Keeps a definition under its digest; nothing when it is known. $1 digest, $2 body.
INSERT INTO migrationd.definition (digest, body) VALUES ($1::text, $2::jsonb) ON CONFLICT (digest) DO NOTHING
