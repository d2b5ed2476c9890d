#include "migrations/model/verbs.h"

#include <string>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
const absl::Time kBefore = kNow - absl::Hours(2);
const absl::Time kLater = kNow + absl::Hours(1);
const Caller kAnna = {.actor = "anna", .reason = "disk is filling up"};
const Caller kService = {.actor = "migrationd", .reason = "its turn has come"};

// A migration as it would be in that state, begun two hours ago unless it is PENDING.
Migration In(State state) {
  Migration migration;
  migration.id = {7};
  migration.target = "main";
  migration.name = "backfill";
  migration.state = state;
  migration.revision = 5;
  migration.intent = {.state = State::kRunning, .actor = "bert", .reason = "deploy", .since = kBefore};
  migration.sizes = {.batch_size = 1000, .sub_batch_size = 100, .max_batch_size = 50000};
  if (state != State::kPending) {
    migration.started_at = kBefore;
    migration.start_requested = true;
    migration.enqueued = true;
    migration.fence = FenceState::kCreated;
    migration.progress.rows_done = 4200;
    migration.progress.attempts = 2;
    migration.progress.last_error = LastError{.sqlstate = "XX000", .message = "broken", .at = kBefore};
  }
  if (state == State::kHalted) migration.halt = Halt{kHaltAttemptsExhausted, "three attempts", kBefore};
  if (state == State::kPaused || state == State::kPausing) migration.intent.state = State::kPaused;
  if (state == State::kCompleted) migration.finished_at = kNow - absl::Hours(1);
  return migration;
}

Migration HaltedWith(const std::string& code) {
  Migration migration = In(State::kHalted);
  migration.halt->code = code;
  return migration;
}

void ExpectIntent(const Intent& intent, State state, const Caller& caller) {
  EXPECT_EQ(intent.state, state);
  EXPECT_EQ(intent.actor, caller.actor);
  EXPECT_EQ(intent.reason, caller.reason);
  EXPECT_EQ(intent.since, kNow);
}

void ExpectRefused(const absl::StatusOr<VerbEffect>& effect, const std::string& part) {
  EXPECT_THAT(effect, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(part)));
}

void ExpectTransition(const VerbEffect& effect, const std::string& from, const std::string& to,
                      const std::string& reason) {
  EXPECT_TRUE(effect.changed);
  EXPECT_EQ(effect.event_kind, "TRANSITION");
  EXPECT_EQ(effect.event_from, from);
  EXPECT_EQ(effect.event_to, to);
  EXPECT_EQ(effect.event_reason, reason);
  EXPECT_EQ(StateName(effect.after.state), to);
}

TEST(Start, LetsAManualMigrationBegin) {
  Migration manual = In(State::kPending);
  manual.hold = {.kind = HoldKind::kNeedsStart, .reason = "MANUAL", .since = kBefore};
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, StartMigration(manual, kAnna, kNow));
  EXPECT_TRUE(effect.changed);
  EXPECT_EQ(effect.after.state, State::kPending);
  EXPECT_TRUE(effect.after.start_requested);
  EXPECT_TRUE(effect.after.enqueued);
  EXPECT_EQ(effect.after.hold.kind, HoldKind::kNone);
  EXPECT_EQ(effect.event_kind, "SETTING");
  EXPECT_EQ(effect.event_reason, kAnna.reason);
  ExpectIntent(effect.after.intent, State::kRunning, kAnna);
}

TEST(Start, OfAnEnqueuedMigrationThatWasNotStartedIsAChangeToo) {
  Migration manual = In(State::kPending);
  manual.enqueued = true;
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, StartMigration(manual, kAnna, kNow));
  EXPECT_TRUE(effect.changed);
}

TEST(Start, TwiceOrWhileRunningChangesNothing) {
  Migration pending = In(State::kPending);
  pending.start_requested = pending.enqueued = true;
  for (const Migration& migration : {pending, In(State::kRunning)}) {
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, StartMigration(migration, kAnna, kNow));
    EXPECT_FALSE(effect.changed);
    EXPECT_EQ(effect.after.intent.actor, "bert");
  }
  for (const State state : {State::kPausing, State::kPaused, State::kHalted, State::kCompleted, State::kCancelled}) {
    ExpectRefused(StartMigration(In(state), kAnna, kNow), std::string(StateName(state)));
  }
}

TEST(Pause, RecordsWhoAskedWhyAndUntilWhen) {
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect running, PauseMigration(In(State::kRunning), kAnna, kNow, kLater));
  ExpectTransition(running, "RUNNING", "PAUSING", kAnna.reason);
  ExpectIntent(running.after.intent, State::kPaused, kAnna);
  EXPECT_EQ(running.after.intent.until, kLater);
  EXPECT_EQ(running.after.revision, 5) << "the store counts revisions";
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect pending, PauseMigration(In(State::kPending), kAnna, kNow, std::nullopt));
  ExpectTransition(pending, "PENDING", "PAUSED", kAnna.reason);
  EXPECT_EQ(pending.after.intent.until, std::nullopt);
}

