#include <functional>

#include "tests/server/control/control_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

FreezeRecord FreezeOf(const std::string& target, const std::string& reason = "") {
  FreezeRecord freeze;
  freeze.target = target;
  freeze.reason = reason;
  return freeze;
}

TEST(VerbsTest, EachVerbNamesUnknownMigrationsWithTheOnesNearIt) {
  ControlWorld world;
  world.Add("backfill_builds");
  const auto candidates = StatusIs(absl::StatusCode::kNotFound, HasSubstr("main/backfill_builds"));
  EXPECT_THAT(world.controller.Start("backfill", By("alice")), candidates);
  EXPECT_THAT(world.controller.Pause("backfill", std::nullopt, false, By("alice")), candidates);
  EXPECT_THAT(world.controller.Resume("backfill", By("alice")), candidates);
  EXPECT_THAT(world.controller.Retry("backfill", RestartFrom::kContinue, false, By("alice")), candidates);
  EXPECT_THAT(world.controller.Accept("backfill", By("alice")), candidates);
  EXPECT_THAT(world.controller.Cancel("backfill", By("alice")), candidates);
  EXPECT_THAT(world.controller.Cleanup("backfill", By("alice")), candidates);
  EXPECT_THAT(world.controller.Delete("backfill", By("alice")), candidates);
  EXPECT_THAT(world.controller.SetBatchSize("backfill", {.batch_size = 5}, By("alice")), candidates);
  EXPECT_THAT(world.controller.ListJobs("backfill", 0, 10), candidates);
  EXPECT_THAT(world.controller.ListEvents("backfill", {}, 0, 10), candidates);
}

TEST(VerbsTest, ARefusedVerbChangesNothing) {
  ControlWorld world;
  world.Add("one");
  world.MakeHalted("one", kHaltAttemptsExhausted);
  const std::int64_t revision = world.Stored("one").migration.revision;
  const int wakes = world.scheduler.wakes();
  EXPECT_THAT(world.controller.Resume("one", By("alice")),
              StatusIs(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("HALTED"), HasSubstr("Retry"))));
  EXPECT_THAT(world.controller.Accept("one", By("alice")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("HALTED")));
  EXPECT_THAT(world.controller.Cleanup("one", By("alice")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("HALTED")));
  EXPECT_THAT(world.controller.Delete("one", By("alice")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("HALTED")));
  EXPECT_EQ(world.Stored("one").migration.revision, revision);
  EXPECT_EQ(world.scheduler.wakes(), wakes);
  EXPECT_THAT(world.target->calls(), IsEmpty());
}

TEST(VerbsTest, AVerbThatDoesSomethingIsOnTheBoardAtOnceAndWakesTheScheduler) {
  ControlWorld world;
  const MigrationId id = world.Add("one").migration.id;
  world.MakeHalted("one", kHaltRowsLeft);
  const int wakes = world.scheduler.wakes();
  MD_ASSERT_OK(world.controller.Accept("one", By("alice")));
  EXPECT_EQ(world.board.Get()->migrations.at(id.value).stored.migration.state, State::kCompleted);
  EXPECT_GT(world.scheduler.wakes(), wakes);
  EXPECT_EQ(world.Events("one").front().actor, "alice");
}

TEST(VerbsTest, AcceptCompletesOnTheTargetBeforeItIsReported) {
  ControlWorld world;
  world.Add("one");
  world.MakeHalted("one", kHaltRowsLeft);
  world.target->on_take_over = [](const TakeOverRequest&) { return absl::UnavailableError("no route to host"); };
  EXPECT_THAT(world.controller.Accept("one", By("alice")),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no route")));
  EXPECT_EQ(world.Stored("one").migration.state, State::kHalted);
  world.target->on_take_over = [&](const TakeOverRequest&) {
    EXPECT_EQ(world.Stored("one").migration.state, State::kHalted);
    return absl::OkStatus();
  };
  MD_ASSERT_OK(world.controller.Accept("one", By("alice")));
  EXPECT_THAT(world.target->calls(), ElementsAre("TakeOver", "TakeOver", "Barrier(completed)"));
  MD_ASSERT_OK(world.controller.Accept("one", By("alice"))) << "asking again changes nothing";
  EXPECT_EQ(world.target->calls().size(), 3U);
}

TEST(VerbsTest, RetryFromStartNeedsAWhereOrAnAcknowledgement) {
  ControlWorld world;
  world.Add("with_where");
  world.MakeHalted("with_where", kHaltAttemptsExhausted);
  MD_EXPECT_OK(world.controller.Retry("with_where", RestartFrom::kStart, false, By("alice")));

  const auto no_where = DefinitionOf("sql_batch: {table: t, statement: \"UPDATE t SET n = n + 1 WHERE {{batch}}\"}\n");
  MD_ASSERT_OK(world.controller.RegisterCatalogFile("/catalog/f", {"20261120093001", "without"}, no_where));
  world.Publish();
  world.MakeHalted("without", kHaltAttemptsExhausted);
  EXPECT_THAT(world.controller.Retry("without", RestartFrom::kStart, false, By("alice")),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("where")));
  MD_EXPECT_OK(world.controller.Retry("without", RestartFrom::kStart, true, By("alice")));
}

