// The policy as rows: snapshot in, actions with reasons out. No threads, no clock, no database.
#include "server/scheduler/policy.h"

#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace migrationd {
namespace {

using migrationcontrol::v1::MigrationDefinition;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);  // Friday 2027-01-15 08:00 UTC

// A world of migrations and what this process has.
class PolicyTest : public ::testing::Test {
 protected:
  PolicyTest() { targets_["main"] = {true, ""}; }

  // AUTO, INDEPENDENT, enqueued; on a table of its own.
  StoredMigration& Add(const std::string& name, State state = State::kPending) {
    StoredMigration stored;
    const std::int64_t id = static_cast<std::int64_t>(migrations_.size()) + 1;
    stored.migration.id = {id};
    stored.migration.target = "main";
    stored.migration.name = name;
    stored.migration.version = std::to_string(20260101000000 + id);
    stored.migration.state = state;
    stored.migration.start_requested = true;
    stored.migration.enqueued = true;
    auto definition = std::make_shared<MigrationDefinition>();
    definition->mutable_sql_batch()->set_table("t" + std::to_string(id));
    definition->set_order(migrationcontrol::v1::ORDER_INDEPENDENT);
    stored.definition = definition;
    migrations_.push_back(stored);
    return migrations_.back();
  }

  static MigrationDefinition& Edit(StoredMigration& stored) { return const_cast<MigrationDefinition&>(*stored.definition); }

  // This process owns it, and the store agrees.
  void Own(StoredMigration& stored) {
    stored.lease = Lease{"me", "token" + stored.migration.name, 1, kNow + absl::Seconds(10), true};
    runs_[stored.migration.id.value].lease_token = stored.lease->token;
  }

  PolicySnapshot Snapshot() {
    PolicySnapshot snapshot;
    snapshot.now = kNow;
    snapshot.migrations = &migrations_;
    snapshot.freezes = &freezes_;
    snapshot.runs = runs_;
    snapshot.targets = targets_;
    snapshot.stopping = stopping_;
    if (verdict_.has_value()) snapshot.health["main"] = std::make_shared<const HealthVerdict>(*verdict_);
    return snapshot;
  }

  std::vector<Action> Decided() { return Decide(Snapshot(), limits_); }

  // The one action about that migration.
  Action About(const std::string& name) {
    std::vector<Action> found;
    for (const Action& action : Decided()) {
      for (const StoredMigration& stored : migrations_) {
        if (stored.migration.id == action.id && stored.migration.name == name) found.push_back(action);
      }
    }
    EXPECT_EQ(found.size(), 1u) << "actions about " << name;
    return found.empty() ? Action{} : found.front();
  }

  std::vector<StoredMigration> migrations_;
  std::vector<FreezeRecord> freezes_;
  std::map<std::int64_t, RunFacts> runs_;
  std::map<std::string, TargetCondition> targets_;
  PolicyLimits limits_;
  bool stopping_ = false;
  std::optional<HealthVerdict> verdict_;  // of main
};

TEST_F(PolicyTest, ClaimsWhatIsPendingAndUnowned) {
  Add("a");
  const Action action = About("a");
  EXPECT_EQ(action.kind, ActionKind::kClaim);
  EXPECT_EQ(action.purpose, MigrationRun::Purpose::kMigrate);
}

TEST_F(PolicyTest, ClaimsARunningOneWhoseOwnerDied) {
  StoredMigration& a = Add("a", State::kRunning);
  a.lease = Lease{"other", "t", 3, kNow - absl::Seconds(1), false};
  EXPECT_EQ(About("a").kind, ActionKind::kClaim);
}

TEST_F(PolicyTest, LeavesAloneWhatAnotherProcessOwns) {
  StoredMigration& a = Add("a", State::kRunning);
  a.lease = Lease{"other", "t", 3, kNow + absl::Seconds(9), true};
  EXPECT_THAT(Decided(), IsEmpty());
}

