-- Events as documents, newest first. $1 migration, 0: all; $2 array of kinds, empty: all; $3 below this sequence (0: from the newest), $4 how
-- many. Values are known when it is planned (nothing is prepared), so each form gets its own index.
SELECT to_jsonb(e) FROM migrationd.event e
WHERE ($1::bigint = 0 OR e.migration_id = $1::bigint)
  AND (jsonb_array_length($2::jsonb) = 0 OR e.kind IN (SELECT jsonb_array_elements_text($2::jsonb)))
  AND ($3::bigint = 0 OR e.sequence < $3::bigint)
ORDER BY e.sequence DESC LIMIT $4::bigint
