-- Id of a name on a target, and whether it was deleted; no row when the name was never used. $1 target, $2 name.
SELECT m.id, m.deleted_at IS NOT NULL FROM migrationd.migration m WHERE m.target = $1::text AND m.name = $2::text
