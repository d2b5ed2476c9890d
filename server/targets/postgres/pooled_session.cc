#include "absl/strings/str_cat.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/targets/postgres/lane_session.h"
#include "server/targets/postgres/sub_batch_sql.h"
#include "server/targets/postgres/sub_batch_work.h"

namespace migrationd {

absl::Status PooledSession::Begin() {
  if (connection_->broken()) return DatabaseError("", "the connection broke before the sub-batch was sent");
  const absl::Status begun =
      connection_
          ->Query(absl::StrCat("BEGIN ISOLATION LEVEL READ COMMITTED; ",
                               SettingsSql(settings_, /*local=*/true, connection_->server_version())))
          .status();
  if (!begun.ok()) Rollback();
  return begun;
}

absl::StatusOr<Key> PooledSession::FindBound(const LaneRange& range, std::int64_t size) {
  MD_RETURN_IF_ERROR(Begin());
  auto bound = LookUpBound(range.cursor, range.upper, size);
  Rollback();
  return bound;
}

absl::StatusOr<Key> PooledSession::LookUpBound(const Key& cursor, const Key& upper, std::int64_t size) {
  const Key& lower = Lower(cursor);
  Parameters parameters(lower.begin(), lower.end());
  parameters.insert(parameters.end(), upper.begin(), upper.end());
  parameters.push_back(absl::StrCat(size));
  const SubBatchStatements statements = StatementsFor(plan_, cursor.empty(), options_.pass > 1);
  MD_ASSIGN_OR_RETURN(const QueryResult result, connection_->Query(statements.bound, parameters));
  if (result.rows() == 0) return upper;
  Key key;
  for (std::size_t i = 0; i < plan_.key.size(); ++i) key.push_back(result.text(0, static_cast<int>(i)));
  return key;
}

absl::Status PooledSession::Send(const SubBatchRequest& request) {
  answer_ = Run(request);
  return absl::OkStatus();
}

absl::StatusOr<SubBatchResult> PooledSession::Receive() { return std::move(answer_); }

absl::StatusOr<SubBatchResult> PooledSession::Run(const SubBatchRequest& request) {
  MD_RETURN_IF_ERROR(Begin());
  auto result = WorkAndSet(request);
  if (!result.ok()) {
    Rollback();
    return result.status();
  }
  MD_RETURN_IF_ERROR(Commit());
  return result;
}

absl::StatusOr<SubBatchResult> PooledSession::WorkAndSet(const SubBatchRequest& request) {
  SubBatchResult result;
  MD_RETURN_IF_ERROR(CheckTable(*connection_, plan_));
  MD_RETURN_IF_ERROR(options_.pass > 1 ? Verify(request, result) : Execute(request, result));
  // Again, now that the work holds its lock: between the first look and that lock the table may have been swapped.
  MD_RETURN_IF_ERROR(CheckTable(*connection_, plan_));
  Key last = request.look_from.empty() ? request.new_cursor : request.look_from;
  for (int i = 0; request.next_size > 0 && i < request.next_count && last != request.lane_upper; ++i) {
    MD_ASSIGN_OR_RETURN(last, LookUpBound(last, request.lane_upper, request.next_size));
    result.next_bounds.push_back(last);
  }
  // Deferred constraints and triggers would otherwise run at commit, outside the statement's timeout.
  MD_RETURN_IF_ERROR(connection_->Query("SET CONSTRAINTS ALL IMMEDIATE").status());
  // The last write; a takeover waits only from here to the commit.
  MD_ASSIGN_OR_RETURN(
      const QueryResult advanced,
      connection_->Query("SELECT migration_control.advance($1, $2, $3, $4, $5, $6, $7)",
                         {options_.claim.migration, absl::StrCat(options_.range.lane),
                          absl::StrCat(options_.claim.epoch), options_.claim.token, ArrayOrNull(request.old_cursor),
                          KeyArray(request.new_cursor), absl::StrCat(result.affected)}));
  result.at = absl::FromUnixMicros(advanced.integer(0, 0));
  return result;
}

absl::StatusOr<std::int64_t> PooledSession::Work(const SubBatchRequest& request) {
  const WorkRange range{Lower(request.old_cursor), request.new_cursor, request.old_cursor.empty(), /*verify=*/options_.pass > 1};
  return RunWorkIn(*connection_, plan_, range, options_.statement_timeout);
}

absl::Status PooledSession::Execute(const SubBatchRequest& request, SubBatchResult& result) {
  const SubBatchStatements statements = StatementsFor(plan_, request.old_cursor.empty(), /*verify=*/false);
  const Parameters parameters = WorkParameters(plan_, Lower(request.old_cursor), request.new_cursor);
  const bool check = request.check_where && plan_.has_where;
  std::string before;
  if (check) {
    MD_ASSIGN_OR_RETURN(before, MatchingKeys(statements.matching, parameters, result.matched));
  }
  MD_ASSIGN_OR_RETURN(result.affected, Work(request));
  if (!check || result.matched == 0) return absl::OkStatus();
  // Asked of the very rows that matched before: others may come in meanwhile.
  Parameters with_keys = parameters;
  with_keys.push_back(before);
  MD_ASSIGN_OR_RETURN(const QueryResult still,
                      connection_->Query(absl::StrCat("SELECT count(*) FROM (",
                                                      StillMatching(plan_, request.old_cursor.empty(),
                                                                    absl::StrCat("$", with_keys.size(), "::text[]")),
                                                      ") AS md_m(md_key)"),
                                         with_keys));
  if (still.integer(0, 0) < result.matched) return absl::OkStatus();
  return DatabaseError(kSqlStateWhereNotSatisfied, kWhereNotSatisfiedMessage);
}

absl::Status PooledSession::Verify(const SubBatchRequest& request, SubBatchResult& result) {
  const SubBatchStatements statements = StatementsFor(plan_, request.old_cursor.empty(), /*verify=*/true);
  Parameters parameters = WorkParameters(plan_, Lower(request.old_cursor), request.new_cursor);
  MD_ASSIGN_OR_RETURN(const std::string before, MatchingKeys(statements.matching, parameters, result.matched));
  // Nothing is written where nothing matches, so looking over a finished table costs reads only.
  if (result.matched == 0) return absl::OkStatus();
  MD_ASSIGN_OR_RETURN(result.affected, Work(request));
  // Only rows that had their turn: one that came in meanwhile is for the next pass.
  parameters.push_back(before);
  MD_ASSIGN_OR_RETURN(
      const QueryResult recorded,
      connection_->Query(
          absl::StrCat("INSERT INTO migration_control.failed_range AS md_f (migration, key, kind, pass) SELECT ",
                       QuoteLiteral(options_.claim.migration), ", md_m.md_key, 'UNCHANGED', ", options_.pass, " FROM (",
                       StillMatching(plan_, request.old_cursor.empty(), absl::StrCat("$", parameters.size(), "::text[]")),
                       ") AS md_m(md_key) ON CONFLICT DO NOTHING"),
          parameters));
  result.unchanged = recorded.affected();
  return absl::OkStatus();
}

absl::StatusOr<std::string> PooledSession::MatchingKeys(const std::string& matching, const Parameters& parameters,
                                                        std::int64_t& count) {
  MD_ASSIGN_OR_RETURN(
      const QueryResult keys,
      connection_->Query(absl::StrCat("SELECT coalesce(array_agg(md_m.md_key::text), '{}'), count(*) FROM (",
                                      Embedded(matching), ") AS md_m(md_key)"),
                         parameters));
  count = keys.integer(0, 1);
  return keys.text(0, 0);
}

}  // namespace migrationd
