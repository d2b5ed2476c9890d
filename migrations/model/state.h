// The words for what a migration is doing. The same words in proto (with prefix), SQL, logs and metrics.
#pragma once

#include <array>
#include <optional>
#include <string_view>

namespace migrationd {

// The effective state. Transitions: transition.h.
enum class State {
  kPending,     // known, waiting; the hold says what for
  kRunning,     // being worked on (or held for a reason that ends by itself)
  kPausing,     // pause asked for; the sub-batch in flight may still commit
  kPaused,      // nothing executes and nothing can commit
  kHalted,      // attempts used up, or a refusal that needs a person
  kCancelling,  // like kPausing, on the way to kCancelled
  kCancelled,
  kCompleted,   // every row done and verified
};
inline constexpr std::array kAllStates = {State::kPending, State::kRunning,    State::kPausing,   State::kPaused,
                                          State::kHalted,  State::kCancelling, State::kCancelled, State::kCompleted};

enum class Phase { kPrepare, kExecute, kVerify, kCleanup };
inline constexpr std::array kAllPhases = {Phase::kPrepare, Phase::kExecute, Phase::kVerify, Phase::kCleanup};

// Why a PENDING or RUNNING migration is not working right now. A reason, not a state.
enum class HoldKind {
  kNone,
  kThrottled,
  kBlocked,
  kOutOfWindow,
  kBackoff,
  kWaitingTurn,
  kNeedsStart,
  kPreflight,
  kSkipped,
  kNoOwner,
  kFrozen,
};
inline constexpr std::array kAllHoldKinds = {
    HoldKind::kNone,       HoldKind::kThrottled, HoldKind::kBlocked, HoldKind::kOutOfWindow,
    HoldKind::kBackoff,    HoldKind::kWaitingTurn, HoldKind::kNeedsStart, HoldKind::kPreflight,
    HoldKind::kSkipped,    HoldKind::kNoOwner,   HoldKind::kFrozen};

// Whether the owner row on the target may be inserted. Only kCreating may insert: a row that is missing after it was
// created is a lost checkpoint, never a fresh start.
enum class FenceState { kNone, kCreating, kCreated };

// The word for each value: "RUNNING", "OUT_OF_WINDOW" ...
std::string_view StateName(State state);
std::string_view PhaseName(Phase phase);
std::string_view HoldKindName(HoldKind kind);
std::string_view FenceStateName(FenceState state);

// The reverse; nullopt for an unknown word.
std::optional<State> ParseState(std::string_view word);
std::optional<Phase> ParsePhase(std::string_view word);
std::optional<HoldKind> ParseHoldKind(std::string_view word);
std::optional<FenceState> ParseFenceState(std::string_view word);

}  // namespace migrationd
