// PostgresControlStore: events, jobs, freezes and targets.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"
#include "store/freeze_rules.h"
#include "store/mutation_rules.h"
#include "store/postgres/connections.h"
#include "store/postgres/queries.h"
#include "store/postgres/records.h"
#include "store/postgres/request.h"
#include "store/postgres/uuid.h"

namespace migrationd {
namespace {

using Json = nlohmann::json;

std::string FreezeSubject(const std::string& target) { return absl::StrCat("freeze/", target); }

// The freeze in force.
std::optional<FreezeRecord> FindFreeze(Transaction& transaction, const std::string& target) {
  const pqxx::result rows = transaction.Execute(queries::kFindFreeze, {BoundText(target)});
  if (rows.empty() || !rows[0][1].as<bool>()) return std::nullopt;
  return DecodeFreeze(Json::parse(rows[0][0].as<std::string>()));
}

void Append(Transaction& transaction, const EventRecord& event, const std::string& call_id) {
  transaction.Execute(queries::kAppendEvent, {BoundJson(EncodeEvent(event, call_id))});
}

}  // namespace

absl::Status PostgresControlStore::AppendEvent(const EventRecord& event) {
  const std::string call_id = NewUuid();
  return connections_->transactions.Run(Access::kReadWrite, "appending an event", [&](Transaction& transaction) {
    Append(transaction, event, call_id);
    return absl::OkStatus();
  });
}

absl::StatusOr<JobPage> PostgresControlStore::ListJobs(MigrationId id, std::int64_t before, int limit) {
  MD_ASSIGN_OR_RETURN(const int rows_asked, PageLimit(limit));
  JobPage page;
  MD_RETURN_IF_ERROR(connections_->transactions.Run(Access::kSnapshot, "listing jobs", [&](Transaction& transaction) {
    page = JobPage();
    // One more than asked, to see whether there are more.
    for (const auto& row : transaction.Execute(
             queries::kListJobs, {std::to_string(id.value), std::to_string(before), std::to_string(rows_asked + 1)})) {
      page.jobs.push_back(DecodeJob(Json::parse(row[0].as<std::string>())));
    }
    return absl::OkStatus();
  }));
  if (page.jobs.size() > static_cast<std::size_t>(rows_asked)) {
    page.jobs.pop_back();
    page.next_before = page.jobs.back().id;
  }
  return page;
}

absl::StatusOr<EventPage> PostgresControlStore::ListEvents(std::optional<MigrationId> id,
                                                           const std::vector<std::string>& kinds, std::int64_t before,
                                                           int limit) {
  MD_ASSIGN_OR_RETURN(const int rows_asked, PageLimit(limit));
  EventPage page;
  // Ids begin at 1, so 0 can mean all, and an id that never was must not.
  if (id.has_value() && id->value <= 0) return page;
  const std::string migration = std::to_string(id.value_or(MigrationId{0}).value);
  MD_RETURN_IF_ERROR(connections_->transactions.Run(Access::kSnapshot, "listing events", [&](Transaction& transaction) {
    page = EventPage();
    for (const auto& row : transaction.Execute(
             queries::kListEvents,
             {migration, BoundJson(Json(kinds)), std::to_string(before), std::to_string(rows_asked + 1)})) {
      page.events.push_back(DecodeEvent(Json::parse(row[0].as<std::string>())));
    }
    return absl::OkStatus();
  }));
  if (page.events.size() > static_cast<std::size_t>(rows_asked)) {
    page.events.pop_back();
    page.next_before = page.events.back().sequence;
  }
  return page;
}

absl::StatusOr<FreezeRecord> PostgresControlStore::Freeze(const FreezeRecord& freeze, const MutationContext& context) {
  const std::string call_id = NewUuid();
  FreezeRecord result;
  const auto body = [&](Transaction& transaction) -> absl::Status {
    MD_ASSIGN_OR_RETURN(const auto repeated, BeginRequest(transaction, context, FreezeSubject(freeze.target)));
    if (repeated.has_value()) {
      result = DecodeFreeze(repeated->answer);
      return absl::OkStatus();
    }
    const absl::Time now = ReadClock(transaction);
    MD_RETURN_IF_ERROR(CheckFreeze(freeze, now));
    const std::optional<FreezeRecord> existing = FindFreeze(transaction, freeze.target);
    result = ReplaceFreeze(existing, freeze, now);
    if (context.validate_only) return absl::OkStatus();
    AnswerRequest(transaction, context, EncodeFreeze(result));
    if (existing.has_value() && SameFreeze(*existing, result)) return absl::OkStatus();
    transaction.Execute(queries::kSetFreeze, {BoundJson(EncodeFreeze(result))});
    Append(transaction, FreezeEvent(result, context, existing.has_value()), call_id);
    return absl::OkStatus();
  };
  MD_RETURN_IF_ERROR(connections_->transactions.Run(Access::kReadWrite, "freezing", body));
  return result;
}

absl::StatusOr<FreezeRecord> PostgresControlStore::Unfreeze(const std::string& target, const MutationContext& context) {
  const std::string call_id = NewUuid();
  // What the first attempt found: after a lost COMMIT it is the only one who saw it.
  std::optional<FreezeRecord> removed;
  const auto body = [&](Transaction& transaction) -> absl::Status {
    MD_ASSIGN_OR_RETURN(const auto repeated, BeginRequest(transaction, context, FreezeSubject(target)));
    if (repeated.has_value()) {
      removed = DecodeFreeze(repeated->answer);
      return absl::OkStatus();
    }
    const std::optional<FreezeRecord> existing = FindFreeze(transaction, target);
    if (!existing.has_value()) {
      if (transaction.in_doubt() && transaction.Execute(queries::kFindEvent, {call_id}).at(0)[0].as<bool>()) {
        return absl::OkStatus();
      }
      return NoFreeze(target);
    }
    removed = existing;
    if (context.validate_only) return absl::OkStatus();
    AnswerRequest(transaction, context, EncodeFreeze(*existing));
    transaction.Execute(queries::kRemoveFreeze, {BoundText(target)});
    Append(transaction, UnfreezeEvent(*existing, context), call_id);
    return absl::OkStatus();
  };
  MD_RETURN_IF_ERROR(connections_->transactions.Run(Access::kReadWrite, "unfreezing", body));
  return *removed;
}

absl::Status PostgresControlStore::RecordTarget(const std::string& target, const TargetIdentity& identity) {
  return connections_->transactions.Run(Access::kReadWrite, "recording a target", [&](Transaction& transaction) {
    transaction.Execute(queries::kRecordTarget, {BoundJson(EncodeTarget(target, identity))});
    return absl::OkStatus();
  });
}

}  // namespace migrationd
