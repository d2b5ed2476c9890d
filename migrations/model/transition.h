// The whole life of a migration as one table. Every other file asks this one; the README's picture is printed from it.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "migrations/model/state.h"

namespace migrationd {

// What can happen to a migration: first the verbs of operators and services, then what the service itself reports.
enum class MigrationEvent {
  kStart,
  kPause,
  kResume,
  kRetry,
  kAccept,
  kSkip,
  kCancel,
  kAdjust,  // SetBatchSize, SetPace, SetDeadline
  kFinalize,
  kVerify,
  kCleanup,
  kDelete,
  // By the service.
  kBegin,           // claimed and about to write for the first time
  kQuiesced,        // nothing executes and nothing can commit any more
  kHalt,            // needs a person
  kComplete,        // every row done and verified
  kRewound,         // the target lost commits: work came back
  kTargetReplaced,  // another database stands behind the target's name: everything is to be done anew
};
inline constexpr std::array kAllEvents = {
    MigrationEvent::kStart,    MigrationEvent::kPause,    MigrationEvent::kResume,   MigrationEvent::kRetry,
    MigrationEvent::kAccept,   MigrationEvent::kSkip,     MigrationEvent::kCancel,   MigrationEvent::kAdjust,
    MigrationEvent::kFinalize, MigrationEvent::kVerify,   MigrationEvent::kCleanup,  MigrationEvent::kDelete,
    MigrationEvent::kBegin,    MigrationEvent::kQuiesced, MigrationEvent::kHalt,     MigrationEvent::kComplete,
    MigrationEvent::kRewound,  MigrationEvent::kTargetReplaced};

// "Pause", "SetBatchSize/SetPace/SetDeadline", "(halt)" ...
std::string_view EventName(MigrationEvent event);
// True for what an operator or a service can ask.
bool IsVerb(MigrationEvent event);

// What a row of the table demands beyond the state.
enum class Guard { kAlways, kStarted, kNeverStarted, kRowsLeft, kRowsRegressed };

// The facts that guards look at.
struct TransitionFacts {
  bool started = false;         // it has been RUNNING before
  bool rows_left = false;       // halted with ROWS_LEFT
  bool rows_regressed = false;  // a later check found rows undone
};

struct Transition {
  State from;
  MigrationEvent event;
  Guard guard;
  State to;
  std::string_view why;  // who causes it and what it means
};

using enum MigrationEvent;
inline constexpr std::array kTransitions = {
    Transition{State::kPending, kStart, Guard::kAlways, State::kPending, "A MANUAL one may now begin when its turn comes."},
    Transition{State::kPending, kPause, Guard::kAlways, State::kPaused, "Nothing was running, so it is paused at once."},
    Transition{State::kPending, kResume, Guard::kAlways, State::kPending, "It was not paused: nothing changes."},
    Transition{State::kPending, kSkip, Guard::kAlways, State::kCancelled, "An operator decides that it is not needed."},
    Transition{State::kPending, kCancel, Guard::kAlways, State::kCancelled, "It never began."},
    Transition{State::kPending, kAdjust, Guard::kAlways, State::kPending, "Sizes and pace may be set before it begins."},
    Transition{State::kPending, kFinalize, Guard::kAlways, State::kRunning, "A service needs it done now."},
    Transition{State::kPending, kBegin, Guard::kAlways, State::kRunning, "Its turn has come and a process has claimed it."},
    Transition{State::kPending, kHalt, Guard::kAlways, State::kHalted, "The target refuses it before the first write."},
    Transition{State::kPending, kTargetReplaced, Guard::kAlways, State::kPending, "Nothing was done on the old one."},

    Transition{State::kRunning, kStart, Guard::kAlways, State::kRunning, "It has begun already."},
    Transition{State::kRunning, kPause, Guard::kAlways, State::kPausing, "The sub-batch in flight commits, no new one starts."},
    Transition{State::kRunning, kResume, Guard::kAlways, State::kRunning, "It was not paused: nothing changes."},
    Transition{State::kRunning, kCancel, Guard::kAlways, State::kCancelling, "The sub-batch in flight commits, no new one starts."},
    Transition{State::kRunning, kAdjust, Guard::kAlways, State::kRunning, "Effective from the next sub-batch."},
    Transition{State::kRunning, kFinalize, Guard::kAlways, State::kRunning, "The rest runs in the foreground."},
    Transition{State::kRunning, kHalt, Guard::kAlways, State::kHalted, "Attempts are used up, or a person must decide."},
    Transition{State::kRunning, kComplete, Guard::kAlways, State::kCompleted, "Every row is done and verified."},
    Transition{State::kRunning, kTargetReplaced, Guard::kAlways, State::kPending, "All is to be done on the new database."},

    Transition{State::kPausing, kPause, Guard::kAlways, State::kPausing, "Asking again changes nothing, so a client may repeat it."},
    Transition{State::kPausing, kResume, Guard::kAlways, State::kRunning, "The operator changed their mind in time."},
    Transition{State::kPausing, kCancel, Guard::kAlways, State::kCancelling, "Cancel outranks pause."},
    Transition{State::kPausing, kAdjust, Guard::kAlways, State::kPausing, "Effective when it goes on."},
    Transition{State::kPausing, kQuiesced, Guard::kAlways, State::kPaused, "The owner stopped, or was fenced."},
    Transition{State::kPausing, kHalt, Guard::kAlways, State::kHalted, "The sub-batch in flight ended in a refusal."},
    Transition{State::kPausing, kComplete, Guard::kAlways, State::kCompleted, "The sub-batch in flight was the last one."},
    Transition{State::kPausing, kTargetReplaced, Guard::kAlways, State::kPaused, "Paused before the new database's first row."},

    Transition{State::kPaused, kPause, Guard::kAlways, State::kPaused, "Asking again changes nothing."},
    Transition{State::kPaused, kResume, Guard::kStarted, State::kRunning, "It goes on from its cursor."},
    Transition{State::kPaused, kResume, Guard::kNeverStarted, State::kPending, "It waits for its turn again."},
    Transition{State::kPaused, kSkip, Guard::kAlways, State::kCancelled, "An operator decides that the rest is not needed."},
    Transition{State::kPaused, kCancel, Guard::kAlways, State::kCancelled, "Nothing executes, so it is cancelled at once."},
    Transition{State::kPaused, kAdjust, Guard::kAlways, State::kPaused, "Effective when it goes on."},
    Transition{State::kPaused, kTargetReplaced, Guard::kAlways, State::kPaused, "Paused before the new database's first row."},

    Transition{State::kHalted, kRetry, Guard::kAlways, State::kRunning, "A person repaired the cause; attempts start at zero."},
    Transition{State::kHalted, kAccept, Guard::kRowsLeft, State::kCompleted, "The rows left as they are are accepted."},
    Transition{State::kHalted, kSkip, Guard::kAlways, State::kCancelled, "An operator decides that the rest is not needed."},
    Transition{State::kHalted, kCancel, Guard::kAlways, State::kCancelled, "Nothing executes, so it is cancelled at once."},
    Transition{State::kHalted, kAdjust, Guard::kAlways, State::kHalted, "Smaller batches may be the repair."},
    Transition{State::kHalted, kTargetReplaced, Guard::kAlways, State::kPending, "The cause was on the old database."},

    Transition{State::kCancelling, kCancel, Guard::kAlways, State::kCancelling, "Asking again changes nothing."},
    Transition{State::kCancelling, kQuiesced, Guard::kAlways, State::kCancelled, "The owner stopped, or was fenced."},
    Transition{State::kCancelling, kTargetReplaced, Guard::kAlways, State::kCancelled, "Nothing runs on the new database."},

    Transition{State::kCancelled, kRetry, Guard::kAlways, State::kRunning, "It goes on from its cursor, and looks at all rows again if it can."},
    Transition{State::kCancelled, kSkip, Guard::kAlways, State::kCancelled, "It is over already."},
    Transition{State::kCancelled, kCancel, Guard::kAlways, State::kCancelled, "Asking again changes nothing."},
    Transition{State::kCancelled, kCleanup, Guard::kAlways, State::kCancelled, "The definition's cleanup statements run."},
    Transition{State::kCancelled, kDelete, Guard::kAlways, State::kCancelled, "It is forgotten; the name stays taken."},
    Transition{State::kCancelled, kTargetReplaced, Guard::kAlways, State::kCancelled, "It stays cancelled."},

    Transition{State::kCompleted, kRetry, Guard::kRowsRegressed, State::kRunning, "The regressed rows are done again."},
    Transition{State::kCompleted, kAccept, Guard::kAlways, State::kCompleted, "It was accepted already."},
    Transition{State::kCompleted, kFinalize, Guard::kAlways, State::kCompleted, "Nothing is left to do."},
    Transition{State::kCompleted, kVerify, Guard::kAlways, State::kCompleted, "Counts again, writes nothing."},
    Transition{State::kCompleted, kCleanup, Guard::kAlways, State::kCompleted, "The definition's cleanup statements run."},
    Transition{State::kCompleted, kDelete, Guard::kAlways, State::kCompleted, "It is forgotten; the name stays taken."},
    Transition{State::kCompleted, kRewound, Guard::kAlways, State::kRunning, "The target lost commits (failover, restore)."},
    Transition{State::kCompleted, kTargetReplaced, Guard::kAlways, State::kPending, "All is to be done on the new database."},
};

// The state that `event` leads to from `from`. FAILED_PRECONDITION, naming the state, what was asked and the verbs that are
// possible, when no row of the table allows it.
absl::StatusOr<State> Apply(State from, MigrationEvent event, const TransitionFacts& facts);

// The verbs that Apply accepts in that state, in the table's order; also those that change nothing.
std::vector<MigrationEvent> AllowedVerbs(State from, const TransitionFacts& facts);

// The state picture as a Mermaid diagram: edges that change the state, each with its event.
std::string StatePicture();

}  // namespace migrationd
