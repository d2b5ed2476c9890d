-- Removes the oldest jobs of some migrations beyond those that are kept, at most $3 of each at a time: it is called at every write of
-- jobs, so it keeps up. $1 array of {id, last_job}, $2 how many are kept. Numbers have no gaps, so nothing is counted.
DELETE FROM migrationd.job j
USING jsonb_to_recordset($1::jsonb) AS w(id bigint, last_job bigint)
CROSS JOIN LATERAL (
  SELECT o.number FROM migrationd.job o
  WHERE o.migration_id = w.id AND o.number <= w.last_job - $2::bigint
  ORDER BY o.number LIMIT $3::bigint
) old
WHERE j.migration_id = w.id AND j.number = old.number