TEST(Pause, EndsTheHold) {
  Migration held = In(State::kRunning);
  held.hold.kind = HoldKind::kBlocked;
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, PauseMigration(held, kAnna, kNow, std::nullopt));
  EXPECT_EQ(effect.after.hold.kind, HoldKind::kNone);
}

TEST(Pause, TwiceChangesNothingEvenWithAnotherUntilAndReason) {
  for (const State state : {State::kPausing, State::kPaused}) {
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, PauseMigration(In(state), kAnna, kNow, kLater));
    EXPECT_FALSE(effect.changed);
    EXPECT_EQ(effect.after.intent.actor, "bert");
    EXPECT_EQ(effect.after.intent.reason, "deploy");
    EXPECT_EQ(effect.after.intent.until, std::nullopt);
  }
}

TEST(Pause, UntilMustBeInTheFuture) {
  for (const absl::Time until : {kNow, kBefore}) {
    EXPECT_THAT(PauseMigration(In(State::kRunning), kAnna, kNow, until),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("until"), HasSubstr("not after"))));
  }
}

TEST(Pause, IsRefusedWhenNothingIsLeftToPause) {
  for (const State state : {State::kHalted, State::kCompleted, State::kCancelled, State::kCancelling}) {
    ExpectRefused(PauseMigration(In(state), kAnna, kNow, std::nullopt), std::string(StateName(state)));
  }
}

TEST(Resume, GoesOnWhereItWasAndEndsThePause) {
  Migration paused = In(State::kPaused);
  paused.intent.until = kLater;
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, ResumeMigration(paused, kAnna, kNow));
  ExpectTransition(effect, "PAUSED", "RUNNING", kAnna.reason);
  ExpectIntent(effect.after.intent, State::kRunning, kAnna);
  EXPECT_EQ(effect.after.intent.until, std::nullopt);
  EXPECT_EQ(effect.after.started_at, kBefore);
  paused.started_at.reset();
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect waiting, ResumeMigration(paused, kAnna, kNow));
  ExpectTransition(waiting, "PAUSED", "PENDING", kAnna.reason);
  ExpectIntent(waiting.after.intent, State::kPending, kAnna);
}

TEST(Resume, TakesBackAPauseThatIsNotReachedYet) {
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, ResumeMigration(In(State::kPausing), kAnna, kNow));
  ExpectTransition(effect, "PAUSING", "RUNNING", kAnna.reason);
}

TEST(Resume, OfWhatIsNotPausedChangesNothing) {
  for (const State state : {State::kPending, State::kRunning}) {
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, ResumeMigration(In(state), kAnna, kNow));
    EXPECT_FALSE(effect.changed);
    EXPECT_EQ(effect.after.intent.actor, "bert");
  }
  ExpectRefused(ResumeMigration(In(State::kHalted), kAnna, kNow), "Use Retry");
}

TEST(Resume, ACanaryThatHasDoneItsPartDoesNotPauseAgain) {
  Migration canary = In(State::kPaused);
  canary.pause_after_rows = 4000;  // of 4200 done
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect done, ResumeMigration(canary, kAnna, kNow));
  EXPECT_EQ(done.after.pause_after_rows, 0);
  canary.pause_after_rows = 5000;  // paused by a person before
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect ahead, ResumeMigration(canary, kAnna, kNow));
  EXPECT_EQ(ahead.after.pause_after_rows, 5000);
}

TEST(Retry, ClearsTheHaltAndTheAttemptsAndKeepsTheLastError) {
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, RetryMigration(In(State::kHalted), kAnna, kNow, {}));
  ExpectTransition(effect, "HALTED", "RUNNING", kAnna.reason);
  EXPECT_FALSE(effect.after.halt.has_value());
  EXPECT_EQ(effect.after.progress.attempts, 0);
  EXPECT_EQ(effect.after.progress.last_error->sqlstate, "XX000");
  EXPECT_EQ(effect.after.progress.rows_done, 4200);
  EXPECT_EQ(effect.after.restart_from, RestartFrom::kContinue);
  EXPECT_EQ(effect.after.fence, FenceState::kCreated);
  EXPECT_EQ(effect.after.started_at, kBefore);
  ExpectIntent(effect.after.intent, State::kRunning, kAnna);
}

TEST(Retry, OfACancelledMigrationThatNeverBeganCountsAsItsBeginning) {
  Migration cancelled = In(State::kPending);
  cancelled.state = State::kCancelled;
  cancelled.cleaned_up = true;
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, RetryMigration(cancelled, kAnna, kNow, {}));
  ExpectTransition(effect, "CANCELLED", "RUNNING", kAnna.reason);
  EXPECT_EQ(effect.after.started_at, kNow);
  EXPECT_TRUE(effect.after.start_requested);
  EXPECT_TRUE(effect.after.enqueued);
  EXPECT_FALSE(effect.after.cleaned_up) << "what it does now is to be cleaned up again";
}

