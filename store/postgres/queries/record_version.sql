-- Records one step of the schema, in the transaction that applied it. $1 number, $2 name.
INSERT INTO migrationd.version (version, name) VALUES ($1::integer, $2::text)
