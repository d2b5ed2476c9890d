#include "server/execution/outcome_policy.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

FailureContext Failure(FailureClass failure) {
  FailureContext context;
  context.failure = failure;
  context.sqlstate = "23514";
  context.message = "violates check constraint \"positive\"";
  context.sub_batch_size = 100;
  context.consecutive = 1;
  return context;
}

TEST(DecideFailure, RetriesADeadlockAtOnceAndUsesNoAttempt) {
  const FailureDecision decision = DecideFailure(Failure(FailureClass::kRetryNow));
  EXPECT_EQ(decision.action, FailureAction::kRetry);
  EXPECT_EQ(decision.delay, absl::ZeroDuration());
  EXPECT_EQ(decision.attempts, 0);
  EXPECT_EQ(decision.sub_batch_size, 100);
}

TEST(DecideFailure, SpreadsDeadlocksThatKeepComing) {
  FailureContext context = Failure(FailureClass::kRetryNow);
  context.consecutive = 6;
  const FailureDecision decision = DecideFailure(context);
  EXPECT_GT(decision.delay, absl::ZeroDuration());
  EXPECT_EQ(decision.hold, HoldKind::kBackoff);
  EXPECT_EQ(decision.attempts, 0);
}

TEST(DecideFailure, RetriesATimeoutWithFewerRows) {
  const FailureDecision decision = DecideFailure(Failure(FailureClass::kRetrySmaller));
  EXPECT_EQ(decision.action, FailureAction::kRetry);
  EXPECT_EQ(decision.sub_batch_size, 25);
  EXPECT_EQ(decision.attempts, 0);
}

TEST(DecideFailure, HoldsBlockedWhenOneRowStillCannotBeLocked) {
  FailureContext context = Failure(FailureClass::kRetrySmaller);
  context.sub_batch_size = 1;
  const FailureDecision decision = DecideFailure(context);
  EXPECT_EQ(decision.hold, HoldKind::kBlocked);
  EXPECT_EQ(decision.sub_batch_size, 1);
  EXPECT_GT(decision.delay, absl::ZeroDuration());
}

TEST(DecideFailure, BacksOffForEverWithoutAttemptsAndReopensWhenTheTargetIsAway) {
  FailureContext context = Failure(FailureClass::kBackOff);
  context.consecutive = 1000;
  context.attempts = 2;
  const FailureDecision decision = DecideFailure(context);
  EXPECT_EQ(decision.action, FailureAction::kReopen);
  EXPECT_EQ(decision.attempts, 2);
  EXPECT_LE(decision.delay, absl::Seconds(15));
  EXPECT_GE(decision.delay, absl::Seconds(7));
}

TEST(DecideFailure, UsesAttemptsForWhatItDoesNotKnowAndHaltsWhenTheyAreUsedUp) {
  FailureContext context = Failure(FailureClass::kAttempt);
  FailureDecision decision = DecideFailure(context);
  EXPECT_EQ(decision.action, FailureAction::kRetry);
  EXPECT_EQ(decision.attempts, 1);
  EXPECT_EQ(decision.hold, HoldKind::kBackoff);
  context.attempts = 2;
  decision = DecideFailure(context);
  EXPECT_EQ(decision.action, FailureAction::kHalt);
  EXPECT_EQ(decision.halt_code, kHaltAttemptsExhausted);
  EXPECT_THAT(decision.message, HasSubstr("23514"));
  EXPECT_THAT(decision.message, HasSubstr("positive"));
}

TEST(DecideFailure, LooksForABadRowAtOnceAndUsesNoAttempt) {
  FailureContext context = Failure(FailureClass::kBadRows);
  context.attempts = 2;
  for (const std::int32_t size : {100, 2}) {
    context.sub_batch_size = size;
    const FailureDecision decision = DecideFailure(context);
    EXPECT_EQ(decision.action, FailureAction::kIsolate);
    EXPECT_EQ(decision.delay, absl::ZeroDuration());
    EXPECT_EQ(decision.attempts, 2);
    EXPECT_EQ(decision.hold, HoldKind::kNone);
  }
  context.sub_batch_size = 1;
  EXPECT_EQ(DecideFailure(context).action, FailureAction::kSkip);
  EXPECT_EQ(DecideFailure(context).attempts, 2);
}

