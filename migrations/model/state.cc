#include "migrations/model/state.h"

#include <array>

namespace migrationd {
namespace {

// Finds the value of `all` that has that name.
template <typename Values, typename Name>
auto ParseBy(const Values& all, Name name, std::string_view word) -> std::optional<typename Values::value_type> {
  for (const auto value : all) {
    if (name(value) == word) return value;
  }
  return std::nullopt;
}

}  // namespace

std::string_view StateName(State state) {
  switch (state) {
    case State::kPending: return "PENDING";
    case State::kRunning: return "RUNNING";
    case State::kPausing: return "PAUSING";
    case State::kPaused: return "PAUSED";
    case State::kHalted: return "HALTED";
    case State::kCancelling: return "CANCELLING";
    case State::kCancelled: return "CANCELLED";
    case State::kCompleted: return "COMPLETED";
  }
  return "";
}

std::string_view PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kPrepare: return "PREPARE";
    case Phase::kExecute: return "EXECUTE";
    case Phase::kVerify: return "VERIFY";
    case Phase::kCleanup: return "CLEANUP";
  }
  return "";
}

std::string_view HoldKindName(HoldKind kind) {
  switch (kind) {
    case HoldKind::kNone: return "NONE";
    case HoldKind::kThrottled: return "THROTTLED";
    case HoldKind::kBlocked: return "BLOCKED";
    case HoldKind::kOutOfWindow: return "OUT_OF_WINDOW";
    case HoldKind::kBackoff: return "BACKOFF";
    case HoldKind::kWaitingTurn: return "WAITING_TURN";
    case HoldKind::kNeedsStart: return "NEEDS_START";
    case HoldKind::kPreflight: return "PREFLIGHT";
    case HoldKind::kSkipped: return "SKIPPED";
    case HoldKind::kNoOwner: return "NO_OWNER";
    case HoldKind::kFrozen: return "FROZEN";
  }
  return "";
}

std::string_view FenceStateName(FenceState state) {
  switch (state) {
    case FenceState::kNone: return "NONE";
    case FenceState::kCreating: return "CREATING";
    case FenceState::kCreated: return "CREATED";
  }
  return "";
}

std::optional<State> ParseState(std::string_view word) { return ParseBy(kAllStates, StateName, word); }
std::optional<Phase> ParsePhase(std::string_view word) { return ParseBy(kAllPhases, PhaseName, word); }
std::optional<HoldKind> ParseHoldKind(std::string_view word) { return ParseBy(kAllHoldKinds, HoldKindName, word); }
std::optional<FenceState> ParseFenceState(std::string_view word) {
  return ParseBy(std::array{FenceState::kNone, FenceState::kCreating, FenceState::kCreated}, FenceStateName, word);
}

}  // namespace migrationd
