#include "server/observability/metric_table.h"

#include <algorithm>
#include <cstdlib>

namespace migrationd {

const std::vector<MetricInfo>& AllMetrics() {
  using enum MetricKind;
  // In the control store: the same in every replica. Here: of this process alone.
  static const std::vector<MetricInfo> metrics = {
      {"migrationd_build_info", kGauge, "version,revision,compiler", "1; what is running."},
      // From the control store.
      {"migrationd_migrations", kGauge, "target,state", "Migrations by state, from the control store."},
      {"migrationd_migrations_held", kGauge, "target,hold", "PENDING and RUNNING migrations that wait, by why, from the control store."},
      {"migrationd_migration_state", kGauge, "target,migration,state", "1 for the state that a migration is in; for at most 200 migrations."},
      {"migrationd_migration_hold", kGauge, "target,migration,hold", "1 for the reason why a migration waits; none while it does not."},
      {"migrationd_migration_progress_ratio", kGauge, "target,migration", "Part of the key range that is done, 0 to 1; only while known."},
      {"migrationd_migration_rows_done", kGauge, "target,migration", "Rows affected so far, exactly, over all passes."},
      {"migrationd_migration_attempts", kGauge, "target,migration", "Failed attempts in a row."},
      {"migrationd_migration_failed_ranges", kGauge, "target,migration", "Key ranges left out after errors."},
      {"migrationd_migration_unchanged_rows", kGauge, "target,migration", "Rows that still match `where` after their turn."},
      {"migrationd_regressed_rows", kGauge, "target,migration", "Rows of a COMPLETED migration that match `where` again, as the last verify found."},
      {"migrationd_migration_eta_timestamp_seconds", kGauge, "target,migration", "When it will be done, Unix time; only while known."},
      {"migrationd_migration_at_risk", kGauge, "target,migration", "1 when it will miss its finish_within; only with one."},
      {"migrationd_migration_series_dropped", kGauge, "", "Migrations without series of their own, since there are more than 200."},
      {"migrationd_frozen", kGauge, "target", "1 while a Freeze holds the target."},
      {"migrationd_catalog_problems", kGauge, "", "Definition files that cannot be used."},
      {"migrationd_control_store_up", kGauge, "", "1 while the control store could be read the last time."},
      {"migrationd_control_store_last_read_timestamp_seconds", kGauge, "", "When it was last read, Unix time of the control store; 0 before."},
      {"migrationd_target_up", kGauge, "target", "0 while migrations of this process cannot reach the target: lost or refused connections, a shutdown, no room; not failing statements."},
      // Work of this process.
      {"migrationd_runs", kGauge, "target", "Migrations that this process works on."},
      {"migrationd_leases", kGauge, "", "Claims that this process holds."},
      {"migrationd_lease_renewal_age_seconds", kGauge, "", "Time since the claims were last renewed; 0 without claims."},
      {"migrationd_rows_total", kCounter, "target,migration", "Rows affected by committed sub-batches."},
      {"migrationd_batches_total", kCounter, "target,migration,outcome", "Batches, by DONE or INTERRUPTED."},
      {"migrationd_sub_batches_total", kCounter, "target,migration", "Committed sub-batches."},
      {"migrationd_sub_batch_duration_seconds", kHistogram, "target", "Time of a committed sub-batch: work, cursor and commit."},
      {"migrationd_sub_batch_failures_total", kCounter, "target,class", "Failed sub-batches, by class of failure."},
      {"migrationd_step_failures_total", kCounter, "target,class", "Failed steps (open, prepare, end of a pass, cleanup), by class of failure."},
      {"migrationd_fenced_commits_total", kCounter, "target", "Sub-batches that were refused since another owner took over."},
      {"migrationd_takeovers_total", kCounter, "target", "Fences taken on the target."},
      {"migrationd_hold_seconds_total", kCounter, "target,hold", "Time that runs of this process waited, by why."},
      {"migrationd_sub_batches_yielded_total", kCounter, "target", "Sub-batches cancelled since another session had waited for them too long."},
      // Health of targets, measured while this process works there.
      {"migrationd_signal_value", kGauge, "target,signal",
       "Last reading of a signal, in its unit (README, Health of targets); none while it cannot be read or does not apply."},
      {"migrationd_signal_limit", kGauge, "target,signal", "From here on work stops (a budget), or is at its slowest (a gauge); none without a limit."},
      {"migrationd_signal_age_seconds", kGauge, "target,signal", "Time since the target was last looked at for it."},
      {"migrationd_signal_unreadable", kGauge, "target,signal", "1 while a signal that applies cannot be read: a missing privilege, an error."},
      {"migrationd_pace_allowed", kGauge, "target", "Share of its pace that the target's health allows each migration, 0 to 1; 0 while a budget stops all."},
      // Service.
      {"grpc_server_started_total", kCounter, "grpc_type,grpc_service,grpc_method", "Calls begun."},
      {"grpc_server_handled_total", kCounter, "grpc_type,grpc_service,grpc_method,grpc_code", "Calls ended, by status code."},
      {"grpc_server_handling_seconds", kHistogram, "grpc_type,grpc_service,grpc_method", "Time from the call's arrival to its end."},
      {"migrationd_watch_streams", kGauge, "", "Open Watch streams."},
      {"migrationd_grpc_connections", kGauge, "", "Open connections to the gRPC port, as of the last second."},
      {"migrationd_grpc_connections_refused_total", kCounter, "reason", "Connections closed at once: limit of all, of one host, or no descriptor left."},
      {"migrationd_certificate_not_after_timestamp_seconds", kGauge, "", "End of the server certificate in use, Unix time; only with TLS."},
      {"migrationd_certificate_reloads_total", kCounter, "result", "Replaced certificates, by ok or refused; only with TLS."},
      {"migrationd_certificate_refused", kGauge, "",
       "1: the files of --tls-cert, --tls-key and --tls-client-ca as they are now cannot be used, what was in force stays; only with TLS."},
      {"migrationd_credentials_refused", kGauge, "",
       "1: the file of --tokens as it is now cannot be used, what was in force stays; only with --tokens."},
      {"migrationd_log_lines_suppressed_total", kCounter, "", "Log lines left out since the same event came too often."},
      // The process, under the names that all exporters use.
      {"process_cpu_seconds_total", kCounter, "", "User and system CPU time."},
      {"process_resident_memory_bytes", kGauge, "", "Resident memory."},
      {"process_virtual_memory_bytes", kGauge, "", "Virtual memory."},
      {"process_open_fds", kGauge, "", "Open file descriptors."},
      {"process_max_fds", kGauge, "", "Limit of open file descriptors."},
      {"process_threads", kGauge, "", "Threads."},
      {"process_start_time_seconds", kGauge, "", "Start of the process, Unix time."},
  };
  return metrics;
}

const MetricInfo& MetricNamed(std::string_view name) {
  const auto& all = AllMetrics();
  const auto found = std::find_if(all.begin(), all.end(), [&](const MetricInfo& metric) { return metric.name == name; });
  if (found == all.end()) std::abort();
  return *found;
}

}  // namespace migrationd