TEST(Retry, OfACompletedMigrationNeedsRegressedRows) {
  ExpectRefused(RetryMigration(In(State::kCompleted), kAnna, kNow, {}), "COMPLETED");
  Migration regressed = In(State::kCompleted);
  regressed.regressed_rows = 3;
  regressed.accepted_rows = 2;
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, RetryMigration(regressed, kAnna, kNow, {}));
  ExpectTransition(effect, "COMPLETED", "RUNNING", kAnna.reason);
  EXPECT_EQ(effect.after.regressed_rows, 0);
  EXPECT_EQ(effect.after.accepted_rows, 0);
  EXPECT_EQ(effect.after.finished_at, std::nullopt);
}

TEST(Retry, IsRefusedInEveryOtherState) {
  for (const State state : {State::kPending, State::kRunning, State::kPausing, State::kPaused, State::kCancelling}) {
    ExpectRefused(RetryMigration(In(state), kAnna, kNow, {}), std::string(StateName(state)));
  }
}

TEST(Retry, FromStartWithoutWhereMustBeAcknowledged) {
  ExpectRefused(RetryMigration(In(State::kHalted), kAnna, kNow, {.from = RestartFrom::kStart}), "acknowledge_repeat");
  for (const RetryOptions& options : {RetryOptions{.from = RestartFrom::kStart, .acknowledge_repeat = true},
                                      RetryOptions{.from = RestartFrom::kStart, .has_where = true}}) {
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, RetryMigration(In(State::kHalted), kAnna, kNow, options));
    EXPECT_EQ(effect.after.restart_from, RestartFrom::kStart);
    EXPECT_EQ(effect.after.fence, FenceState::kCreating) << "a lost checkpoint could not be made anew otherwise";
    EXPECT_EQ(effect.after.progress.rows_done, 0);
    EXPECT_TRUE(effect.after.progress.last_error.has_value());
  }
}

// From halt, with what an earlier Retry asked for and nobody has begun, to what the next owner does: when nothing is said, and for CONTINUE.
TEST(Retry, KeepsWhatAnEarlierRetryAskedFor) {
  struct Case {
    RestartFrom pending;
    std::string halt;
    RestartFrom unspecified;
    RestartFrom explicitly;
  };
  using enum RestartFrom;
  for (const Case& c : {Case{kStart, kHaltStatementRefused, kStart, kContinue},
                        Case{kStart, kHaltSchemaChanged, kStart, kNewSchema},
                        Case{kAdopt, kHaltStatementRefused, kAdopt, kAdopt},
                        Case{kAdopt, kHaltSchemaChanged, kAdopt, kAdopt},
                        Case{kNewSchema, kHaltAttemptsExhausted, kNewSchema, kNewSchema},
                        Case{kNewSchema, kHaltRowsLeft, kNewSchema, kNewSchema},
                        Case{kRecheck, kHaltAttemptsExhausted, kRecheck, kRecheck},
                        Case{kRecheck, kHaltSchemaChanged, kNewSchema, kNewSchema},
                        Case{kContinue, kHaltRowsLeft, kRecheck, kRecheck},
                        Case{kContinue, kHaltAttemptsExhausted, kContinue, kContinue}}) {
    Migration halted = HaltedWith(c.halt);
    halted.restart_from = c.pending;
    halted.fence = c.pending == kStart ? FenceState::kCreating : FenceState::kCreated;
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, RetryMigration(halted, kAnna, kNow, {.acknowledge_repeat = true}));
    EXPECT_EQ(effect.after.restart_from, c.unspecified) << c.halt;
    EXPECT_EQ(effect.after.fence, halted.fence);
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect explicitly, RetryMigration(halted, kAnna, kNow, {.from = kContinue}));
    EXPECT_EQ(explicitly.after.restart_from, c.explicitly) << c.halt;
    EXPECT_EQ(explicitly.after.fence, FenceState::kCreated) << "a checkpoint that is lost must not be made anew";

    Migration cancelled = In(State::kCancelled);
    cancelled.restart_from = c.pending;
    const RestartFrom of_cancelled = c.pending == kContinue ? kRecheck : c.pending;
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect again, RetryMigration(cancelled, kAnna, kNow, {.acknowledge_repeat = true}));
    EXPECT_EQ(again.after.restart_from, of_cancelled);
  }
}

TEST(Retry, OfAFromStartThatWasNotBegunMustBeAcknowledgedToo) {
  Migration halted = HaltedWith(kHaltStatementRefused);
  halted.restart_from = RestartFrom::kStart;
  ExpectRefused(RetryMigration(halted, kAnna, kNow, {}), "takes it back");
  MD_EXPECT_OK(RetryMigration(halted, kAnna, kNow, {.has_where = true}));
}

TEST(Retry, CannotContinueFromACheckpointThatIsGoneOrForeign) {
  ExpectRefused(RetryMigration(HaltedWith(kHaltCheckpointLost), kAnna, kNow, {}), "FROM_START");
  ExpectRefused(RetryMigration(HaltedWith(kHaltForeignControl), kAnna, kNow, {}), "ADOPT");
  MD_EXPECT_OK(
      RetryMigration(HaltedWith(kHaltCheckpointLost), kAnna, kNow, {.from = RestartFrom::kStart, .has_where = true}));
}