TEST_F(PolicyTest, ABudgetThatIsUsedUpHoldsWhatRunsAndWhatWouldBegin) {
  Own(Add("a", State::kRunning));
  Add("b");
  verdict_.emplace().stop = HealthStop{.reason = "replica_lag 31 s", .readings = {{.signal = "replica_lag", .value = 31}}};
  EXPECT_EQ(About("a").kind, ActionKind::kDirect);
  EXPECT_EQ(About("a").directive, Directive::kHold);
  EXPECT_EQ(About("a").hold.kind, HoldKind::kThrottled);
  EXPECT_EQ(About("a").hold.reason, "replica_lag 31 s");
  ASSERT_EQ(About("a").hold.readings.size(), 1u);
  EXPECT_EQ(About("b").kind, ActionKind::kShowHold);
  EXPECT_EQ(About("b").hold.kind, HoldKind::kThrottled);
  verdict_.emplace();
  EXPECT_EQ(About("a").directive, Directive::kWork);
  EXPECT_EQ(About("b").kind, ActionKind::kClaim);
}

TEST_F(PolicyTest, ABudgetOutranksAWindowAndAFreezeOutranksBoth) {
  StoredMigration& a = Add("a", State::kRunning);
  Own(a);
  Edit(a).mutable_pace()->add_windows("Sat,Sun 00:00-24:00");
  EXPECT_EQ(About("a").hold.kind, HoldKind::kOutOfWindow);
  verdict_.emplace().stop = HealthStop{.reason = "replica_lag 31 s"};
  EXPECT_EQ(About("a").hold.kind, HoldKind::kThrottled);
  FreezeRecord freeze;
  freeze.actor = "alice";
  freezes_.push_back(freeze);
  EXPECT_EQ(About("a").hold.kind, HoldKind::kFrozen);
}

TEST_F(PolicyTest, ATableInDebtHoldsOnlyWhoWorksOnIt) {
  Own(Add("a", State::kRunning));
  Own(Add("b", State::kRunning));
  verdict_.emplace().table_stops["t2"] = HealthStop{.reason = "vacuum_debt 6"};
  EXPECT_EQ(About("a").directive, Directive::kWork);
  EXPECT_EQ(About("b").hold.kind, HoldKind::kThrottled);
}

TEST_F(PolicyTest, MissingSignalsDoNotHoldWhoLooksForItsTarget) {
  StoredMigration& a = Add("a", State::kRunning);
  Own(a);
  verdict_.emplace().stop = HealthStop{.reason = "SIGNAL_STALE: ...", .stale = true};
  EXPECT_EQ(About("a").hold.kind, HoldKind::kThrottled);
  runs_[a.migration.id.value].away = true;
  EXPECT_EQ(About("a").directive, Directive::kWork) << "it has to try again, or it would never find it back";
  verdict_->stop->stale = false;
  EXPECT_EQ(About("a").hold.kind, HoldKind::kThrottled) << "what is known holds it";
}

TEST_F(PolicyTest, LeavesTerminalAndPausedOnesAlone) {
  for (const State state : {State::kPaused, State::kHalted, State::kCancelled, State::kCompleted}) Add("a", state);
  EXPECT_THAT(Decided(), IsEmpty());
}

TEST_F(PolicyTest, LetsItsOwnRunWork) {
  Own(Add("a", State::kRunning));
  const Action action = About("a");
  EXPECT_EQ(action.kind, ActionKind::kDirect);
  EXPECT_EQ(action.directive, Directive::kWork);
}

TEST_F(PolicyTest, AbandonsARunWhoseLeaseIsAnotherOnes) {
  StoredMigration& a = Add("a", State::kRunning);
  Own(a);
  a.lease->token = "somebody else's";
  EXPECT_EQ(About("a").directive, Directive::kAbandon);
}

TEST_F(PolicyTest, AbandonsARunThatIsNotToBeTrustedAnyMore) {
  Own(Add("a", State::kRunning));
  runs_[1].trusted = false;
  EXPECT_EQ(About("a").directive, Directive::kAbandon);
}

TEST_F(PolicyTest, AbandonsARunThatTheStoreDoesNotKnow) {
  runs_[77].lease_token = "t";
  const auto actions = Decided();
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(actions[0].directive, Directive::kAbandon);
}

