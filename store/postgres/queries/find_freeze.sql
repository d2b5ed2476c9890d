-- The freeze of a target as a document, whether it is in force, and database time. Locks the row. $1 target.
SELECT to_jsonb(f), f.until IS NULL OR f.until > clock_timestamp() FROM migrationd.freeze f WHERE f.target = $1::text FOR UPDATE
