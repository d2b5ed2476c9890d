#include "tests/server/control/control_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Work has begun and the owner row is there.
void MakeWorking(ControlWorld& world, const std::string& name) {
  world.MakeRunning(name);
  MD_ASSERT_OK(world.Mutate(name, [](const StoredMigration& current, absl::Time) -> absl::StatusOr<VerbEffect> {
    VerbEffect effect;
    effect.after = current.migration;
    effect.after.fence = FenceState::kCreated;
    effect.event_kind = "OWNER";
    return effect;
  }));
}

TEST(PauseTest, OfARunningMigrationAnswersPausingAndInterruptsItsOwner) {
  ControlWorld world;
  const MigrationId id = world.Add("one").migration.id;
  world.MakeRunning("one");
  MD_ASSERT_OK_AND_ASSIGN(const auto outcome,
                          world.controller.Pause("one", std::nullopt, /*immediate=*/false, By("alice")));
  EXPECT_EQ(outcome.migration.migration.state, State::kPausing);
  EXPECT_EQ(outcome.migration.migration.intent.actor, "alice");
  EXPECT_EQ(outcome.quiesced_at, std::nullopt);
  EXPECT_EQ(world.board.Get()->migrations.at(id.value).stored.migration.state, State::kPausing);
  EXPECT_THAT(world.scheduler.interrupted(), ElementsAre(id.value));
  EXPECT_THAT(world.target->calls(), IsEmpty());
}

TEST(PauseTest, OfAWaitingMigrationAnswersPausedWithItsEnd) {
  ControlWorld world;
  world.Add("one");
  const absl::Time until = world.store.now() + absl::Hours(1);
  MD_ASSERT_OK_AND_ASSIGN(const auto outcome, world.controller.Pause("one", until, false, By("alice")));
  EXPECT_EQ(outcome.migration.migration.state, State::kPaused);
  EXPECT_EQ(outcome.migration.migration.intent.until, until);
}

TEST(PauseTest, ImmediateRecordsTheIntentThenRevokesThenIsPaused) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  State at_revoke = State::kCompleted;
  std::size_t interrupted_before = 0;
  world.target->on_revoke = [&](const TakeOverRequest&) {
    at_revoke = world.Stored("one").migration.state;
    interrupted_before = world.scheduler.interrupted().size();
    return absl::OkStatus();
  };
  MD_ASSERT_OK_AND_ASSIGN(const auto outcome, world.controller.Pause("one", std::nullopt, true, By("alice")));
  EXPECT_EQ(at_revoke, State::kPausing);
  EXPECT_EQ(interrupted_before, 1U);
  EXPECT_EQ(outcome.migration.migration.state, State::kPaused);
  EXPECT_EQ(outcome.quiesced_at, FakeTarget::QuiescedAt());
  EXPECT_EQ(world.Stored("one").migration.state, State::kPaused);
  EXPECT_THAT(world.target->calls(), ElementsAre("Revoke"));
  EXPECT_FALSE(world.target->revokes().at(0).may_create) << "a row that was made once must be there";
  const EventRecord last = world.Events("one").front();
  EXPECT_EQ(last.to, "PAUSED");
  EXPECT_THAT(last.reason, AllOf(HasSubstr("because of the test"), HasSubstr("epoch 7")));
}

TEST(PauseTest, ImmediateOfOneThatNeverWroteMayCreateItsRowAndSaysSoInTheStoreBeforeAndAfter) {
  ControlWorld world;
  world.Add("one");
  FenceState at_revoke = FenceState::kNone;
  world.target->on_revoke = [&](const TakeOverRequest& request) {
    at_revoke = world.Stored("one").migration.fence;
    EXPECT_TRUE(request.may_create);
    return absl::OkStatus();
  };
  MD_ASSERT_OK_AND_ASSIGN(const auto outcome, world.controller.Pause("one", std::nullopt, true, By("alice")));
  EXPECT_EQ(at_revoke, FenceState::kCreating);
  EXPECT_EQ(outcome.migration.migration.state, State::kPaused);
  EXPECT_EQ(world.Stored("one").migration.fence, FenceState::kCreated);
  EXPECT_THAT(world.target->calls(), ElementsAre("Open(create)", "Revoke"));
}

TEST(PauseTest, ImmediateOfAPausedOneFencesItAgainAndChangesNothing) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  MD_ASSERT_OK(world.controller.Pause("one", std::nullopt, true, By("alice")));
  const std::int64_t revision = world.Stored("one").migration.revision;
  MD_ASSERT_OK_AND_ASSIGN(const auto outcome, world.controller.Pause("one", std::nullopt, true, By("bob")));
  EXPECT_EQ(outcome.quiesced_at, FakeTarget::QuiescedAt());
  EXPECT_EQ(world.Stored("one").migration.revision, revision);
  EXPECT_EQ(world.target->revokes().size(), 2U);
}

TEST(PauseTest, ImmediateWithTheTargetAwayStaysPausingAndARepeatedCallFinishesIt) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  world.target->on_revoke = [](const TakeOverRequest&) { return absl::UnavailableError("no route to host"); };
  const auto away = world.controller.Pause("one", std::nullopt, true, By("alice", "request-1"));
  EXPECT_THAT(away, StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr("PAUSING"), HasSubstr("no route to host"),
                                                                   HasSubstr("migration_control.freeze"))));
  EXPECT_EQ(world.Stored("one").migration.state, State::kPausing);

  world.target->on_revoke = [](const TakeOverRequest&) { return absl::OkStatus(); };
  MD_ASSERT_OK_AND_ASSIGN(const auto outcome,
                          world.controller.Pause("one", std::nullopt, true, By("alice", "request-1")));
  EXPECT_EQ(outcome.migration.migration.state, State::kPaused);
}

