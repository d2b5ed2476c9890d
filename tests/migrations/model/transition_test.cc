// Every cell of (state, event, facts) against a matrix that is typed from the design's table, not from the code.
#include "migrations/model/transition.h"

#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Columns of the design's table, section 3, then CANCELLING, which it leaves to the text. A cell is a state's word,
// `same`, `-` (refused), or one with a condition.
constexpr std::array kColumns = {State::kPending, State::kRunning,   State::kPausing,   State::kPaused,
                                 State::kHalted,  State::kCompleted, State::kCancelled, State::kCancelling};
struct Row {
  MigrationEvent event;
  std::array<const char*, 8> cells;
};
const std::vector<Row>& Matrix() {
  static const auto* matrix = new std::vector<Row>{
      // clang-format off
      //         PENDING      RUNNING       PAUSING       PAUSED          HALTED                    COMPLETED                   CANCELLED    CANCELLING
      {kStart,  {"same",      "same",       "-",          "-",            "-",                      "-",                        "-",         "-"}},
      {kPause,  {"PAUSED",    "PAUSING",    "same",       "same",         "-",                      "-",                        "-",         "-"}},
      {kResume, {"same",      "same",       "RUNNING",    "where it was", "-",                      "-",                        "-",         "-"}},
      {kRetry,  {"-",         "-",          "-",          "-",            "RUNNING",                "RUNNING if regressed",     "RUNNING",   "-"}},
      {kAccept, {"-",         "-",          "-",          "-",            "COMPLETED if rows left", "same",                     "-",         "-"}},
      {kSkip,   {"CANCELLED", "-",          "-",          "CANCELLED",    "CANCELLED",              "-",                        "same",      "-"}},
      {kCancel, {"CANCELLED", "CANCELLING", "CANCELLING", "CANCELLED",    "CANCELLED",              "-",                        "same",      "same"}},
      {kAdjust, {"same",      "same",       "same",       "same",         "same",                   "-",                        "-",         "-"}},
      {kFinalize, {"RUNNING", "same",       "-",          "-",            "-",                      "same",                     "-",         "-"}},
      {kVerify, {"-",         "-",          "-",          "-",            "-",                      "same",                     "-",         "-"}},
      {kCleanup, {"-",        "-",          "-",          "-",            "-",                      "same",                     "same",      "-"}},
      {kDelete, {"-",         "-",          "-",          "-",            "-",                      "same",                     "same",      "-"}},
      // By the service.
      {kBegin,  {"RUNNING",   "-",          "-",          "-",            "-",                      "-",                        "-",         "-"}},
      {kQuiesced, {"-",       "-",          "PAUSED",     "-",            "-",                      "-",                        "-",         "CANCELLED"}},
      {kHalt,   {"HALTED",    "HALTED",     "HALTED",     "-",            "-",                      "-",                        "-",         "-"}},
      {kComplete, {"-",       "COMPLETED",  "COMPLETED",  "-",            "-",                      "-",                        "-",         "-"}},
      {kRewound, {"-",        "-",          "-",          "-",            "-",                      "RUNNING",                  "-",         "-"}},
      {kTargetReplaced, {"same", "PENDING", "PAUSED",     "same",         "PENDING",                "PENDING",                  "same",      "CANCELLED"}},
      // clang-format on
  };
  return *matrix;
}

// nullopt: refused.
std::optional<State> Expected(State from, const std::string& cell, const TransitionFacts& facts) {
  if (cell == "-") return std::nullopt;
  if (cell == "same") return from;
  if (cell == "where it was") return facts.started ? State::kRunning : State::kPending;
  if (cell == "RUNNING if regressed") return facts.rows_regressed ? std::optional(State::kRunning) : std::nullopt;
  if (cell == "COMPLETED if rows left") return facts.rows_left ? std::optional(State::kCompleted) : std::nullopt;
  const std::optional<State> state = ParseState(cell);
  EXPECT_TRUE(state.has_value()) << "the matrix has a wrong cell: " << cell;
  return state;
}

