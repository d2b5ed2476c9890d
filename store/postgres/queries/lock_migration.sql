-- Locks a migration and its progress until the end of the transaction; no row when there is none or it was deleted. $1 id. A
-- statement of its own: what is read after it is newer than whatever it waited for.
SELECT 1 FROM migrationd.migration m JOIN migrationd.progress p ON p.migration_id = m.id
WHERE m.id = $1::bigint AND m.deleted_at IS NULL
FOR NO KEY UPDATE OF m, p
