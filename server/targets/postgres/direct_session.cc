#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/targets/postgres/lane_session.h"
#include "server/targets/postgres/plan_choice.h"
#include "server/targets/postgres/sub_batch_sql.h"

namespace migrationd {

absl::Status DirectSession::Prepare() {
  if (OnePlanIsAsGood(*connection_, options_)) {
    MD_RETURN_IF_ERROR(connection_->Query("SET plan_cache_mode = force_generic_plan").status());
  }
  MD_RETURN_IF_ERROR(Make(/*first=*/false));
  // Only a lane that has no cursor yet has a first sub-batch.
  if (options_.range.cursor.empty()) MD_RETURN_IF_ERROR(Make(/*first=*/true));
  return absl::OkStatus();
}

absl::Status DirectSession::Begin() {
  if (connection_->broken()) return DatabaseError("", "the connection broke before anything was sent");
  return connection_->Query("BEGIN ISOLATION LEVEL READ COMMITTED").status();
}

absl::Status DirectSession::Make(bool first) {
  const LaneFunctions functions(options_, first);
  MD_RETURN_IF_ERROR(connection_->Query(functions.CreateBound()).status());
  MD_RETURN_IF_ERROR(connection_->Query(functions.CreateSubBatch()).status());
  MD_RETURN_IF_ERROR(connection_->Prepare(absl::StrCat("md_bound", functions.suffix()), functions.CallBound()));
  return connection_->Prepare(absl::StrCat("md_sub_batch", functions.suffix()), functions.CallSubBatch());
}

absl::StatusOr<Key> DirectSession::FindBound(const LaneRange& range, std::int64_t size) {
  const Key& lower = Lower(range.cursor);
  Parameters parameters(lower.begin(), lower.end());
  parameters.insert(parameters.end(), range.upper.begin(), range.upper.end());
  parameters.push_back(absl::StrCat(size));
  MD_ASSIGN_OR_RETURN(const QueryResult result,
                      connection_->Execute(range.cursor.empty() ? "md_bound_first" : "md_bound", parameters));
  if (result.null(0, 0)) return range.upper;
  return ParseKeyArray(result.text(0, 0));
}

absl::Status DirectSession::Send(const SubBatchRequest& request) {
  // Nothing can have been sent on a connection that is broken already, and in a transaction block the call would not
  // commit.
  if (connection_->broken()) return DatabaseError("", "the connection broke before the sub-batch was sent");
  if (sent_ == 0 && !connection_->idle()) return absl::InternalError("the lane's session is in the middle of something else");
  Parameters parameters = WorkParameters(plan_, Lower(request.old_cursor), request.new_cursor);
  parameters.push_back(ArrayOrNull(request.old_cursor));
  parameters.push_back(KeyArray(request.new_cursor));
  parameters.push_back(KeyArray(request.lane_upper));
  parameters.push_back(absl::StrCat(request.next_size));
  parameters.push_back(request.check_where ? "true" : "false");
  parameters.push_back(KeyArray(request.look_from.empty() ? request.new_cursor : request.look_from));
  parameters.push_back(absl::StrCat(request.next_count));
  parameters.insert(parameters.end(), request.lane_upper.begin(), request.lane_upper.end());
  const absl::Status sent = connection_->Send(request.old_cursor.empty() ? "md_sub_batch_first" : "md_sub_batch", parameters);
  // Some of it may be on its way.
  if (!sent.ok()) return AfterCommitting(sent);
  ++sent_;
  return absl::OkStatus();
}

absl::StatusOr<SubBatchResult> DirectSession::Receive() {
  --sent_;
  const auto answer = connection_->Receive();
  if (!answer.ok()) return AfterCommitting(answer.status());
  SubBatchResult result;
  result.affected = answer->integer(0, 0);
  result.matched = answer->integer(0, 1);
  result.unchanged = answer->integer(0, 2);
  if (!answer->null(0, 3)) {
    MD_ASSIGN_OR_RETURN(const Key columns, ParseKeyArray(answer->text(0, 3)));
    const auto width = static_cast<std::ptrdiff_t>(plan_.key.size());
    for (auto from = columns.begin(); from != columns.end(); from += width) result.next_bounds.emplace_back(from, from + width);
  }
  result.at = absl::FromUnixMicros(answer->integer(0, 4));
  return result;
}

}  // namespace migrationd