TEST_F(PolicyTest, QuiescesItsRunThatIsPausingOrCancelling) {
  Own(Add("a", State::kPausing));
  Own(Add("b", State::kCancelling));
  EXPECT_EQ(About("a").directive, Directive::kQuiesce);
  EXPECT_EQ(About("b").directive, Directive::kQuiesce);
}

TEST_F(PolicyTest, ClaimsAPausingOneWithoutALiveOwnerInOrderToStopIt) {
  Add("a", State::kPausing);
  const Action action = About("a");
  EXPECT_EQ(action.kind, ActionKind::kClaim);
  EXPECT_EQ(action.purpose, MigrationRun::Purpose::kQuiesce);
}

TEST_F(PolicyTest, ReleasesItsRunThatIsOver) {
  Own(Add("a", State::kPaused));
  EXPECT_EQ(About("a").directive, Directive::kRelease);
}

TEST_F(PolicyTest, ReleasesEverythingAndClaimsNothingWhileStopping) {
  stopping_ = true;
  Own(Add("a", State::kRunning));
  Add("b");
  EXPECT_EQ(About("a").directive, Directive::kRelease);
  EXPECT_EQ(About("b").kind, ActionKind::kShowHold);
}

TEST_F(PolicyTest, HoldsAManualOneUntilStart) {
  StoredMigration& a = Add("a");
  a.migration.start_requested = false;
  const Action action = About("a");
  EXPECT_EQ(action.kind, ActionKind::kShowHold);
  EXPECT_EQ(action.hold.kind, HoldKind::kNeedsStart);
}

TEST_F(PolicyTest, HoldsFrozenWithActorAndReason) {
  Add("a");
  Own(Add("b", State::kRunning));
  freezes_.push_back({"", "ann", "incident 7", kNow, std::nullopt});
  EXPECT_EQ(About("a").hold.kind, HoldKind::kFrozen);
  const Action b = About("b");
  EXPECT_EQ(b.directive, Directive::kHold);
  EXPECT_EQ(b.hold.kind, HoldKind::kFrozen);
  EXPECT_THAT(b.hold.reason, HasSubstr("ann"));
  EXPECT_THAT(b.hold.reason, HasSubstr("incident 7"));
}

TEST_F(PolicyTest, IgnoresAFreezeOfAnotherTargetAndOneThatIsOver) {
  Add("a");
  freezes_.push_back({"other", "ann", "", kNow, std::nullopt});
  freezes_.push_back({"", "ann", "", kNow, kNow});
  EXPECT_EQ(About("a").kind, ActionKind::kClaim);
}

TEST_F(PolicyTest, WaitsForAfterUntilItIsCompleted) {
  Add("first", State::kHalted);
  StoredMigration& second = Add("second");
  Edit(second).add_after("first");
  Action action = About("second");
  EXPECT_EQ(action.hold.kind, HoldKind::kWaitingTurn);
  EXPECT_THAT(action.hold.reason, HasSubstr("main/first (HALTED)"));
  migrations_[0].migration.state = State::kCompleted;
  EXPECT_EQ(About("second").kind, ActionKind::kClaim);
}

TEST_F(PolicyTest, NamesAnUnknownACancelledAndACyclicAfter) {
  StoredMigration& a = Add("a");
  Edit(a).add_after("nobody");
  EXPECT_THAT(About("a").hold.reason, HasSubstr("main/nobody, which is not known"));
  Edit(migrations_[0]).clear_after();
  Edit(migrations_[0]).add_after("b");
  Add("b", State::kCancelled);
  EXPECT_THAT(About("a").hold.reason, HasSubstr("cancelled"));
  migrations_[1].migration.state = State::kPending;
  Edit(migrations_[1]).add_after("main/a");
  EXPECT_THAT(About("a").hold.reason, HasSubstr("cycle"));
}

TEST_F(PolicyTest, RunsStrictOnesInTheOrderOfTheirVersions) {
  Edit(Add("first", State::kRunning)).set_order(migrationcontrol::v1::ORDER_STRICT);
  Edit(Add("second")).set_order(migrationcontrol::v1::ORDER_STRICT);
  Own(migrations_[0]);
  const Action action = About("second");
  EXPECT_EQ(action.hold.kind, HoldKind::kWaitingTurn);
  EXPECT_THAT(action.hold.reason, HasSubstr("first (RUNNING)"));
}

