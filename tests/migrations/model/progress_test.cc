#include "migrations/model/progress.h"

#include <string>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);  // 2027-01-15 08:00:00

Migration Running() {
  Migration migration;
  migration.target = "main";
  migration.name = "backfill";
  migration.state = State::kRunning;
  migration.started_at = kNow - absl::Seconds(20);
  migration.intent.since = *migration.started_at;
  migration.progress.phase = Phase::kExecute;
  migration.progress.pass = 1;
  migration.progress.rows_done = 421'337;
  migration.progress.rows_estimated = 1'000'000;
  migration.progress.sub_batches_done = 4213;
  migration.progress.rows_per_second = 21'400;
  return migration;
}

std::string Summary(const Migration& migration) { return SummaryLine(migration, kNow); }

TEST(Progress, ByRowsWhenOnlyTheirNumberIsKnown) {
  const ProgressView view = ViewProgress(Running(), kNow);
  EXPECT_EQ(view.method, "ROWS");
  EXPECT_DOUBLE_EQ(view.fraction, 0.421337);
  EXPECT_DOUBLE_EQ(view.rows_per_second_average, 421'337 / 20.0);
  EXPECT_EQ(view.eta_state, EtaState::kReady);
  ASSERT_TRUE(view.eta.has_value());
  EXPECT_NEAR(absl::ToDoubleSeconds(*view.eta - kNow), (1'000'000 - 421'337) / 21'400.0, 1e-3);
}

TEST(Progress, ByPositionInTheKeyRangeWhenThatIsKnown) {
  Migration sparse = Running();  // `where` matches few rows: far through the table, few rows done
  sparse.progress.rows_done = 1000;
  sparse.progress.rows_per_second = 100;
  sparse.progress.fraction = 0.8;
  const ProgressView view = ViewProgress(sparse, kNow);
  EXPECT_EQ(view.method, "KEY_RANGE");
  EXPECT_DOUBLE_EQ(view.fraction, 0.8);
  EXPECT_NEAR(absl::ToDoubleSeconds(*view.eta - kNow), 2.5, 1e-3);  // 250 more rows
}

TEST(Progress, ByRowsThatWereCountedRatherThanByPosition) {
  Migration sparse = Running();  // the rows to do lie at the end of the table
  sparse.progress.rows_done = 250;
  sparse.progress.rows_estimated = 1000;
  sparse.progress.fraction = 0.9;
  sparse.progress.rows_per_second = 10;
  for (const char* method : {"COUNT", "SAMPLE"}) {
    sparse.progress.estimate_method = method;
    const ProgressView view = ViewProgress(sparse, kNow);
    EXPECT_EQ(view.method, "ROWS");
    EXPECT_DOUBLE_EQ(view.fraction, 0.25);
    EXPECT_NEAR(absl::ToDoubleSeconds(*view.eta - kNow), 75, 1e-3);
  }
  // Of the whole table, not of `where`.
  sparse.progress.estimate_method = "STATISTICS";
  EXPECT_EQ(ViewProgress(sparse, kNow).method, "KEY_RANGE");
  // More came in than had been counted: what was counted tells nothing any more.
  sparse.progress.estimate_method = "COUNT";
  sparse.progress.rows_done = 1000;
  EXPECT_EQ(ViewProgress(sparse, kNow).method, "KEY_RANGE");
}

TEST(Progress, ByPositionUntilTheFirstRowOfThoseCounted) {
  Migration late = Running();  // the rows to do lie at the end of the table
  late.progress.rows_done = 0;
  late.progress.rows_per_second = 0;
  late.progress.rows_estimated = 1000;
  late.progress.estimate_method = "COUNT";
  late.progress.fraction = 0.9;
  ProgressView view = ViewProgress(late, kNow);
  EXPECT_EQ(view.method, "KEY_RANGE");
  EXPECT_DOUBLE_EQ(view.fraction, 0.9);
  EXPECT_EQ(view.eta_state, EtaState::kReady);
  EXPECT_NEAR(absl::ToDoubleSeconds(*view.eta - kNow), 20 / 9.0, 1e-3) << "at the pace since the beginning";
  late.progress.fraction_per_second = 0.01;
  EXPECT_NEAR(absl::ToDoubleSeconds(*ViewProgress(late, kNow).eta - kNow), 10, 1e-3) << "at that of the last minutes";
  late.progress.fraction = 0;
  view = ViewProgress(late, kNow);
  EXPECT_EQ(view.method, "ROWS") << "where no position is known";
  EXPECT_EQ(view.fraction, 0);
}

// All that were counted lie at the beginning of the table.
Migration LookingAtTheRest() {
  Migration migration = Running();
  migration.progress.rows_done = 1000;
  migration.progress.rows_estimated = 1000;
  migration.progress.estimate_method = "COUNT";
  migration.progress.rows_per_second = 0;
  migration.progress.fraction = 0.05;
  migration.progress.fraction_per_second = 0.001;
  return migration;
}

TEST(Progress, DoesNotFallBackWhenAllRowsThatWereCountedAreDone) {
  Migration migration = LookingAtTheRest();
  const ProgressView view = ViewProgress(migration, kNow);
  EXPECT_EQ(view.method, "KEY_RANGE");
  EXPECT_TRUE(view.only_looking);
  EXPECT_DOUBLE_EQ(view.fraction, 0.99 + 0.009 * 0.05);
  EXPECT_EQ(view.eta_state, EtaState::kReady) << "no row is done, but the position moves";
  EXPECT_NEAR(absl::ToDoubleSeconds(*view.eta - kNow), 950, 1e-3);
  EXPECT_EQ(Summary(migration), "RUNNING 99.0 % (1,000 of ~1,000 rows), looking at the rest (5.0 %), done in 15m50s");
  migration.progress.rows_done = 999;
  migration.progress.rows_estimated = 1000;
  EXPECT_EQ(ViewProgress(migration, kNow).eta_state, EtaState::kReady) << "a row that is missing does not make it due";
  migration.progress.fraction = 0.9995;
  EXPECT_EQ(ViewProgress(migration, kNow).eta_state, EtaState::kDue);
}

TEST(Progress, IsStalledWhenNeitherRowsNorThePositionGetOn) {
  Migration migration = LookingAtTheRest();
  migration.progress.fraction_per_second = 0;
  EXPECT_EQ(ViewProgress(migration, kNow).eta_state, EtaState::kStalled);
  migration.hold.kind = HoldKind::kThrottled;
  EXPECT_NE(ViewProgress(migration, kNow).eta_state, EtaState::kStalled) << "the hold says why";
  migration.hold.kind = HoldKind::kNone;
  migration.progress.fraction_per_second.reset();
  EXPECT_NE(ViewProgress(migration, kNow).eta_state, EtaState::kStalled) << "others than the owner cannot know";
  // In the middle of the table, where no row needs work.
  Migration gap = Running();
  gap.progress.rows_per_second = 0;
  gap.progress.fraction = 0.5;
  EXPECT_EQ(ViewProgress(gap, kNow).eta_state, EtaState::kStalled);
  gap.progress.fraction_per_second = 0.01;
  EXPECT_EQ(ViewProgress(gap, kNow).eta_state, EtaState::kReady);
  EXPECT_NEAR(absl::ToDoubleSeconds(*ViewProgress(gap, kNow).eta - kNow), 50, 1e-3);
}

TEST(Progress, VerifyShowsHowFarItsOwnPassIs) {
  Migration verifying = Running();
  verifying.progress.rows_done = 1'000'000;
  verifying.progress.rows_per_second = 0;
  verifying.progress.estimate_method = "COUNT";
  verifying.progress.phase = Phase::kVerify;
  verifying.progress.pass = 2;
  verifying.progress.fraction = 0.42;
  ProgressView view = ViewProgress(verifying, kNow);
  EXPECT_TRUE(view.only_looking);
  EXPECT_DOUBLE_EQ(view.fraction, 0.99 + 0.009 * 0.42);
  EXPECT_EQ(view.eta_state, EtaState::kUnknown);
  EXPECT_EQ(Summary(verifying), "RUNNING 99.3 % (1,000,000 of ~1,000,000 rows), verifying 42.0 %");
  verifying.progress.fraction_per_second = 0.0001;
  view = ViewProgress(verifying, kNow);
  EXPECT_EQ(view.eta_state, EtaState::kReady);
  EXPECT_NEAR(absl::ToDoubleSeconds(*view.eta - kNow), 5800, 1e-3);
  EXPECT_EQ(Summary(verifying), "RUNNING 99.3 % (1,000,000 of ~1,000,000 rows), verifying 42.0 %, done in 1h36m");
  verifying.state = State::kPaused;
  EXPECT_THAT(Summary(verifying), HasSubstr("rows), verifying 42.0 %"));
  verifying.state = State::kRunning;
  verifying.progress.fraction = 1;
  view = ViewProgress(verifying, kNow);
  EXPECT_EQ(view.eta_state, EtaState::kDue);
  EXPECT_LT(view.fraction, 1);
  EXPECT_THAT(Summary(verifying), HasSubstr("verifying 99.9 %, about to finish"));
}

TEST(Progress, TheEtaCountsRestsAndShortHoldsIn) {
  Migration bursts = Running();
  bursts.progress.rows_done = 500'000;
  bursts.progress.rows_per_second = 20'000;      // right now
  bursts.progress.rows_per_second_long = 1'000;  // with the rests between batches
  EXPECT_NEAR(absl::ToDoubleSeconds(*ViewProgress(bursts, kNow).eta - kNow), 500, 1e-3);
  // A rest longer than the short rate's window is no stall.
  bursts.progress.rows_per_second = 0;
  EXPECT_EQ(ViewProgress(bursts, kNow).eta_state, EtaState::kReady);
  bursts.progress.rows_per_second_long = 0;
  EXPECT_EQ(ViewProgress(bursts, kNow).eta_state, EtaState::kStalled);
}

TEST(Progress, TheEtaCountsWindowsIn) {
  Migration nightly = Running();
  nightly.started_at = kNow - absl::Hours(48);
  nightly.progress.rows_done = 500'000;
  nightly.progress.rows_per_second_long = 100;
  nightly.progress.time_seconds = {{"OUT_OF_WINDOW", 36 * 3600.0}};
  // 5,000 seconds of work, a quarter of the time.
  EXPECT_NEAR(absl::ToDoubleSeconds(*ViewProgress(nightly, kNow).eta - kNow), 20'000, 1);
  // By day nothing is done: what was done since the beginning tells.
  nightly.progress.rows_per_second_long = 0;
  nightly.progress.rows_per_second = 0;
  nightly.hold.kind = HoldKind::kOutOfWindow;
  const ProgressView view = ViewProgress(nightly, kNow);
  EXPECT_EQ(view.eta_state, EtaState::kReady);
  EXPECT_NEAR(absl::ToDoubleSeconds(*view.eta - kNow), 48 * 3600.0, 1);
}

TEST(Progress, WhenNoRowNeedsWorkThePaceOfTheKeyRangeTells) {
  Migration idle = Running();
  idle.progress.rows_done = 0;
  idle.progress.rows_per_second = 0;
  idle.progress.fraction = 0.5;
  const ProgressView view = ViewProgress(idle, kNow);
  EXPECT_EQ(view.eta_state, EtaState::kReady);
  EXPECT_NEAR(absl::ToDoubleSeconds(*view.eta - kNow), 20, 1e-3);
}

TEST(Progress, IsOneOnlyWhenCompleted) {
  Migration migration = Running();
  migration.progress.rows_done = 1'200'000;  // more than estimated
  EXPECT_LT(ViewProgress(migration, kNow).fraction, 1);
  EXPECT_EQ(ViewProgress(migration, kNow).eta_state, EtaState::kDue);
  migration.progress.fraction = 1;
  EXPECT_LT(ViewProgress(migration, kNow).fraction, 1);
  migration.state = State::kCompleted;
  EXPECT_EQ(ViewProgress(migration, kNow).fraction, 1);
  EXPECT_EQ(ViewProgress(migration, kNow).eta, std::nullopt);
}

TEST(Progress, TheEtaSaysHowItIsToBeRead) {
  const auto eta_state = [](const Migration& migration) {
    return EtaStateName(ViewProgress(migration, kNow).eta_state);
  };
  Migration fresh = Running();
  fresh.progress.sub_batches_done = 4;
  EXPECT_EQ(eta_state(fresh), "MEASURING");
  Migration stalled = Running();
  stalled.progress.rows_per_second = 0;
  EXPECT_EQ(eta_state(stalled), "STALLED");
  Migration unknown = Running();
  unknown.progress.rows_estimated = 0;
  EXPECT_EQ(eta_state(unknown), "UNKNOWN");
  Migration verifying = Running();
  verifying.progress.phase = Phase::kVerify;
  EXPECT_EQ(eta_state(verifying), "UNKNOWN") << "how far its pass is, is not known";
  for (const HoldKind hold : {HoldKind::kFrozen, HoldKind::kBlocked, HoldKind::kPreflight}) {
    Migration held = Running();
    held.hold.kind = hold;
    EXPECT_EQ(eta_state(held), "BLOCKED");
    EXPECT_EQ(ViewProgress(held, kNow).eta, std::nullopt);
  }
  for (const State state : {State::kPaused, State::kHalted}) {
    Migration stopped = Running();
    stopped.state = state;
    EXPECT_EQ(eta_state(stopped), "BLOCKED");
  }
  Migration pending = Running();
  pending.state = State::kPending;
  EXPECT_EQ(eta_state(pending), "UNKNOWN");
}

TEST(Progress, TheAverageStopsWithTheMigration) {
  Migration completed = Running();
  completed.state = State::kCompleted;
  completed.finished_at = kNow - absl::Seconds(10);
  EXPECT_DOUBLE_EQ(ViewProgress(completed, kNow).rows_per_second_average, 421'337 / 10.0);
  Migration cancelled = Running();
  cancelled.state = State::kCancelled;
  cancelled.intent.since = kNow - absl::Seconds(15);
  EXPECT_DOUBLE_EQ(ViewProgress(cancelled, kNow).rows_per_second_average, 421'337 / 5.0);
  Migration never;
  EXPECT_EQ(ViewProgress(never, kNow).rows_per_second_average, 0);
}

TEST(Progress, EtaStatesHaveWords) {
  EXPECT_EQ(EtaStateName(EtaState::kReady), "READY");
  EXPECT_EQ(EtaStateName(EtaState::kUnknown), "UNKNOWN");
}

TEST(SummaryLine, OfARunningMigrationSaysHowFarHowFastAndWhenDone) {
  EXPECT_EQ(Summary(Running()), "RUNNING 42.1 % (421,337 of ~1,000,000 rows), 21,400 rows/s, done in 27s");
  Migration slow = Running();
  slow.progress.rows_per_second = 10;
  EXPECT_EQ(Summary(slow), "RUNNING 42.1 % (421,337 of ~1,000,000 rows), 10 rows/s, done in 16h4m");
  Migration unknown = Running();
  unknown.progress.rows_estimated = 0;
  EXPECT_EQ(Summary(unknown), "RUNNING (421,337 rows), 21,400 rows/s");
  Migration fresh = Running();
  fresh.progress.sub_batches_done = 0;
  fresh.progress.rows_done = 0;
  fresh.progress.rows_per_second = 0;
  EXPECT_EQ(Summary(fresh), "RUNNING 0.0 % (0 of ~1,000,000 rows), measuring");
  Migration verifying = Running();
  verifying.progress.phase = Phase::kVerify;
  EXPECT_THAT(Summary(verifying), HasSubstr("verifying"));
}

TEST(SummaryLine, OfACompletedOneSaysThatItIsBeingVerified) {
  Migration completed = Running();
  completed.state = State::kCompleted;
  completed.finished_at = kNow;
  completed.verification = Verification{.requested_at = kNow, .actor = "anna"};
  completed.progress.verify_fraction = 0.4567;
  EXPECT_EQ(Summary(completed), "COMPLETED, 421,337 rows in 20s, being verified (45.6 %)");
  completed.verification->finished_at = kNow;
  EXPECT_EQ(Summary(completed), "COMPLETED, 421,337 rows in 20s");
}

TEST(SummaryLine, NeverRoundsUpToDone) {
  Migration migration = Running();
  migration.progress.rows_done = 999'999;
  EXPECT_THAT(Summary(migration), HasSubstr(" 99.9 %"));
}

TEST(SummaryLine, OfAHeldMigrationSaysWhyAndUntilWhen) {
  Migration held = Running();
  held.hold = {.kind = HoldKind::kBlocked,
               .reason = "pid 4711 (psql)\nidle in transaction",
               .since = kNow - absl::Seconds(75),
               .until = std::nullopt};
  EXPECT_EQ(Summary(held),
            "RUNNING 42.1 % (421,337 of ~1,000,000 rows), BLOCKED for 1m15s: pid 4711 (psql) idle in transaction");
  Migration pending;
  pending.hold = {.kind = HoldKind::kOutOfWindow,
                  .reason = "opens at night",
                  .since = std::nullopt,
                  .until = kNow + absl::Hours(1)};
  EXPECT_EQ(Summary(pending), "PENDING, OUT_OF_WINDOW until 2027-01-15 09:00:00Z: opens at night");
}

TEST(SummaryLine, OfAPausedMigrationSaysWhoWhenAndWhy) {
  Migration paused = Running();
  paused.state = State::kPaused;
  paused.intent = {
      .state = State::kPaused, .actor = "anna", .reason = "disk", .since = kNow, .until = kNow + absl::Hours(2)};
  EXPECT_EQ(Summary(paused),
            "PAUSED 42.1 % (421,337 of ~1,000,000 rows), by anna, since 2027-01-15 08:00:00Z, until 2027-01-15 "
            "10:00:00Z: disk");
}

TEST(SummaryLine, OfTheEndSaysHowItEnded) {
  Migration halted = Running();
  halted.state = State::kHalted;
  halted.halt = Halt{kHaltRowsLeft, "12 rows still match", kNow};
  EXPECT_EQ(Summary(halted), "HALTED 42.1 % (421,337 of ~1,000,000 rows), ROWS_LEFT: 12 rows still match");
  Migration completed = Running();
  completed.state = State::kCompleted;
  completed.progress.rows_done = 1;
  completed.finished_at = *completed.started_at + absl::Seconds(125);
  EXPECT_EQ(Summary(completed), "COMPLETED, 1 row in 2m5s");
  completed.accepted_rows = 12;
  completed.regressed_rows = 3;
  EXPECT_EQ(Summary(completed), "COMPLETED, 1 row in 2m5s, 12 rows left as they are, 3 rows regressed");
}

TEST(HintLine, NamesTheCommandThatAPersonWouldGive) {
  Migration migration = Running();
  EXPECT_EQ(HintLine(migration), "");
  migration.state = State::kPaused;
  EXPECT_EQ(HintLine(migration), "migrationctl resume main/backfill");
  migration.intent.until = kNow;
  EXPECT_EQ(HintLine(migration), "") << "it goes on by itself";
  migration.state = State::kPending;
  migration.hold.kind = HoldKind::kNeedsStart;
  EXPECT_EQ(HintLine(migration), "migrationctl start main/backfill");
  migration.hold.kind = HoldKind::kFrozen;
  EXPECT_THAT(HintLine(migration), HasSubstr("migrationctl unfreeze"));
  migration.hold.reason = "frozen: db team looks";
  EXPECT_THAT(HintLine(migration), HasSubstr("SELECT migration_control.unfreeze()"));
  migration.state = State::kCompleted;
  EXPECT_EQ(HintLine(migration), "");
  migration.regressed_rows = 1;
  EXPECT_EQ(HintLine(migration), "migrationctl retry main/backfill");
}

TEST(HintLine, KnowsARemedyForEveryHalt) {
  Migration halted = Running();
  halted.state = State::kHalted;
  const auto hint = [&](const char* code) {
    halted.halt = Halt{code, "", kNow};
    return HintLine(halted);
  };
  EXPECT_THAT(hint(kHaltRowsLeft), HasSubstr("migrationctl accept main/backfill"));
  EXPECT_THAT(hint(kHaltCheckpointLost), HasSubstr("retry main/backfill --from start"));
  EXPECT_THAT(hint(kHaltForeignControl), HasSubstr("retry main/backfill --from adopt"));
  EXPECT_THAT(hint(kHaltWhereNotSatisfied), HasSubstr("migrationctl cancel main/backfill"));
  for (const char* code :
       {kHaltAttemptsExhausted, kHaltStatementRefused, kHaltVerifyInflow, kHaltSchemaChanged}) {
    EXPECT_THAT(hint(code), ::testing::EndsWith("migrationctl retry main/backfill")) << code;
  }
}

TEST(HintLine, SaysWhatToDoAboutAWrongDefinition) {
  Migration halted = Running();
  halted.state = State::kHalted;
  halted.halt = Halt{kHaltPreflightFailed, "", kNow};
  EXPECT_THAT(HintLine(halted), HasSubstr("migrationctl retry main/backfill"));
  EXPECT_THAT(HintLine(halted), HasSubstr("another name"));
}

TEST(IntegerKeyFraction, OfPlacesGoesByBlocks) {
  const std::vector<KeyType> place = {KeyType::kBigint, KeyType::kTid};
  const Key lower = {"16402", "(0,0)"};
  const Key upper = {"16402", "(199,65535)"};
  EXPECT_EQ(IntegerKeyFraction(place, lower, {}, upper), 0.0);
  EXPECT_NEAR(IntegerKeyFraction(place, lower, {"16402", "(100,3)"}, upper).value_or(-1), 0.5, 0.001);
  EXPECT_EQ(IntegerKeyFraction(place, lower, upper, upper), 1.0);
  EXPECT_EQ(IntegerKeyFraction(place, lower, {"16402", "here"}, upper), std::nullopt);
  EXPECT_EQ(IntegerKeyFraction(place, {}, {}, {}), std::nullopt);
}

TEST(IntegerKeyFraction, IsThePartOfTheRangeThatIsDone) {
  const std::vector<KeyType> bigint = {KeyType::kBigint};
  EXPECT_EQ(IntegerKeyFraction(bigint, {"1"}, {}, {"100"}), 0.0);
  EXPECT_EQ(IntegerKeyFraction(bigint, {"1"}, {"50"}, {"100"}), 0.5);
  EXPECT_EQ(IntegerKeyFraction(bigint, {"1"}, {"100"}, {"100"}), 1.0);
  EXPECT_EQ(IntegerKeyFraction(bigint, {"1"}, {"200"}, {"100"}), 1.0);
  EXPECT_EQ(IntegerKeyFraction(bigint, {"10"}, {"5"}, {"100"}), 0.0);
  EXPECT_EQ(IntegerKeyFraction(bigint, {"-100"}, {"-51"}, {"-1"}), 0.5);
  const std::optional<double> whole =
      IntegerKeyFraction(bigint, {"-9223372036854775808"}, {"0"}, {"9223372036854775807"});
  ASSERT_TRUE(whole.has_value());
  EXPECT_NEAR(*whole, 0.5, 1e-9);
}

TEST(IntegerKeyFraction, IsUnknownForOtherKeys) {
  EXPECT_EQ(IntegerKeyFraction({KeyType::kText}, {"1"}, {"2"}, {"3"}), std::nullopt);
  EXPECT_EQ(IntegerKeyFraction({KeyType::kBigint, KeyType::kBigint}, {"1", "1"}, {"2", "2"}, {"3", "3"}), std::nullopt);
  EXPECT_EQ(IntegerKeyFraction({KeyType::kBigint}, {}, {}, {}), std::nullopt);
}

TEST(RateMeter, MeasuresOverItsWindow) {
  RateMeter meter(absl::Seconds(10));
  EXPECT_EQ(meter.PerSecond(kNow), 0);
  meter.Add(kNow, 1000);
  EXPECT_EQ(meter.PerSecond(kNow), 0);
  for (int second = 1; second <= 60; ++second) meter.Add(kNow + absl::Seconds(second), 1000 + second * 50);
  EXPECT_DOUBLE_EQ(meter.PerSecond(kNow + absl::Seconds(60)), 50);
}

TEST(RateMeter, TellsForHowLongItHasMeasured) {
  RateMeter meter(absl::Seconds(10));
  EXPECT_EQ(meter.Covers(kNow), absl::ZeroDuration());
  meter.Add(kNow, 1000);
  meter.Add(kNow + absl::Seconds(4), 1000);
  EXPECT_EQ(meter.Covers(kNow + absl::Seconds(5)), absl::Seconds(5));
  EXPECT_EQ(meter.Covers(kNow + absl::Seconds(50)), absl::Seconds(10));
  meter.Add(kNow + absl::Seconds(50), 10);
  EXPECT_EQ(meter.Covers(kNow + absl::Seconds(50)), absl::ZeroDuration()) << "it began anew";
}

TEST(RateMeter, ForgetsWhatIsOlderThanItsWindow) {
  RateMeter meter(absl::Seconds(10));
  for (int second = 0; second <= 20; ++second) meter.Add(kNow + absl::Seconds(second), second * 1000);
  for (int second = 21; second <= 40; ++second) meter.Add(kNow + absl::Seconds(second), 20'000 + (second - 20) * 10);
  EXPECT_DOUBLE_EQ(meter.PerSecond(kNow + absl::Seconds(40)), 10);
}

TEST(RateMeter, FallsWhenNothingComesAndEndsAtZero) {
  RateMeter meter(absl::Seconds(10));
  for (int second = 0; second <= 10; ++second) meter.Add(kNow + absl::Seconds(second), second * 100);
  const double busy = meter.PerSecond(kNow + absl::Seconds(10));
  EXPECT_LT(meter.PerSecond(kNow + absl::Seconds(15)), busy);
  EXPECT_EQ(meter.PerSecond(kNow + absl::Seconds(21)), 0);
}

TEST(RateMeter, BeginsAnewWhenTheTotalGoesBack) {
  RateMeter meter(absl::Seconds(10));
  meter.Add(kNow, 5000);
  meter.Add(kNow + absl::Seconds(1), 6000);
  meter.Add(kNow + absl::Seconds(2), 100);
  EXPECT_EQ(meter.PerSecond(kNow + absl::Seconds(2)), 0);
  meter.Add(kNow + absl::Seconds(3), 300);
  EXPECT_DOUBLE_EQ(meter.PerSecond(kNow + absl::Seconds(3)), 200);
}

TEST(RateMeter, IsExactAlsoWithVeryManySamples) {
  RateMeter meter(absl::Seconds(10));
  for (int i = 0; i <= 200'000; ++i) meter.Add(kNow + absl::Microseconds(100) * i, i);
  EXPECT_NEAR(meter.PerSecond(kNow + absl::Seconds(20)), 10'000, 1);
}

}  // namespace
}  // namespace migrationd