TEST(DecideFailure, HaltsWhenTheErrorBudgetIsUsedUpByCount) {
  FailureContext context = Failure(FailureClass::kBadRows);
  context.sub_batch_size = 1;
  context.sub_batches = 1'000'000;
  context.max_failed_rows = 7;
  context.failed_rows = 6;
  EXPECT_EQ(DecideFailure(context).halt_code, "") << "the seventh";
  context.failed_rows = 7;
  const FailureDecision decision = DecideFailure(context);
  EXPECT_EQ(decision.action, FailureAction::kSkip) << "recorded all the same";
  EXPECT_EQ(decision.halt_code, kHaltErrorBudget);
  EXPECT_THAT(decision.message, HasSubstr("8 rows failed, more than max_failed_ranges (7)"));
  EXPECT_THAT(decision.message, HasSubstr("23514"));
  context.max_failed_rows = 0;
  context.failed_rows = 0;
  EXPECT_EQ(DecideFailure(context).halt_code, kHaltErrorBudget) << "none may fail";
}

TEST(DecideFailure, HaltsWhenTheErrorBudgetIsUsedUpByRatioFromTheTwentiethSubBatchOn) {
  FailureContext context = Failure(FailureClass::kBadRows);
  context.sub_batch_size = 1;
  context.max_failed_ratio = 0.1;
  context.failed_rows = 18;
  EXPECT_EQ(DecideFailure(context).halt_code, "") << "too few to tell";
  context.failed_rows = 19;
  const FailureDecision decision = DecideFailure(context);
  EXPECT_EQ(decision.halt_code, kHaltErrorBudget);
  EXPECT_THAT(decision.message, HasSubstr("20 rows failed in 20 sub-batches, more than max_failed_ratio (0.1)"));
  context.failed_rows = 9;
  context.sub_batches = 90;
  EXPECT_EQ(DecideFailure(context).halt_code, "") << "just a tenth";
  context.sub_batches = 89;
  EXPECT_EQ(DecideFailure(context).halt_code, kHaltErrorBudget);
  context.max_failed_ratio = 1;
  EXPECT_EQ(DecideFailure(context).halt_code, "");
}

TEST(DecideFailure, HaltsAtOnceForARefusedStatement) {
  const FailureDecision decision = DecideFailure(Failure(FailureClass::kHalt));
  EXPECT_EQ(decision.action, FailureAction::kHalt);
  EXPECT_EQ(decision.halt_code, kHaltStatementRefused);
}

TEST(DecideFailure, HaltsForChangedSchemaAndForAWhereThatStaysTrue) {
  EXPECT_EQ(DecideFailure(Failure(FailureClass::kSchemaChanged)).halt_code, kHaltSchemaChanged);
  EXPECT_EQ(DecideFailure(Failure(FailureClass::kWhereNotSatisfied)).halt_code, kHaltWhereNotSatisfied);
}

TEST(DecideFailure, TakesTheFenceAgainWhenFenced) {
  const FailureDecision decision = DecideFailure(Failure(FailureClass::kFenced));
  EXPECT_EQ(decision.action, FailureAction::kReopen);
  EXPECT_EQ(decision.delay, absl::ZeroDuration());
}

TEST(DecideFailure, BacksOffWhenFencedAgainAndAgain) {
  FailureContext context = Failure(FailureClass::kFenced);
  context.consecutive = 3;
  const FailureDecision decision = DecideFailure(context);
  EXPECT_EQ(decision.action, FailureAction::kReopen);
  EXPECT_GT(decision.delay, absl::ZeroDuration());
  EXPECT_EQ(decision.attempts, 0);
}

TEST(DecideFailure, HoldsFrozenWithoutUsingAnAttempt) {
  const FailureDecision decision = DecideFailure(Failure(FailureClass::kFrozen));
  EXPECT_EQ(decision.hold, HoldKind::kFrozen);
  EXPECT_EQ(decision.attempts, 0);
}

TEST(BackOff, DoublesUpToTheLongestAndIsSpreadByJitter) {
  EXPECT_EQ(BackOff(absl::Seconds(5), absl::Minutes(5), 1, 1.0), absl::Seconds(5));
  EXPECT_EQ(BackOff(absl::Seconds(5), absl::Minutes(5), 2, 1.0), absl::Seconds(10));
  EXPECT_EQ(BackOff(absl::Seconds(5), absl::Minutes(5), 50, 1.0), absl::Minutes(5));
  EXPECT_EQ(BackOff(absl::Seconds(5), absl::Minutes(5), 2, 0.0), absl::Seconds(5));
  EXPECT_EQ(BackOff(absl::Seconds(5), absl::Minutes(5), 0, 1.0), absl::Seconds(5));
}

PassContext Pass(std::int32_t pass, std::int64_t affected) {
  PassContext context;
  context.has_where = true;
  context.pass = pass;
  context.pass_affected = affected;
  return context;
}

