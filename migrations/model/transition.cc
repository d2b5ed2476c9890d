#include "migrations/model/transition.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace migrationd {
namespace {

bool Holds(Guard guard, const TransitionFacts& facts) {
  switch (guard) {
    case Guard::kAlways: return true;
    case Guard::kStarted: return facts.started;
    case Guard::kNeverStarted: return !facts.started;
    case Guard::kRowsLeft: return facts.rows_left;
    case Guard::kRowsRegressed: return facts.rows_regressed;
  }
  return false;
}

// What a refused verb should have been.
std::string Advice(State from, MigrationEvent event) {
  if (event == kResume && from == State::kHalted) return " Use Retry once the cause is repaired.";
  if (event == kAccept && from == State::kHalted) return " Accept is for ROWS_LEFT only.";
  if (event == kRetry && from == State::kCompleted) return " Retry is for rows that regressed, and there are none.";
  return "";
}

}  // namespace

std::string_view EventName(MigrationEvent event) {
  switch (event) {
    case kStart: return "Start";
    case kPause: return "Pause";
    case kResume: return "Resume";
    case kRetry: return "Retry";
    case kAccept: return "Accept";
    case kSkip: return "Skip";
    case kCancel: return "Cancel";
    case kAdjust: return "SetBatchSize/SetPace/SetDeadline";
    case kFinalize: return "Finalize";
    case kVerify: return "Verify";
    case kCleanup: return "Cleanup";
    case kDelete: return "Delete";
    case kBegin: return "(begin)";
    case kQuiesced: return "(quiesced)";
    case kHalt: return "(halt)";
    case kComplete: return "(complete)";
    case kRewound: return "(rewound)";
    case kTargetReplaced: return "(target replaced)";
  }
  return "";
}

bool IsVerb(MigrationEvent event) { return event <= kDelete; }

absl::StatusOr<State> Apply(State from, MigrationEvent event, const TransitionFacts& facts) {
  for (const Transition& row : kTransitions) {
    if (row.from == from && row.event == event && Holds(row.guard, facts)) return row.to;
  }
  const auto verbs = AllowedVerbs(from, facts);
  return absl::FailedPreconditionError(absl::StrCat(
      std::string(EventName(event)), " is not possible while the migration is ", std::string(StateName(from)), ".",
      Advice(from, event), " Possible now: ",
      absl::StrJoin(verbs, ", ", [](std::string* out, MigrationEvent verb) { out->append(EventName(verb)); }), "."));
}

std::vector<MigrationEvent> AllowedVerbs(State from, const TransitionFacts& facts) {
  std::vector<MigrationEvent> verbs;
  for (const Transition& row : kTransitions) {
    if (row.from == from && IsVerb(row.event) && Holds(row.guard, facts)) verbs.push_back(row.event);
  }
  return verbs;
}

std::string StatePicture() {
  // One arrow for each pair of states, with all its causes, in the table's order.
  struct Edge {
    State from;
    State to;
    std::vector<std::string> causes;
  };
  std::vector<Edge> edges;
  for (const Transition& row : kTransitions) {
    if (row.from == row.to) continue;
    auto edge = std::find_if(edges.begin(), edges.end(),
                             [&](const Edge& e) { return e.from == row.from && e.to == row.to; });
    if (edge == edges.end()) edge = edges.insert(edges.end(), Edge{row.from, row.to, {}});
    edge->causes.emplace_back(EventName(row.event));
  }
  std::string picture = "stateDiagram-v2\n    [*] --> PENDING\n";
  for (const Edge& edge : edges) {
    absl::StrAppend(&picture, "    ", std::string(StateName(edge.from)), " --> ", std::string(StateName(edge.to)), ": ",
                    absl::StrJoin(edge.causes, ", "), "\n");
  }
  return picture;
}

}  // namespace migrationd
