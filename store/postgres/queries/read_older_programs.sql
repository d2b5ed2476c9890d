-- The connected servers that know less than version $1, by the application_name that they give themselves: host and process of each. Sees
-- the sessions of its own role, and all with pg_read_all_stats.
SELECT DISTINCT format('%s at %s', a.application_name, coalesce(host(a.client_addr), 'this host'))
FROM pg_stat_activity a
WHERE a.datname = current_database()
  AND a.application_name ~ '^migrationd [a-z]+ schema [0-9]{1,6}$'
  AND substring(a.application_name FROM '[0-9]+$')::integer < $1::integer
ORDER BY 1
LIMIT 10