TEST_F(PolicyTest, DoesNotLetIndependentCancelledSkippedOrUnenqueuedOnesBlockAStrictOne) {
  Add("independent", State::kHalted);
  Edit(Add("cancelled", State::kCancelled)).set_order(migrationcontrol::v1::ORDER_STRICT);
  StoredMigration& skipped = Add("skipped");
  Edit(skipped).set_order(migrationcontrol::v1::ORDER_STRICT);
  skipped.migration.hold.kind = HoldKind::kSkipped;
  skipped.migration.hold.until = kNow + absl::Seconds(20);
  StoredMigration& manual = Add("manual");
  Edit(manual).set_order(migrationcontrol::v1::ORDER_STRICT);
  manual.migration.start_requested = false;
  manual.migration.enqueued = false;
  Edit(Add("last")).set_order(migrationcontrol::v1::ORDER_STRICT);
  EXPECT_EQ(About("last").kind, ActionKind::kClaim);
}

TEST_F(PolicyTest, HoldsOutsideItsWindowAndSaysWhenItOpens) {
  StoredMigration& a = Add("a");
  Edit(a).mutable_pace()->add_windows("Mon-Fri 22:00-06:00 UTC");
  const Action action = About("a");
  EXPECT_EQ(action.hold.kind, HoldKind::kOutOfWindow);
  ASSERT_TRUE(action.hold.until.has_value());
  EXPECT_EQ(*action.hold.until, kNow + absl::Hours(14));
  EXPECT_EQ(NextChange(Snapshot()), kNow + absl::Hours(14));
}

TEST_F(PolicyTest, RunsAtMostTheLimitOnOneTargetByPriorityThenVersion) {
  Add("a");
  Add("b");
  Edit(Add("urgent")).set_priority(10);
  EXPECT_EQ(About("urgent").kind, ActionKind::kClaim);
  EXPECT_EQ(About("a").kind, ActionKind::kClaim);
  const Action b = About("b");
  EXPECT_EQ(b.hold.kind, HoldKind::kWaitingTurn);
  EXPECT_THAT(b.hold.reason, HasSubstr("urgent, a"));
}

TEST_F(PolicyTest, KeepsWhoIsAtWorkAheadOfAHigherPriority) {
  Own(Add("a", State::kRunning));
  Own(Add("b", State::kRunning));
  Edit(Add("urgent")).set_priority(10);
  EXPECT_EQ(About("a").directive, Directive::kWork);
  EXPECT_EQ(About("urgent").hold.kind, HoldKind::kWaitingTurn);
}

TEST_F(PolicyTest, DoesNotLetOneThatIsNotDueTakeASlot) {
  limits_.per_target = 1;
  StoredMigration& night = Add("night", State::kRunning);
  Edit(night).mutable_pace()->add_windows("Mon-Fri 22:00-06:00 UTC");
  Own(night);
  Add("day");
  EXPECT_EQ(About("night").directive, Directive::kHold);
  EXPECT_EQ(About("day").kind, ActionKind::kClaim);
}

TEST_F(PolicyTest, RunsOneAtATimeOnATable) {
  Edit(Add("a")).mutable_sql_batch()->set_table("same");
  Edit(Add("b")).mutable_sql_batch()->set_table("same");
  EXPECT_EQ(About("a").kind, ActionKind::kClaim);
  EXPECT_THAT(About("b").hold.reason, HasSubstr("a works on the same table"));
}

TEST_F(PolicyTest, DoesNotClaimForATargetThatIsNotConfigured) {
  Add("a").migration.target = "elsewhere";
  const Action action = About("a");
  EXPECT_EQ(action.kind, ActionKind::kShowHold);
  EXPECT_EQ(action.hold.kind, HoldKind::kNoOwner);
  EXPECT_THAT(action.hold.reason, HasSubstr("elsewhere"));
}