TEST(DecideAfterPass, HaltsForRowsThatFailedOnceAllOthersAreDone) {
  PassContext context;
  context.failed_rows = 2;
  PassDecision decision = DecideAfterPass(context);
  EXPECT_EQ(decision.action, PassAction::kHalt);
  EXPECT_EQ(decision.halt_code, kHaltFailedRanges);
  EXPECT_THAT(decision.message, HasSubstr("2 rows failed"));
  // With `where` VERIFY comes first.
  context.has_where = true;
  EXPECT_EQ(DecideAfterPass(context).action, PassAction::kNextPass);
  context.pass = 2;
  context.pass_affected = 1;
  EXPECT_EQ(DecideAfterPass(context).action, PassAction::kNextPass);
  context.pass_affected = 0;
  context.unchanged_rows = 3;
  decision = DecideAfterPass(context);
  EXPECT_EQ(decision.halt_code, kHaltFailedRanges) << "rows left may be accepted, these not";
}

TEST(DecideAfterPass, CompletesWithoutWhereAfterExecute) {
  PassContext context = Pass(1, 1000);
  context.has_where = false;
  EXPECT_EQ(DecideAfterPass(context).action, PassAction::kComplete);
}

TEST(DecideAfterPass, VerifiesAfterExecuteWithWhereEvenWhenNothingWasAffected) {
  EXPECT_EQ(DecideAfterPass(Pass(1, 0)).action, PassAction::kNextPass);
}

TEST(DecideFailure, ARowThatTakesTooLongAndALockOfAStepAreTriedEverMoreSeldom) {
  FailureContext context = Failure(FailureClass::kRetrySmaller);
  context.sub_batch_size = 1;
  context.consecutive = 10;
  context.sqlstate = "57014";
  EXPECT_GE(DecideFailure(context).delay, absl::Seconds(30));
  EXPECT_EQ(DecideFailure(context).hold, HoldKind::kBlocked);
  context.sqlstate = "55P03";
  EXPECT_EQ(DecideFailure(context).delay, absl::Seconds(1)) << "a row's lock is cheap to ask for";
  context.step = true;
  EXPECT_GE(DecideFailure(context).delay, absl::Seconds(30)) << "others wait behind a table's";
  context.consecutive = 1;
  EXPECT_LE(DecideFailure(context).delay, absl::Seconds(1));
}

TEST(DecideAfterPass, VerifiesAgainUntilAPassFindsNothing) {
  EXPECT_EQ(DecideAfterPass(Pass(2, 7)).action, PassAction::kNextPass);
  EXPECT_EQ(DecideAfterPass(Pass(3, 0)).action, PassAction::kComplete);
}

TEST(DecideAfterPass, HaltsForInflowAfterFivePassesThatDoNotShrink) {
  PassContext context = Pass(6, 10);
  context.earlier_passes = {10, 10, 10};
  EXPECT_EQ(DecideAfterPass(context).action, PassAction::kNextPass);
  context.earlier_passes = {10, 10, 10, 10};
  const PassDecision decision = DecideAfterPass(context);
  EXPECT_EQ(decision.action, PassAction::kHalt);
  EXPECT_EQ(decision.halt_code, kHaltVerifyInflow);
}

TEST(DecideAfterPass, HaltsForASteadyInflowThatGoesUpAndDown) {
  PassContext context = Pass(9, 1001);
  context.earlier_passes = {1000, 990, 1010, 985, 1005, 995};
  EXPECT_EQ(DecideAfterPass(context).action, PassAction::kNextPass);
  context.earlier_passes.push_back(990);
  EXPECT_EQ(DecideAfterPass(context).action, PassAction::kHalt);
}

TEST(DecideAfterPass, GoesOnWhileInflowShrinks) {
  PassContext context = Pass(12, 10);
  context.earlier_passes = {100, 80, 60, 50, 40, 30, 20, 15, 12, 11};
  EXPECT_EQ(DecideAfterPass(context).action, PassAction::kNextPass);
}

TEST(DecideAfterPass, HaltsWithRowsLeftOrAcceptsThemAsTheDefinitionSays) {
  PassContext context = Pass(2, 0);
  context.unchanged_rows = 3;
  PassDecision decision = DecideAfterPass(context);
  EXPECT_EQ(decision.action, PassAction::kHalt);
  EXPECT_EQ(decision.halt_code, kHaltRowsLeft);
  EXPECT_THAT(decision.message, HasSubstr("3 rows"));
  context.on_unchanged = migrationcontrol::v1::ON_UNCHANGED_ACCEPT;
  decision = DecideAfterPass(context);
  EXPECT_EQ(decision.action, PassAction::kComplete);
  EXPECT_EQ(decision.accepted_rows, 3);
}

}  // namespace
}  // namespace migrationd