TEST(Retry, AdoptsOnlyWhatIsForeign) {
  ExpectRefused(RetryMigration(In(State::kHalted), kAnna, kNow, {.from = RestartFrom::kAdopt}), "FOREIGN_CONTROL");
  ExpectRefused(RetryMigration(In(State::kCancelled), kAnna, kNow, {.from = RestartFrom::kAdopt}), "FOREIGN_CONTROL");
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect,
                          RetryMigration(HaltedWith(kHaltForeignControl), kAnna, kNow, {.from = RestartFrom::kAdopt}));
  EXPECT_EQ(effect.after.restart_from, RestartFrom::kAdopt);
}

TEST(Accept, CompletesAMigrationWithRowsLeft) {
  Migration left = HaltedWith(kHaltRowsLeft);
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, AcceptRows(left, kAnna, kNow, 12, /*clean_up=*/true));
  ExpectTransition(effect, "HALTED", "COMPLETED", kAnna.reason);
  EXPECT_EQ(effect.after.accepted_rows, 12);
  EXPECT_TRUE(effect.after.cleanup_requested);
  EXPECT_EQ(effect.after.finished_at, kNow);
  EXPECT_FALSE(effect.after.halt.has_value());
  ExpectIntent(effect.after.intent, State::kCompleted, kAnna);
}

TEST(Accept, IsForRowsLeftOnlyAndOnceIsEnough) {
  ExpectRefused(AcceptRows(In(State::kHalted), kAnna, kNow, 12, false), "ROWS_LEFT");
  Migration completed = In(State::kCompleted);
  completed.accepted_rows = 12;
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, AcceptRows(completed, kAnna, kNow, 15, /*clean_up=*/true));
  EXPECT_FALSE(effect.changed);
  EXPECT_FALSE(effect.after.cleanup_requested);
  EXPECT_EQ(effect.after.accepted_rows, 12);
  EXPECT_EQ(effect.after.finished_at, completed.finished_at);
}

TEST(Cancel, RecordsTheIntentAndDropsTheHalt) {
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect running, CancelMigration(In(State::kRunning), kAnna, kNow));
  ExpectTransition(running, "RUNNING", "CANCELLING", kAnna.reason);
  ExpectIntent(running.after.intent, State::kCancelled, kAnna);
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect halted, CancelMigration(In(State::kHalted), kAnna, kNow));
  ExpectTransition(halted, "HALTED", "CANCELLED", kAnna.reason);
  EXPECT_FALSE(halted.after.halt.has_value());
  for (const State state : {State::kCancelling, State::kCancelled}) {
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect again, CancelMigration(In(state), kAnna, kNow));
    EXPECT_FALSE(again.changed);
  }
  ExpectRefused(CancelMigration(In(State::kCompleted), kAnna, kNow), "COMPLETED");
}

TEST(Cleanup, IsAskedForOnce) {
  for (const State state : {State::kCompleted, State::kCancelled}) {
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, RequestCleanup(In(state), kAnna, kNow));
    EXPECT_TRUE(effect.changed);
    EXPECT_TRUE(effect.after.cleanup_requested);
    EXPECT_EQ(effect.after.state, state);
    EXPECT_EQ(effect.event_kind, "SETTING");
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect again, RequestCleanup(effect.after, kAnna, kNow));
    EXPECT_FALSE(again.changed);
  }
  Migration clean = In(State::kCompleted);
  clean.cleaned_up = true;
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, RequestCleanup(clean, kAnna, kNow));
  EXPECT_FALSE(effect.changed);
  ExpectRefused(RequestCleanup(In(State::kRunning), kAnna, kNow), "RUNNING");
}

TEST(Delete, IsPossibleWhenTheMigrationIsOver) {
  for (const State state : {State::kCompleted, State::kCancelled}) {
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, DeleteMigration(In(state), kAnna, kNow, false));
    EXPECT_TRUE(effect.changed);
    EXPECT_EQ(effect.event_to, "DELETED");
  }
  for (const State state :
       {State::kPending, State::kRunning, State::kPausing, State::kPaused, State::kHalted, State::kCancelling}) {
    ExpectRefused(DeleteMigration(In(state), kAnna, kNow, false), std::string(StateName(state)));
  }
}

TEST(Delete, WaitsForACleanup) {
  Migration cancelled = In(State::kCancelled);
  cancelled.fence = FenceState::kCreated;
  ExpectRefused(DeleteMigration(cancelled, kAnna, kNow, /*leaves_objects=*/true), "Cleanup");
  cancelled.cleaned_up = true;
  MD_EXPECT_OK(DeleteMigration(cancelled, kAnna, kNow, /*leaves_objects=*/true));
  cancelled.cleaned_up = false;
  cancelled.fence = FenceState::kNone;
  MD_EXPECT_OK(DeleteMigration(cancelled, kAnna, kNow, /*leaves_objects=*/true));
}

