#include "store/freeze_rules.h"

#include <tuple>

#include "absl/strings/str_cat.h"
#include "migrations/model/event_kind.h"

namespace migrationd {
namespace {

std::string Scope(const std::string& target) {
  return target.empty() ? "all targets" : absl::StrCat("target ", target);
}

EventRecord Event(const std::string& target, const MutationContext& context) {
  EventRecord event;
  event.target = target;
  event.kind = kEventFreeze;
  event.actor = context.caller.actor;
  event.request_id = context.request_id;
  return event;
}

}  // namespace

absl::Status CheckFreeze(const FreezeRecord& freeze, absl::Time now) {
  if (!freeze.until.has_value() || *freeze.until > now) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("A freeze of ", Scope(freeze.target), " until ",
                                                 absl::FormatTime(*freeze.until), " would be over already; it is ",
                                                 absl::FormatTime(now), "."));
}

FreezeRecord ReplaceFreeze(const std::optional<FreezeRecord>& existing, const FreezeRecord& asked, absl::Time now) {
  FreezeRecord freeze = asked;
  freeze.since = existing.has_value() ? existing->since : now;
  return freeze;
}

bool SameFreeze(const FreezeRecord& a, const FreezeRecord& b) {
  return std::tie(a.target, a.actor, a.reason, a.since, a.until) ==
         std::tie(b.target, b.actor, b.reason, b.since, b.until);
}

EventRecord FreezeEvent(const FreezeRecord& freeze, const MutationContext& context, bool replaces) {
  EventRecord event = Event(freeze.target, context);
  event.from = replaces ? "FROZEN" : "";
  event.to = "FROZEN";
  event.reason = freeze.reason;
  return event;
}

EventRecord UnfreezeEvent(const FreezeRecord& freeze, const MutationContext& context) {
  EventRecord event = Event(freeze.target, context);
  event.from = "FROZEN";
  event.reason = context.caller.reason;
  return event;
}

absl::Status NoFreeze(const std::string& target) {
  return absl::NotFoundError(absl::StrCat("There is no freeze of ", Scope(target), "."));
}

}  // namespace migrationd