std::vector<TransitionFacts> AllFacts() {
  std::vector<TransitionFacts> all;
  for (const bool started : {false, true}) {
    for (const bool rows_left : {false, true}) {
      for (const bool rows_regressed : {false, true}) all.push_back({started, rows_left, rows_regressed});
    }
  }
  return all;
}

struct Cell {
  State from;
  MigrationEvent event;
  TransitionFacts facts;
  std::optional<State> to;
};

std::vector<Cell> AllCells() {
  std::vector<Cell> cells;
  for (const Row& row : Matrix()) {
    for (std::size_t column = 0; column < kColumns.size(); ++column) {
      for (const TransitionFacts& facts : AllFacts()) {
        cells.push_back({kColumns[column], row.event, facts, Expected(kColumns[column], row.cells[column], facts)});
      }
    }
  }
  return cells;
}

std::string Name(const Cell& cell) {
  std::ostringstream out;
  out << EventName(cell.event) << " in " << StateName(cell.from) << ", started " << cell.facts.started << ", rows left "
      << cell.facts.rows_left << ", regressed " << cell.facts.rows_regressed;
  return out.str();
}

std::vector<MigrationEvent> ExpectedVerbs(State from, const TransitionFacts& facts) {
  std::vector<MigrationEvent> verbs;
  for (const Cell& cell : AllCells()) {
    const bool here = cell.from == from && cell.facts.started == facts.started &&
                      cell.facts.rows_left == facts.rows_left && cell.facts.rows_regressed == facts.rows_regressed;
    if (here && cell.event <= kDelete && cell.to.has_value()) verbs.push_back(cell.event);
  }
  return verbs;
}

TEST(Transition, TheMatrixHasEveryEventAndEveryState) {
  EXPECT_EQ(Matrix().size(), kAllEvents.size());
  EXPECT_EQ(kColumns.size(), kAllStates.size());
  std::set<MigrationEvent> events;
  for (const Row& row : Matrix()) events.insert(row.event);
  EXPECT_EQ(events.size(), kAllEvents.size());
  EXPECT_EQ(std::set<State>(kColumns.begin(), kColumns.end()).size(), kAllStates.size());
}

TEST(Transition, EveryCellIsAsTheDesignSays) {
  for (const Cell& cell : AllCells()) {
    const absl::StatusOr<State> to = Apply(cell.from, cell.event, cell.facts);
    if (cell.to.has_value()) {
      MD_ASSERT_OK(to) << Name(cell);
      EXPECT_EQ(StateName(*to), StateName(*cell.to)) << Name(cell);
    } else {
      EXPECT_EQ(to.status().code(), absl::StatusCode::kFailedPrecondition) << Name(cell);
    }
  }
}

TEST(Transition, ARefusalNamesTheStateTheVerbAndTheVerbsThatArePossible) {
  for (const Cell& cell : AllCells()) {
    if (cell.to.has_value()) continue;
    const absl::Status status = Apply(cell.from, cell.event, cell.facts).status();
    const std::string message(status.message());
    EXPECT_THAT(message, HasSubstr(std::string(EventName(cell.event)))) << Name(cell);
    EXPECT_THAT(message, HasSubstr("while the migration is " + std::string(StateName(cell.from)) + ".")) << Name(cell);
    std::string verbs;
    for (const MigrationEvent verb : ExpectedVerbs(cell.from, cell.facts)) {
      verbs += (verbs.empty() ? "" : ", ") + std::string(EventName(verb));
    }
    EXPECT_THAT(message, ::testing::EndsWith("Possible now: " + verbs + ".")) << Name(cell);
  }
}

TEST(Transition, SomeRefusalsSayWhatToUseInstead) {
  EXPECT_THAT(Apply(State::kHalted, kResume, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("Use Retry")));
  EXPECT_THAT(Apply(State::kHalted, kAccept, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("ROWS_LEFT")));
  EXPECT_THAT(Apply(State::kCompleted, kRetry, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("regressed")));
}