TEST(SetPaceVerb, AddsToWhatWasSetBeforeAndSaysIt) {
  PaceRequest first;
  first.settings.lanes = 4;
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect one, SetPace(In(State::kRunning), kAnna, kNow, first));
  EXPECT_TRUE(one.changed);
  EXPECT_EQ(one.event_from, "the definition's pace");
  EXPECT_EQ(one.event_to, "lanes 4");
  PaceRequest second;
  second.settings.interval = absl::Milliseconds(20);
  second.settings.lanes = 4;
  second.settings.windows.emplace();
  second.until = kLater;
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect two, SetPace(one.after, kService, kNow, second));
  EXPECT_EQ(two.after.pace_override->settings.lanes, 4);
  EXPECT_EQ(two.after.pace_override->author, "migrationd");
  EXPECT_THAT(two.event_to, AllOf(HasSubstr("interval 20ms, lanes 4, windows ALWAYS, until ")));
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect again, SetPace(two.after, kAnna, kNow, second));
  EXPECT_FALSE(again.changed);
  EXPECT_EQ(again.after.pace_override->author, "migrationd") << "nothing was changed, so it keeps its author";
  // What was over is not taken up again.
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect later, SetPace(two.after, kAnna, kLater + absl::Seconds(1), first));
  EXPECT_EQ(later.event_to, "lanes 4");
  PaceRequest automatic;
  automatic.automatic = true;
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect ended, SetPace(two.after, kAnna, kNow, automatic));
  EXPECT_FALSE(ended.after.pace_override.has_value());
}

TEST(SetPaceVerb, WhatIsSetByHandEndsTogether) {
  PaceRequest slower;
  slower.settings.interval = absl::Seconds(1);
  slower.settings.max_rows_per_second = 5000;
  slower.until = kLater + absl::Milliseconds(250);
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect standing, SetPace(In(State::kRunning), kAnna, kNow, slower));
  // Without `until`: as it was.
  PaceRequest lanes;
  lanes.settings.lanes = 2;
  MD_ASSERT_OK_AND_ASSIGN(VerbEffect added, SetPace(standing.after, kService, kNow, lanes));
  EXPECT_EQ(added.after.pace_override->until, slower.until);
  EXPECT_THAT(added.event_to, AllOf(HasSubstr("interval 1s, max_rows_per_second 5000, lanes 2, until ")));
  // The same end, as people are shown it.
  lanes.until = kLater;
  MD_ASSERT_OK_AND_ASSIGN(added, SetPace(standing.after, kService, kNow, lanes));
  EXPECT_EQ(added.after.pace_override->until, slower.until);
  // Another end would move that of what is not named.
  lanes.until = kLater + absl::Hours(1);
  lanes.settings.interval = absl::Seconds(2);
  EXPECT_THAT(SetPace(standing.after, kService, kNow, lanes).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("interval 1s, max_rows_per_second 5000, which stands until "),
                             HasSubstr(absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", kLater, absl::UTCTimeZone())), HasSubstr("automatic"))));
  // It sets all of it anew.
  lanes.settings.max_rows_per_second = 0;
  MD_ASSERT_OK_AND_ASSIGN(added, SetPace(standing.after, kService, kNow, lanes));
  EXPECT_EQ(added.after.pace_override->until, lanes.until);
  slower.until.reset();
  MD_ASSERT_OK_AND_ASSIGN(added, SetPace(standing.after, kService, kNow, slower));
  EXPECT_EQ(added.after.pace_override->until, std::nullopt);
  // What stands without an end does not get one by the way.
  PaceRequest late;
  late.settings.lanes = 3;
  late.until = kLater;
  EXPECT_THAT(SetPace(added.after, kService, kNow, late).status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("which stands until it is taken back")));
}

TEST(SetPaceVerb, RefusesWhatADefinitionCouldNotSay) {
  const auto refused = [](auto set) {
    PaceRequest request;
    set(request);
    return SetPace(In(State::kRunning), kAnna, kNow, request).status();
  };
  for (const absl::Status& status :
       {refused([](PaceRequest&) {}), refused([](PaceRequest& r) { r.settings.lanes = 0; }), refused([](PaceRequest& r) { r.settings.lanes = 17; }),
        refused([](PaceRequest& r) { r.settings.interval = absl::Hours(2); }), refused([](PaceRequest& r) { r.settings.interval = -absl::Seconds(1); }),
        refused([](PaceRequest& r) { r.settings.max_rows_per_second = -1; }), refused([](PaceRequest& r) { r.settings.lock_timeout = absl::ZeroDuration(); }),
        refused([](PaceRequest& r) { r.settings.statement_timeout = absl::Milliseconds(9); }),
        refused([](PaceRequest& r) { r.settings.target_sub_batch_time = absl::Milliseconds(4); }),
        refused([](PaceRequest& r) { r.settings.lanes = 2, r.until = kNow; }), refused([](PaceRequest& r) { r.automatic = true, r.settings.lanes = 2; })}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  }
  PaceRequest lanes;
  lanes.settings.lanes = 2;
  EXPECT_EQ(SetPace(In(State::kCompleted), kAnna, kNow, lanes).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(SetPace(In(State::kPaused), kAnna, kNow, lanes).ok());
}

TEST(ResumeVerb, ThePauseKeepsItsTime) {
  Migration paused = In(State::kPaused);
  paused.progress.accounted_until = kBefore + absl::Hours(1);
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, ResumeMigration(paused, kAnna, kNow));
  EXPECT_DOUBLE_EQ(effect.after.progress.time_seconds.at("PAUSED"), 3600);
  EXPECT_EQ(effect.after.progress.accounted_until, kNow);
}

