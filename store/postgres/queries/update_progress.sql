-- Writes counters and hold that a mutation changed; the row was locked by lock_migration. $1 id, $2 object by column names.
UPDATE migrationd.progress p SET
  phase = n.phase, pass = n.pass, rows_done = n.rows_done, rows_estimated = n.rows_estimated, batches_done = n.batches_done,
  sub_batches_done = n.sub_batches_done, unchanged_rows = n.unchanged_rows, failed_ranges = n.failed_ranges,
  rows_per_second = n.rows_per_second, rows_per_second_long = n.rows_per_second_long, estimate_method = n.estimate_method,
  verify_fraction = n.verify_fraction, verify_regressed = n.verify_regressed, fraction = n.fraction, attempts = n.attempts, error_sqlstate = n.error_sqlstate,
  error_message = n.error_message, error_at = n.error_at, current_sub_batch_size = n.current_sub_batch_size,
  working_microseconds = n.working_microseconds, time_seconds = n.time_seconds, accounted_until = n.accounted_until, lanes = n.lanes,
  hold = n.hold, hold_reason = n.hold_reason, hold_since = n.hold_since, hold_until = n.hold_until
FROM jsonb_populate_record(NULL::migrationd.progress, $2::jsonb) n
WHERE p.migration_id = $1::bigint
