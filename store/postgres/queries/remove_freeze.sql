-- Removes a freeze. $1 target.
DELETE FROM migrationd.freeze f WHERE f.target = $1::text