TEST(AcceptVerb, TheHaltKeepsItsTime) {
  Migration halted = HaltedWith(kHaltRowsLeft);
  halted.progress.accounted_until = kBefore + absl::Hours(1);
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, AcceptRows(halted, kAnna, kNow, 12, /*clean_up=*/false));
  EXPECT_DOUBLE_EQ(effect.after.progress.time_seconds.at("HALTED"), 3600);
}

TEST(SetBatchSizeVerb, PinsTheSizesWithAuthorAndEnd) {
  MD_ASSERT_OK_AND_ASSIGN(
      const VerbEffect effect,
      SetBatchSize(In(State::kRunning), kAnna, kNow, {.batch_size = 2000, .sub_batch_size = 500, .until = kLater}));
  EXPECT_TRUE(effect.changed);
  EXPECT_EQ(effect.event_kind, "SETTING");
  EXPECT_EQ(effect.event_from, "batch_size 1000, sub_batch_size 100, automatic");
  EXPECT_EQ(effect.event_to, "batch_size 2000, sub_batch_size 500, until 2027-01-15 09:00:00Z");
  ASSERT_TRUE(effect.after.size_override.has_value());
  EXPECT_EQ(effect.after.size_override->author, "anna");
  EXPECT_EQ(effect.after.intent.actor, "bert") << "a setting is no change of intent";
  EXPECT_EQ(EffectiveSizes(effect.after, kNow),
            (Sizes{.batch_size = 2000, .sub_batch_size = 500, .max_batch_size = 50000}));
  EXPECT_EQ(EffectiveSizes(effect.after, kLater - absl::Nanoseconds(1)).batch_size, 2000);
  EXPECT_EQ(EffectiveSizes(effect.after, kLater), effect.after.sizes) << "the override is over";
}

TEST(SetBatchSizeVerb, KeepsTheSubBatchLoweredToFit) {
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect large, SetBatchSize(In(State::kRunning), kAnna, kNow, {.batch_size = 5000}));
  EXPECT_EQ(EffectiveSizes(large.after, kNow).sub_batch_size, 100);
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect small, SetBatchSize(In(State::kRunning), kAnna, kNow, {.batch_size = 10}));
  EXPECT_EQ(EffectiveSizes(small.after, kNow).sub_batch_size, 10);
}

TEST(SetBatchSizeVerb, TellsASubBatchThatWasSetFromOneThatWasLeft) {
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect left, SetBatchSize(In(State::kRunning), kAnna, kNow, {.batch_size = 50}));
  EXPECT_EQ(left.after.size_override->sub_batch_size, 0);
  EXPECT_EQ(EffectiveSizes(left.after, kNow).sub_batch_size, 50);
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect set,
                          SetBatchSize(left.after, kAnna, kNow, {.batch_size = 50, .sub_batch_size = 50, .until = kLater}));
  EXPECT_EQ(set.after.size_override->sub_batch_size, 50);
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect kept, SetBatchSize(set.after, kAnna, kNow, {.batch_size = 30}));
  EXPECT_EQ(kept.after.size_override->sub_batch_size, 30) << "what was set stays set, lowered to fit";
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect over, SetBatchSize(set.after, kAnna, kLater, {.batch_size = 30}));
  EXPECT_EQ(over.after.size_override->sub_batch_size, 0) << "that one is over";
}

TEST(SetBatchSizeVerb, TheSameAgainChangesNothing) {
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect first, SetBatchSize(In(State::kRunning), kAnna, kNow, {.batch_size = 500}));
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect again,
                          SetBatchSize(first.after, {"bert", "me too"}, kNow, {.batch_size = 500}));
  EXPECT_FALSE(again.changed);
  EXPECT_EQ(again.after.size_override->author, "anna");
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect until,
                          SetBatchSize(first.after, kAnna, kNow, {.batch_size = 500, .until = kLater}));
  EXPECT_TRUE(until.changed);
}

