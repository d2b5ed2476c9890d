#include "server/targets/postgres/lane_session.h"

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/targets/postgres/failed_rows.h"
#include "server/targets/postgres/sub_batch_sql.h"

namespace migrationd {

std::optional<std::string> ArrayOrNull(const Key& key) {
  if (key.empty()) return std::nullopt;
  return KeyArray(key);
}

absl::Status CheckTable(Connection& connection, const MigrationPlan& plan) {
  MD_ASSIGN_OR_RETURN(const QueryResult same, connection.Query(absl::StrCat("SELECT ", TableIsSameSql(plan), ", ", KeyIsSameSql(plan))));
  if (!same.boolean(0, 0)) return DatabaseError(kSqlStateSchemaChanged, kTableReplacedMessage);
  if (!same.boolean(0, 1)) return DatabaseError(kSqlStateSchemaChanged, kKeyCollationMessage);
  return absl::OkStatus();
}

absl::Status LaneSessionBase::AfterCommitting(const absl::Status& status) {
  if (!SqlStateOf(status).empty()) return status;
  return CommitUnknownError(
      absl::StrCat("whether the sub-batch was committed is not known: ", std::string(status.message())));
}

void LaneSessionBase::Rollback() {
  if (!connection_->broken()) connection_->Query("ROLLBACK").status().IgnoreError();
}

absl::Status LaneSessionBase::Commit() {
  const auto committed = connection_->Query("COMMIT");
  if (!committed.ok()) return AfterCommitting(committed.status());
  // COMMIT of a failed transaction succeeds, and says ROLLBACK.
  if (committed->command_tag() != "COMMIT") return absl::InternalError("the sub-batch was rolled back, not committed");
  return absl::OkStatus();
}

absl::StatusOr<SkipResult> LaneSessionBase::SkipRow(const SkipRequest& request) {
  MD_RETURN_IF_ERROR(Begin());
  auto skipped = SkipRowIn(*connection_, options_, Lower(request.old_cursor), request);
  if (!skipped.ok()) {
    Rollback();
    return skipped.status();
  }
  MD_RETURN_IF_ERROR(Commit());
  return skipped;
}

absl::StatusOr<std::unique_ptr<LaneSession>> OpenLaneSession(std::unique_ptr<Connection> connection,
                                                             const LaneOptions& options, bool direct_allowed) {
  if (options.pass > 1 && !options.plan->has_where) {
    return absl::InvalidArgumentError(
        "A VERIFY pass needs `where`: without it nothing tells which rows still are to be done.");
  }
  SessionSettings settings;
  settings.search_path = options.plan->search_path;
  settings.application_name = ApplicationName(options.claim);
  settings.synchronous_commit = options.synchronous_commit;
  settings.lock_timeout = options.lock_timeout;
  settings.statement_timeout = options.statement_timeout;
  connection->SetQueryTimeout(AnswerDeadline(options.statement_timeout));
  if (connection->pooled() || !direct_allowed || options.plan->native != nullptr) {
    return std::make_unique<PooledSession>(std::move(connection), options, std::move(settings));
  }
  MD_RETURN_IF_ERROR(connection->Query(SettingsSql(settings, /*local=*/false, connection->server_version())).status());
  auto session = std::make_unique<DirectSession>(std::move(connection), options);
  MD_RETURN_IF_ERROR(session->Prepare());
  return session;
}

}  // namespace migrationd