TEST_F(PolicyTest, LeavesASkippedOneAloneUntilItIsToBeAskedAgain) {
  StoredMigration& a = Add("a");
  a.migration.hold.kind = HoldKind::kSkipped;
  a.migration.hold.until = kNow + absl::Seconds(1);
  EXPECT_EQ(About("a").kind, ActionKind::kShowHold);
  a.migration.hold.until = kNow;
  EXPECT_EQ(About("a").kind, ActionKind::kClaim);
}

TEST_F(PolicyTest, ResumesAPauseThatWasUntilNow) {
  StoredMigration& a = Add("a", State::kPaused);
  a.migration.intent.until = kNow;
  EXPECT_EQ(About("a").kind, ActionKind::kResume);
  a.migration.intent.until = kNow + absl::Seconds(5);
  EXPECT_THAT(Decided(), IsEmpty());
  EXPECT_EQ(NextChange(Snapshot()), kNow + absl::Seconds(5));
}

TEST_F(PolicyTest, LeavesABatchSizeAloneWhereNothingCanBeAdjusted) {
  for (const State state : {State::kCompleted, State::kCancelled}) {
    StoredMigration& a = Add("a" + std::string(StateName(state)), state);
    a.migration.size_override = SizeOverride{10, 10, "ann", kNow};
  }
  EXPECT_THAT(Decided(), IsEmpty());
}

TEST_F(PolicyTest, EndsABatchSizeThatWasUntilNow) {
  StoredMigration& a = Add("a", State::kPaused);
  a.migration.size_override = SizeOverride{10, 10, "ann", kNow};
  EXPECT_EQ(About("a").kind, ActionKind::kEndOverride);
}

TEST_F(PolicyTest, PausesACanaryThatHasDoneItsRows) {
  StoredMigration& a = Add("a", State::kRunning);
  a.migration.pause_after_rows = 100;
  Own(a);
  runs_[1].limit_reached = true;
  const auto actions = Decided();
  ASSERT_EQ(actions.size(), 2u);
  EXPECT_EQ(actions[0].kind, ActionKind::kPauseCanary);
  EXPECT_THAT(actions[0].reason, HasSubstr("100 rows"));
}

TEST_F(PolicyTest, ClaimsForCleanupOnlyWhenAskedAndNotDone) {
  StoredMigration& a = Add("a", State::kCompleted);
  a.migration.cleanup_requested = true;
  EXPECT_EQ(About("a").purpose, MigrationRun::Purpose::kCleanup);
  a.migration.cleaned_up = true;
  EXPECT_THAT(Decided(), IsEmpty());
}

TEST_F(PolicyTest, BeginsNoCleanupWhileFrozenAndReleasesTheOneUnderWay) {
  StoredMigration& a = Add("a", State::kCompleted);
  a.migration.cleanup_requested = true;
  freezes_.push_back({"", "ann", "incident 7", kNow, std::nullopt});
  EXPECT_THAT(Decided(), IsEmpty());
  Own(a);
  runs_[1].purpose = MigrationRun::Purpose::kCleanup;
  EXPECT_EQ(About("a").directive, Directive::kRelease);
}

TEST_F(PolicyTest, LeavesACleanupThatFailedAloneForAsLongAsItsOwnerAsked) {
  StoredMigration& a = Add("a", State::kCompleted);
  a.migration.cleanup_requested = true;
  a.migration.hold = {.kind = HoldKind::kBackoff, .reason = "cleanup failed", .since = kNow, .until = kNow + absl::Seconds(8)};
  EXPECT_THAT(Decided(), IsEmpty());
  EXPECT_EQ(NextChange(Snapshot()), kNow + absl::Seconds(8));
  a.migration.hold.until = kNow;
  EXPECT_EQ(About("a").purpose, MigrationRun::Purpose::kCleanup);
}

TEST_F(PolicyTest, ClaimsNoMoreThanThisProcessMayHold) {
  limits_.runs = 1;
  Add("a");
  Add("b");
  EXPECT_EQ(About("a").kind, ActionKind::kClaim);
  EXPECT_EQ(About("b").hold.kind, HoldKind::kNoOwner);
}

// A verification that was asked for.
void Ask(StoredMigration& stored) {
  stored.migration.verification = Verification{.requested_at = kNow, .actor = "anna"};
}