TEST(SetBatchSizeVerb, AutomaticEndsTheOverride) {
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect pinned, SetBatchSize(In(State::kRunning), kAnna, kNow, {.batch_size = 500}));
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect ended, SetBatchSize(pinned.after, kAnna, kNow, {.automatic = true}));
  EXPECT_TRUE(ended.changed);
  EXPECT_FALSE(ended.after.size_override.has_value());
  EXPECT_EQ(EffectiveSizes(ended.after, kNow), ended.after.sizes);
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect again, SetBatchSize(ended.after, kAnna, kNow, {.automatic = true}));
  EXPECT_FALSE(again.changed);
  EXPECT_THAT(SetBatchSize(pinned.after, kAnna, kNow, {.automatic = true, .batch_size = 5}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("automatic")));
}

TEST(SetBatchSizeVerb, OutsideTheLimitsIsRefusedNeverClamped) {
  for (const std::int32_t size : {-1, 0, 50001}) {
    EXPECT_THAT(SetBatchSize(In(State::kRunning), kAnna, kNow, {.batch_size = size}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("outside 1 to 50000")));
  }
  MD_EXPECT_OK(SetBatchSize(In(State::kRunning), kAnna, kNow, {.batch_size = 50000}));
  MD_EXPECT_OK(SetBatchSize(In(State::kRunning), kAnna, kNow, {.batch_size = 1}));
  for (const std::int32_t size : {-1, 11}) {
    EXPECT_THAT(SetBatchSize(In(State::kRunning), kAnna, kNow, {.batch_size = 10, .sub_batch_size = size}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sub_batch_size")));
  }
  EXPECT_THAT(SetBatchSize(In(State::kRunning), kAnna, kNow, {.batch_size = 10, .until = kNow}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("until")));
}

TEST(SetBatchSizeVerb, IsPossibleUntilTheMigrationIsOver) {
  for (const State state : {State::kPending, State::kRunning, State::kPausing, State::kPaused, State::kHalted}) {
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, SetBatchSize(In(state), kAnna, kNow, {.batch_size = 10}));
    EXPECT_EQ(effect.after.state, state);
    EXPECT_EQ(effect.after.halt.has_value(), state == State::kHalted);
  }
  for (const State state : {State::kCancelling, State::kCancelled, State::kCompleted}) {
    ExpectRefused(SetBatchSize(In(state), kAnna, kNow, {.batch_size = 10}), std::string(StateName(state)));
  }
}

TEST(Begin, RemembersTheFirstTime) {
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, BeginMigration(In(State::kPending), kService, kNow));
  ExpectTransition(effect, "PENDING", "RUNNING", kService.reason);
  EXPECT_EQ(effect.after.started_at, kNow);
  EXPECT_EQ(effect.after.intent.actor, "bert") << "the service has no wishes of its own";
  ExpectRefused(BeginMigration(In(State::kRunning), kService, kNow), "RUNNING");
}

TEST(Quiesce, BringsAPauseOrACancelToItsEnd) {
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect paused, QuiesceMigration(In(State::kPausing), kService, kNow));
  ExpectTransition(paused, "PAUSING", "PAUSED", kService.reason);
  EXPECT_EQ(paused.after.intent.actor, "bert");
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect cancelled, QuiesceMigration(In(State::kCancelling), kService, kNow));
  ExpectTransition(cancelled, "CANCELLING", "CANCELLED", kService.reason);
  ExpectRefused(QuiesceMigration(In(State::kRunning), kService, kNow), "RUNNING");
}

TEST(Halt, SaysWhyAndSinceWhen) {
  for (const State state : {State::kPending, State::kRunning, State::kPausing}) {
    Migration migration = In(state);
    migration.intent.until = kLater;
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect,
                            HaltMigration(migration, kService, kNow, kHaltStatementRefused, "no such column"));
    ExpectTransition(effect, std::string(StateName(state)), "HALTED", "STATEMENT_REFUSED: no such column");
    ASSERT_TRUE(effect.after.halt.has_value());
    EXPECT_EQ(effect.after.halt->code, "STATEMENT_REFUSED");
    EXPECT_EQ(effect.after.halt->message, "no such column");
    EXPECT_EQ(effect.after.halt->since, kNow);
    EXPECT_EQ(effect.after.intent.until, std::nullopt);
  }
  ExpectRefused(HaltMigration(In(State::kPaused), kService, kNow, "X", ""), "PAUSED");
}

TEST(Complete, RemembersWhenAndHowManyRowsWereAccepted) {
  for (const State state : {State::kRunning, State::kPausing}) {
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, CompleteMigration(In(state), kService, kNow, 9, /*clean_up=*/true));
    ExpectTransition(effect, std::string(StateName(state)), "COMPLETED", kService.reason);
    EXPECT_EQ(effect.after.finished_at, kNow);
    EXPECT_EQ(effect.after.accepted_rows, 9);
    EXPECT_TRUE(effect.after.cleanup_requested);
    EXPECT_FALSE(effect.after.halt.has_value());
  }
  ExpectRefused(CompleteMigration(In(State::kCancelling), kService, kNow, 0, false), "CANCELLING");
}

