#include "migrations/model/state.h"

#include <set>
#include <string>

#include "gtest/gtest.h"

namespace migrationd {
namespace {

// Every value has a word of its own, which leads back to it; words are what databases and other programs keep.
template <typename Values, typename Name, typename Parse>
void ExpectRoundTrip(const Values& all, Name name, Parse parse, const std::set<std::string>& words) {
  std::set<std::string> seen;
  for (const auto value : all) {
    seen.emplace(name(value));
    EXPECT_EQ(parse(name(value)), value) << name(value);
  }
  EXPECT_EQ(seen, words);
  EXPECT_FALSE(parse("").has_value());
  EXPECT_FALSE(parse("running").has_value());
  EXPECT_FALSE(parse("STATE_RUNNING").has_value());
}

TEST(State, EveryWordLeadsBackToItsValue) {
  ExpectRoundTrip(kAllStates, StateName, ParseState,
                  {"PENDING", "RUNNING", "PAUSING", "PAUSED", "HALTED", "CANCELLING", "CANCELLED", "COMPLETED"});
  ExpectRoundTrip(kAllPhases, PhaseName, ParsePhase, {"PREPARE", "EXECUTE", "VERIFY", "CLEANUP"});
  ExpectRoundTrip(kAllHoldKinds, HoldKindName, ParseHoldKind,
                  {"NONE", "THROTTLED", "BLOCKED", "OUT_OF_WINDOW", "BACKOFF", "WAITING_TURN", "NEEDS_START",
                   "PREFLIGHT", "SKIPPED", "NO_OWNER", "FROZEN"});
  ExpectRoundTrip(std::array{FenceState::kNone, FenceState::kCreating, FenceState::kCreated}, FenceStateName,
                  ParseFenceState, {"NONE", "CREATING", "CREATED"});
}

}  // namespace
}  // namespace migrationd