TEST_F(PolicyTest, ClaimsAVerificationThatWasAskedFor) {
  Ask(Add("a", State::kCompleted));
  const Action action = About("a");
  EXPECT_EQ(action.kind, ActionKind::kClaim);
  EXPECT_EQ(action.purpose, MigrationRun::Purpose::kVerify);
  migrations_[0].migration.verification->finished_at = kNow;
  EXPECT_THAT(Decided(), IsEmpty());
}

TEST_F(PolicyTest, CleansUpBeforeItVerifies) {
  StoredMigration& a = Add("a", State::kCompleted);
  Ask(a);
  a.migration.cleanup_requested = true;
  EXPECT_EQ(About("a").purpose, MigrationRun::Purpose::kCleanup);
}

TEST_F(PolicyTest, AVerificationGivesWayToWhatWorksAndKeepsItsClaim) {
  limits_.per_target = 1;
  // In the vector from the beginning, so that references stay.
  migrations_.reserve(4);
  StoredMigration& a = Add("a", State::kCompleted);
  Ask(a);
  Own(a);
  runs_[a.migration.id.value].purpose = MigrationRun::Purpose::kVerify;
  EXPECT_EQ(About("a").directive, Directive::kWork);
  Add("b");
  EXPECT_EQ(About("b").kind, ActionKind::kClaim);
  const Action held = About("a");
  EXPECT_EQ(held.directive, Directive::kHold);
  EXPECT_EQ(held.hold.kind, HoldKind::kWaitingTurn);
  // One that has not begun says why it waits.
  Ask(Add("c", State::kCompleted));
  EXPECT_EQ(About("c").kind, ActionKind::kShowHold);
}

TEST_F(PolicyTest, AVerificationWaitsForTheTableOfAnother) {
  migrations_.reserve(4);
  StoredMigration& a = Add("a", State::kRunning);
  StoredMigration& b = Add("b", State::kCompleted);
  Ask(b);
  Edit(b).mutable_sql_batch()->set_table("t1");
  EXPECT_EQ(About("b").kind, ActionKind::kShowHold);
  EXPECT_THAT(About("b").hold.reason, HasSubstr("works on the same table"));
  a.migration.state = State::kPaused;
  EXPECT_EQ(About("b").kind, ActionKind::kClaim);
}

TEST_F(PolicyTest, AFrozenOrClosedTargetIsNotVerified) {
  StoredMigration& a = Add("a", State::kCompleted);
  Ask(a);
  freezes_ = {{.target = "main", .actor = "dba", .reason = "incident", .since = kNow, .until = std::nullopt}};
  EXPECT_EQ(About("a").hold.kind, HoldKind::kFrozen);
  freezes_.clear();
  Edit(a).mutable_pace()->add_windows("Mon-Fri 22:00-06:00 UTC");
  EXPECT_EQ(About("a").hold.kind, HoldKind::kOutOfWindow);
  EXPECT_LT(NextChange(Snapshot()), absl::InfiniteFuture());
}

TEST_F(PolicyTest, AVerificationThatFailedIsLeftAloneForAWhile) {
  StoredMigration& a = Add("a", State::kCompleted);
  Ask(a);
  a.migration.hold = {.kind = HoldKind::kBackoff, .reason = "away", .since = kNow, .until = kNow + absl::Minutes(1)};
  EXPECT_THAT(Decided(), IsEmpty());
  a.migration.hold.until = kNow;
  EXPECT_EQ(About("a").kind, ActionKind::kClaim);
}

TEST_F(PolicyTest, AVerificationEndsWithTheProcessAndWithRetry) {
  StoredMigration& a = Add("a", State::kCompleted);
  Ask(a);
  Own(a);
  runs_[a.migration.id.value].purpose = MigrationRun::Purpose::kVerify;
  stopping_ = true;
  EXPECT_EQ(About("a").directive, Directive::kRelease);
  stopping_ = false;
  a.migration.state = State::kRunning;
  a.migration.verification.reset();
  EXPECT_EQ(About("a").directive, Directive::kRelease);
}

}  // namespace
}  // namespace migrationd