TEST(Rewound, ReopensACompletedMigration) {
  Migration completed = In(State::kCompleted);
  completed.cleanup_requested = completed.cleaned_up = true;
  completed.accepted_rows = 4;
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, ReopenRewound(completed, kService, kNow));
  EXPECT_EQ(effect.event_kind, "TARGET_REWOUND");
  EXPECT_EQ(effect.after.state, State::kRunning);
  EXPECT_EQ(effect.after.finished_at, std::nullopt);
  EXPECT_EQ(effect.after.accepted_rows, 0);
  EXPECT_FALSE(effect.after.cleanup_requested);
  EXPECT_FALSE(effect.after.cleaned_up);
  EXPECT_EQ(effect.after.fence, FenceState::kCreated) << "the checkpoint is there, only older";
  EXPECT_EQ(effect.after.started_at, kBefore);
  ExpectRefused(ReopenRewound(In(State::kRunning), kService, kNow), "RUNNING");
}

TEST(NewTarget, ForgetsEverythingThatWasDoneOnTheOldOne) {
  for (const State state : kAllStates) {
    Migration migration = In(state);
    migration.fence = FenceState::kCreated;
    migration.restart_from = RestartFrom::kAdopt;
    migration.intent.until = kLater;
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, RestartOnNewTarget(migration, kService, kNow));
    EXPECT_TRUE(effect.changed);
    EXPECT_EQ(effect.event_kind, "TARGET_REPLACED");
    EXPECT_EQ(effect.after.started_at, std::nullopt);
    EXPECT_EQ(effect.after.finished_at, std::nullopt);
    EXPECT_EQ(effect.after.fence, FenceState::kNone);
    EXPECT_EQ(effect.after.restart_from, RestartFrom::kContinue);
    EXPECT_EQ(effect.after.progress.rows_done, 0);
    EXPECT_EQ(effect.after.progress.attempts, 0);
    EXPECT_FALSE(effect.after.halt.has_value());
    EXPECT_EQ(effect.after.intent.until, kLater) << "what people asked for still holds";
    MD_ASSERT_OK_AND_ASSIGN(const VerbEffect again, RestartOnNewTarget(effect.after, kService, kNow));
    EXPECT_FALSE(again.changed) << StateName(state);
  }
}

TEST(Verbs, VerifyIsAskedForOnceAndEndsWithWhatItFound) {
  const Migration completed = In(State::kCompleted);
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect asked, RequestVerification(completed, kAnna, kNow, /*has_where=*/true));
  EXPECT_TRUE(asked.changed);
  EXPECT_EQ(asked.after.state, State::kCompleted);
  EXPECT_TRUE(asked.after.verifying());
  EXPECT_EQ(asked.after.verification->actor, kAnna.actor);
  EXPECT_EQ(asked.event_to, "verification requested");
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect again, RequestVerification(asked.after, kAnna, kNow + absl::Hours(1), true));
  EXPECT_FALSE(again.changed);
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect ended, EndVerification(asked.after, kAnna, kNow + absl::Hours(2), 7));
  EXPECT_EQ(ended.event_kind, "VERIFIED");
  EXPECT_EQ(ended.event_from, "0 rows regressed");
  EXPECT_EQ(ended.event_to, "7 rows regressed");
  EXPECT_EQ(ended.after.regressed_rows, 7);
  EXPECT_EQ(ended.after.verification->finished_at, kNow + absl::Hours(2));
  EXPECT_FALSE(ended.after.verifying());
  EXPECT_THAT(EndVerification(ended.after, kAnna, kNow, 7), StatusIs(absl::StatusCode::kAborted, HasSubstr("not asked for")));
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect later, RequestVerification(ended.after, kAnna, kNow + absl::Hours(3), true));
  EXPECT_TRUE(later.after.verifying());
  EXPECT_EQ(later.after.regressed_rows, 7) << "until the next one says otherwise";
}

TEST(Verbs, AVerificationWithoutAResultLeavesNothingBehind) {
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect asked, RequestVerification(In(State::kCompleted), kAnna, kNow, true));
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect ended, EndVerification(asked.after, {"owner", "no such table"}, kNow, std::nullopt));
  EXPECT_FALSE(ended.after.verification.has_value());
  EXPECT_EQ(ended.event_kind, "VERIFIED");
  EXPECT_EQ(ended.event_to, "no result");
  EXPECT_EQ(ended.event_reason, "no such table");
}

TEST(Verbs, VerifyIsForCompletedOnesWithWhere) {
  EXPECT_THAT(RequestVerification(In(State::kCompleted), kAnna, kNow, false),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("`where`")));
  EXPECT_THAT(RequestVerification(In(State::kRunning), kAnna, kNow, true), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                                                    HasSubstr("RUNNING")));
}

TEST(Verbs, RetryEndsAVerification) {
  Migration regressed = In(State::kCompleted);
  regressed.regressed_rows = 3;
  regressed.verification = Verification{.requested_at = kNow, .actor = "anna"};
  MD_ASSERT_OK_AND_ASSIGN(const VerbEffect effect, RetryMigration(regressed, kAnna, kNow, {}));
  EXPECT_FALSE(effect.after.verification.has_value());
}

}  // namespace
}  // namespace migrationd