TEST(Transition, AllowedVerbsAreThoseThatTheMatrixAllows) {
  for (const State state : kAllStates) {
    for (const TransitionFacts& facts : AllFacts()) {
      std::vector<MigrationEvent> allowed = AllowedVerbs(state, facts);
      EXPECT_EQ(allowed, ExpectedVerbs(state, facts)) << StateName(state);
    }
  }
  EXPECT_THAT(AllowedVerbs(State::kPausing, {}), ElementsAre(kPause, kResume, kCancel, kAdjust));
}

TEST(Transition, NoTwoRowsOfTheTableApplyAtOnce) {
  const auto holds = [](Guard guard, const TransitionFacts& facts) {
    switch (guard) {
      case Guard::kAlways:
        return true;
      case Guard::kStarted:
        return facts.started;
      case Guard::kNeverStarted:
        return !facts.started;
      case Guard::kRowsLeft:
        return facts.rows_left;
      case Guard::kRowsRegressed:
        return facts.rows_regressed;
    }
    return false;
  };
  for (const TransitionFacts& facts : AllFacts()) {
    std::set<std::pair<State, MigrationEvent>> seen;
    for (const Transition& row : kTransitions) {
      if (!holds(row.guard, facts)) continue;
      EXPECT_TRUE(seen.emplace(row.from, row.event).second) << StateName(row.from) << " " << EventName(row.event);
    }
  }
}

TEST(Transition, EveryRowSaysWhyInASentence) {
  for (const Transition& row : kTransitions) EXPECT_TRUE(row.why.ends_with(".")) << row.why;
}

TEST(Transition, EveryEventHasAName) {
  std::set<std::string> names;
  for (const MigrationEvent event : kAllEvents) {
    names.emplace(EventName(event));
    EXPECT_EQ(IsVerb(event), EventName(event).front() != '(') << EventName(event);
  }
  EXPECT_EQ(names.size(), kAllEvents.size());
}

TEST(StatePicture, ShowsEveryChangeOfStateAndNothingElse) {
  std::map<std::pair<std::string, std::string>, std::set<std::string>> expected;
  for (const Cell& cell : AllCells()) {
    if (!cell.to.has_value() || *cell.to == cell.from) continue;
    expected[{std::string(StateName(cell.from)), std::string(StateName(*cell.to))}].emplace(EventName(cell.event));
  }
  std::map<std::pair<std::string, std::string>, std::set<std::string>> shown;
  std::istringstream picture(StatePicture());
  std::string line;
  std::getline(picture, line);
  EXPECT_EQ(line, "stateDiagram-v2");
  std::getline(picture, line);
  EXPECT_EQ(line, "    [*] --> PENDING");
  while (std::getline(picture, line)) {
    std::istringstream words(line);
    std::string from;
    std::string arrow;
    std::string to;
    words >> from >> arrow >> to;
    ASSERT_EQ(arrow, "-->") << line;
    ASSERT_THAT(to, ::testing::EndsWith(":")) << line;
    to.pop_back();
    std::set<std::string>& causes = shown[{from, to}];
    EXPECT_TRUE(causes.empty()) << "drawn twice: " << line;
    std::string causes_text;
    std::getline(words, causes_text);
    for (std::size_t at = 0; at < causes_text.size();) {
      const std::size_t end = std::min(causes_text.find(',', at), causes_text.size());
      causes.insert(causes_text.substr(at + 1, end - at - 1));
      at = end + 1;
    }
  }
  EXPECT_EQ(shown, expected);
}

TEST(StatePicture, OfTheReadmeIsTheOneOfTheTable) {
  const std::string path = std::string(MIGRATIOND_SOURCE_DIR) + "/README.md";
  std::ifstream file(path);
  ASSERT_TRUE(file.good()) << path;
  std::stringstream content;
  content << file.rdbuf();
  const std::string readme = content.str();
  const std::string begin = "<!-- states:begin -->\n";
  const std::string end = "<!-- states:end -->";
  const std::size_t first = readme.find(begin);
  const std::size_t last = readme.find(end);
  ASSERT_NE(first, std::string::npos);
  ASSERT_NE(last, std::string::npos);
  EXPECT_EQ(readme.substr(first + begin.size(), last - first - begin.size()), "```mermaid\n" + StatePicture() + "```\n")
      << "put this between the markers of README.md";
}

}  // namespace
}  // namespace migrationd
