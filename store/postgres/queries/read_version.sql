-- The newest step applied (0: none) and the oldest program that may use the schema.
SELECT (SELECT coalesce(max(v.version), 0) FROM migrationd.version v), c.oldest_program FROM migrationd.control c
