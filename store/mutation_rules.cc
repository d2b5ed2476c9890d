#include "store/mutation_rules.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "migrations/model/event_kind.h"
#include "migrations/model/status_macros.h"
#include "migrations/model/transition.h"

namespace migrationd {

absl::Status MigrationNotFound(MigrationId id) {
  return absl::NotFoundError(
      absl::StrCat("There is no migration with the id ", id.value, "; it may have been deleted."));
}

absl::Status LeaseLost(MigrationId id) {
  return absl::AbortedError(
      absl::StrCat("The claim on the migration with the id ", id.value,
                   " does not hold any more: it ran out, was released or taken over. Drop the work."));
}

absl::Status RequestIdReused(const std::string& request_id, const std::string& call, const std::string& subject) {
  return absl::AlreadyExistsError(absl::StrCat("Request id ", request_id, " was used for another call (", call, " of ",
                                               subject, "). Choose a fresh one for each call."));
}

absl::Status CheckRevision(const Migration& migration, const MutationContext& context) {
  if (context.expected_revision == 0 || context.expected_revision == migration.revision) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("Migration ", migration.target, "/", migration.name, " has revision ",
                                         migration.revision, ", but revision ", context.expected_revision,
                                         " was expected. Read it again and decide anew."));
}

absl::Status CheckConsistent(const VerbEffect& effect) {
  const Migration& after = effect.after;
  if ((after.state == State::kHalted) != after.halt.has_value()) {
    return absl::InternalError(absl::StrCat("Migration ", after.name, " would be ", std::string(StateName(after.state)),
                                            after.halt.has_value() ? " with" : " without", " a halt."));
  }
  if (after.halt.has_value() && after.halt->code.empty()) {
    return absl::InternalError(absl::StrCat("Migration ", after.name, " would be HALTED without a code."));
  }
  if (after.state == State::kCompleted && !after.finished_at.has_value()) {
    return absl::InternalError(absl::StrCat("Migration ", after.name, " would be COMPLETED without finished_at."));
  }
  if (effect.event_kind.empty()) {
    return absl::InternalError(absl::StrCat("Migration ", after.name, " would change without a kind of event."));
  }
  return absl::OkStatus();
}

EventRecord EventOf(const Migration& migration, const VerbEffect& effect, const Caller& caller,
                    const std::string& request_id) {
  EventRecord event;
  event.target = migration.target;
  event.migration = migration.name;
  event.kind = effect.event_kind;
  event.actor = caller.actor;
  event.request_id = request_id;
  event.from = effect.event_from;
  event.to = effect.event_to;
  event.reason = effect.event_reason;
  return event;
}

absl::StatusOr<VerbEffect> Deletion(const Migration& migration, const Caller& caller) {
  MD_RETURN_IF_ERROR(Apply(migration.state, MigrationEvent::kDelete, migration.facts()).status());
  VerbEffect effect;
  effect.after = migration;
  effect.event_kind = kEventTransition;
  effect.event_from = std::string(StateName(migration.state));
  effect.event_to = "DELETED";
  effect.event_reason = caller.reason;
  return effect;
}

absl::StatusOr<int> PageLimit(int limit) {
  constexpr int kMost = 1000;
  if (limit < 1)
    return absl::InvalidArgumentError(absl::StrCat("A page has 1 to ", kMost, " rows; ", limit, " were asked for."));
  return std::min(limit, kMost);
}

}  // namespace migrationd