TEST(PauseTest, ImmediateThatCannotBeRecordedSaysThatTheMigrationIsFenced) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  world.target->on_revoke = [&](const TakeOverRequest&) {
    world.store.set_available(false);
    return absl::OkStatus();
  };
  EXPECT_THAT(world.controller.Pause("one", std::nullopt, true, By("alice")),
              StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr("fenced"), HasSubstr("PAUSING"))));
}

TEST(PauseTest, AResumeDuringAnImmediatePauseWinsAndThePauseSaysSo) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  world.target->on_revoke = [&](const TakeOverRequest&) { return world.controller.Resume("one", By("bob")).status(); };
  EXPECT_THAT(world.controller.Pause("one", std::nullopt, true, By("alice")),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("bob")));
  EXPECT_EQ(world.Stored("one").migration.state, State::kRunning);
}

TEST(PauseTest, ACancelDuringAnImmediatePauseEndsCancelled) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  world.target->on_revoke = [&](const TakeOverRequest&) { return world.controller.Cancel("one", By("bob")).status(); };
  MD_ASSERT_OK_AND_ASSIGN(const auto outcome, world.controller.Pause("one", std::nullopt, true, By("alice")));
  EXPECT_EQ(outcome.migration.migration.state, State::kCancelled);
}

TEST(PauseTest, TheLastSubBatchMayCompleteItDuringAnImmediatePause) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  world.target->on_revoke = [&](const TakeOverRequest&) {
    return world
        .Mutate("one",
                [](const StoredMigration& current, absl::Time now) {
                  return CompleteMigration(current.migration, {"owner", ""}, now, 0, false);
                })
        .status();
  };
  MD_ASSERT_OK_AND_ASSIGN(const auto outcome, world.controller.Pause("one", std::nullopt, true, By("alice")));
  EXPECT_EQ(outcome.migration.migration.state, State::kCompleted);
}

TEST(PauseTest, ImmediateThatFindsTheCheckpointGoneHaltsTheMigration) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  world.target->on_revoke = [](const TakeOverRequest&) { return absl::NotFoundError("the owner row is gone."); };
  EXPECT_THAT(world.controller.Pause("one", std::nullopt, true, By("alice")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("CHECKPOINT_LOST")));
  const Migration m = world.Stored("one").migration;
  EXPECT_EQ(m.state, State::kHalted);
  EXPECT_EQ(m.halt->code, kHaltCheckpointLost);
}

TEST(PauseTest, ImmediateThatFindsAnotherControlStoresRowHaltsTheMigration) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  world.target->on_revoke = [](const TakeOverRequest&) {
    return absl::PermissionDeniedError("the row belongs to another.");
  };
  EXPECT_THAT(world.controller.Pause("one", std::nullopt, true, By("alice")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("FOREIGN_CONTROL")));
  EXPECT_EQ(world.Stored("one").migration.halt->code, kHaltForeignControl);
}

TEST(PauseTest, ARepeatedRequestIdAfterAResumeDoesNotPauseAgain) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  MD_ASSERT_OK(world.controller.Pause("one", std::nullopt, true, By("alice", "request-1")));
  MD_ASSERT_OK(world.controller.Resume("one", By("bob")));
  MD_ASSERT_OK_AND_ASSIGN(const auto outcome,
                          world.controller.Pause("one", std::nullopt, true, By("alice", "request-1")));
  EXPECT_EQ(outcome.migration.migration.state, State::kRunning);
  EXPECT_EQ(outcome.quiesced_at, std::nullopt);
  EXPECT_EQ(world.target->revokes().size(), 1U) << "the running owner must not be fenced";
}

TEST(PauseTest, WithTheControlStoreAwayRecordsNothingAndNamesTheOtherWay) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  world.store.set_available(false);
  EXPECT_THAT(world.controller.Pause("one", std::nullopt, true, By("alice")),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("migration_control.freeze")));
  EXPECT_THAT(world.target->calls(), IsEmpty());
  EXPECT_THAT(world.scheduler.interrupted(), IsEmpty());
}

TEST(PauseTest, ValidateOnlyTouchesNeitherStoreNorTargetNorOwner) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  const std::int64_t revision = world.Stored("one").migration.revision;
  MutationContext context = By("alice");
  context.validate_only = true;
  MD_ASSERT_OK(world.controller.Pause("one", std::nullopt, true, context));
  EXPECT_EQ(world.Stored("one").migration.revision, revision);
  EXPECT_THAT(world.target->calls(), IsEmpty());
  EXPECT_THAT(world.scheduler.interrupted(), IsEmpty());
}

TEST(PauseTest, WithAnotherRevisionThanWasSeenIsAbortedAndDoesNothing) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  MutationContext context = By("alice");
  context.expected_revision = 1;
  EXPECT_THAT(world.controller.Pause("one", std::nullopt, true, context),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("1")));
  EXPECT_EQ(world.Stored("one").migration.state, State::kRunning);
  EXPECT_THAT(world.target->calls(), IsEmpty());
}

TEST(PauseTest, OnATargetThatThisProcessDoesNotHaveIsUnavailableAndStaysPausing) {
  ControlWorld world;
  world.Add("one");
  MakeWorking(world, "one");
  world.targets.clear();
  EXPECT_THAT(world.controller.Pause("one", std::nullopt, true, By("alice")),
              StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr("main"), HasSubstr("--target"))));
  EXPECT_EQ(world.Stored("one").migration.state, State::kPausing);
}

}  // namespace
}  // namespace migrationd
