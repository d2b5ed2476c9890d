-- Whether the schema was begun. By name, so that it can be asked of an empty database.
SELECT to_regclass('migrationd.version') IS NOT NULL AND to_regclass('migrationd.control') IS NOT NULL
