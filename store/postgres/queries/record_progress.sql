-- Writes counters, holds and jobs of the claims that still hold, in one statement whatever their number; returns the ids and numbers
-- of the newest job of those with new jobs. $1 array of {id, token, progress: object by column names, jobs: array of objects by column
-- names}, each (id, token) once; $2 uuid of this call.
-- `held` locks in the order of ids, and leaves out what this very call has written already, before a connection was lost at COMMIT.
-- progress.last_job numbers the jobs, and its row is locked, so numbers have neither gaps nor doubles.
WITH input AS MATERIALIZED (
  SELECT u.id, u.token, u.progress, u.jobs
  FROM jsonb_to_recordset($1::jsonb) AS u(id bigint, token text, progress jsonb, jobs jsonb)
), held AS MATERIALIZED (
  SELECT h.migration_id, h.expires_at, i.progress, i.jobs
  FROM input i
  JOIN migrationd.heartbeat h ON h.migration_id = i.id AND h.token = i.token
  JOIN migrationd.progress p ON p.migration_id = i.id
  WHERE p.written_by IS DISTINCT FROM $2::uuid
  ORDER BY h.migration_id
  FOR SHARE OF h FOR NO KEY UPDATE OF p
), written AS (
  UPDATE migrationd.progress p SET
    phase = n.phase, pass = n.pass, rows_done = n.rows_done, rows_estimated = n.rows_estimated, batches_done = n.batches_done,
    sub_batches_done = n.sub_batches_done, unchanged_rows = n.unchanged_rows, failed_ranges = n.failed_ranges,
    rows_per_second = n.rows_per_second, rows_per_second_long = n.rows_per_second_long, estimate_method = n.estimate_method,
    verify_fraction = n.verify_fraction, verify_regressed = n.verify_regressed, fraction = n.fraction, attempts = n.attempts, error_sqlstate = n.error_sqlstate,
    error_message = n.error_message, error_at = n.error_at, current_sub_batch_size = n.current_sub_batch_size,
    working_microseconds = n.working_microseconds, time_seconds = n.time_seconds, accounted_until = n.accounted_until, lanes = n.lanes,
    hold = n.hold, hold_reason = n.hold_reason, hold_since = n.hold_since, hold_until = n.hold_until,
    last_job = p.last_job + jsonb_array_length(held.jobs), written_by = $2::uuid
  FROM held CROSS JOIN LATERAL jsonb_populate_record(NULL::migrationd.progress, held.progress) n
  WHERE p.migration_id = held.migration_id AND held.expires_at > clock_timestamp()
  RETURNING p.migration_id, p.last_job, held.jobs
), inserted AS (
  INSERT INTO migrationd.job (migration_id, number, lane, pass, lower_key, upper_key, rows, sub_batches, batch_size, sub_batch_size,
                              started_at, finished_at, working_microseconds, outcome, sqlstate, message, epoch)
  SELECT w.migration_id, w.last_job - jsonb_array_length(w.jobs) + a.position, j.lane, j.pass, j.lower_key, j.upper_key, j.rows,
         j.sub_batches, j.batch_size, j.sub_batch_size, j.started_at, j.finished_at, j.working_microseconds, j.outcome, j.sqlstate,
         j.message, j.epoch
  FROM written w
  CROSS JOIN LATERAL jsonb_array_elements(w.jobs) WITH ORDINALITY AS a(job, position)
  CROSS JOIN LATERAL jsonb_populate_record(NULL::migrationd.job, a.job) j
)
SELECT w.migration_id, w.last_job FROM written w WHERE jsonb_array_length(w.jobs) > 0
