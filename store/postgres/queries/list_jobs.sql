-- Batches of a migration as documents, newest first, straight from the primary key. $1 id, $2 below this number (0: from the newest), $3 how many.
SELECT to_jsonb(j) FROM migrationd.job j
WHERE j.migration_id = $1::bigint AND ($2::bigint = 0 OR j.number < $2::bigint)
ORDER BY j.number DESC LIMIT $3::bigint