TEST(VerbsTest, SetBatchSizeOutsideItsLimitsIsRefusedNotClamped) {
  ControlWorld world;
  world.Add("one");
  EXPECT_THAT(world.controller.SetBatchSize("one", {.batch_size = 50001}, By("alice")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("50000")));
  MD_ASSERT_OK_AND_ASSIGN(const auto stored, world.controller.SetBatchSize("one", {.batch_size = 50000}, By("alice")));
  EXPECT_EQ(EffectiveSizes(stored.migration, world.store.now()).batch_size, 50000);
}

TEST(VerbsTest, CancelInterruptsTheOwner) {
  ControlWorld world;
  const MigrationId id = world.Add("one").migration.id;
  world.MakeRunning("one");
  MD_ASSERT_OK_AND_ASSIGN(const auto stored, world.controller.Cancel("one", By("alice")));
  EXPECT_EQ(stored.migration.state, State::kCancelling);
  EXPECT_THAT(world.scheduler.interrupted(), ElementsAre(id.value));
}

TEST(VerbsTest, ARequestIdUsedForAnotherVerbIsAlreadyExists) {
  ControlWorld world;
  world.Add("one");
  world.MakeRunning("one");
  MD_ASSERT_OK(world.controller.Pause("one", std::nullopt, false, By("alice", "request-1")));
  EXPECT_THAT(world.controller.Resume("one", By("alice", "request-1")),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("request-1")));
}

TEST(DeleteTest, LeavesTheTombstoneBeforeTheStoreForgets) {
  ControlWorld world;
  world.Add("one");
  world.MakeCompleted("one");
  bool known_at_forget = false;
  world.target->on_forget = [&](const std::string&) {
    known_at_forget = Resolve(*world.board.Get(), "one").ok();
    return absl::OkStatus();
  };
  MD_ASSERT_OK(world.controller.Delete("one", By("alice")));
  EXPECT_TRUE(known_at_forget);
  EXPECT_THAT(world.target->calls(), ElementsAre("Open(create)", "Forget"));
  EXPECT_THAT(Resolve(*world.board.Get(), "one").status(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("one")));
  MD_ASSERT_OK_AND_ASSIGN(const auto snapshot, world.store.Load());
  EXPECT_THAT(snapshot.migrations, IsEmpty());
}

TEST(DeleteTest, WithTheTargetAwayDeletesNothing) {
  ControlWorld world;
  world.Add("one");
  world.MakeCompleted("one");
  world.target->on_forget = [](const std::string&) { return absl::UnavailableError("no route to host"); };
  EXPECT_THAT(world.controller.Delete("one", By("alice")),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no route")));
  EXPECT_EQ(world.Stored("one").migration.state, State::kCompleted);
}

TEST(DeleteTest, ARepeatedRequestIdAnswersAgain) {
  ControlWorld world;
  world.Add("one");
  world.MakeCompleted("one");
  MD_ASSERT_OK(world.controller.Delete("one", By("alice", "request-1")));
  MD_ASSERT_OK_AND_ASSIGN(const auto again, world.controller.Delete("one", By("alice", "request-1")));
  EXPECT_EQ(again.migration.name, "one");
  EXPECT_THAT(world.controller.Delete("one", By("alice", "request-2")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("one")));
}

TEST(DeleteTest, ChecksRevisionAndValidateOnlyBeforeItTouchesTheTarget) {
  ControlWorld world;
  world.Add("one");
  world.MakeCompleted("one");
  MutationContext context = By("alice");
  context.expected_revision = 1;
  EXPECT_THAT(world.controller.Delete("one", context), StatusIs(absl::StatusCode::kAborted, HasSubstr("revision")));
  context = By("alice");
  context.validate_only = true;
  MD_EXPECT_OK(world.controller.Delete("one", context));
  EXPECT_THAT(world.target->calls(), IsEmpty());
  EXPECT_EQ(world.Stored("one").migration.state, State::kCompleted);
}

TEST(FreezeTest, IsOnTheBoardUntilUnfrozen) {
  ControlWorld world;
  MD_ASSERT_OK_AND_ASSIGN(const auto freeze, world.controller.Freeze(FreezeOf("main"), By("alice")));
  EXPECT_EQ(freeze.actor, "alice");
  EXPECT_EQ(freeze.reason, "because of the test");
  ASSERT_EQ(world.board.Get()->freezes.size(), 1U);
  MD_ASSERT_OK(world.controller.Freeze(FreezeOf("main", "another"), By("bob")));
  ASSERT_EQ(world.board.Get()->freezes.size(), 1U);
  EXPECT_EQ(world.board.Get()->freezes[0].reason, "another");
  MD_ASSERT_OK(world.controller.Unfreeze("main", By("bob")));
  EXPECT_THAT(world.board.Get()->freezes, IsEmpty());
  EXPECT_THAT(world.controller.Unfreeze("main", By("bob")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("main")));
}

TEST(FreezeTest, OfAnUnknownTargetNamesTheKnownOnes) {
  ControlWorld world;
  EXPECT_THAT(world.controller.Freeze(FreezeOf("mian"), By("alice")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("main")));
}

}  // namespace
}  // namespace migrationd
