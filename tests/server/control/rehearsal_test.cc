// Plan, above the target: who may be rehearsed, what is asked, and what it comes to.
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "tests/server/control/control_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Severity = RehearsalFinding::Severity;

auto Finding(Severity severity, const std::string& code, const std::string& message = "") {
  return AllOf(Field(&RehearsalFinding::severity, severity), Field(&RehearsalFinding::code, code),
               Field(&RehearsalFinding::message, HasSubstr(message)));
}

auto Code(const std::string& code) { return Field(&RehearsalFinding::code, code); }

// As a target answers on which all is well.
Rehearsal Good() {
  Rehearsal rehearsal;
  rehearsal.role = "migrator";
  rehearsal.control_schema = true;
  rehearsal.may_make_temporary = true;
  rehearsal.to_do = {1000, kEstimatedByCount};
  rehearsal.bound_index = "t_pkey";
  rehearsal.statements = {{"work", "UPDATE", {"Update on t"}, {}, {}}, {"next bound", "SELECT", {"Limit"}, {}, {}}};
  rehearsal.sample = SampleOutcome{.rows = 100, .matched = 100, .still_matched = 0, .affected = 100, .took = absl::Milliseconds(2),
                                   .look = absl::Milliseconds(1), .wal_bytes = 9000};
  return rehearsal;
}

class Judging : public ::testing::Test {
 protected:
  std::vector<RehearsalFinding> Judged(const std::string& yaml = DefinitionYaml()) {
    const auto definition = DefinitionOf(yaml);
    MigrationPlan plan;
    plan.schema = "public";
    plan.table = "t";
    plan.key = {"id"};
    return JudgeRehearsal(definition, plan, 1000, rehearsal_);
  }
  void Fail(const std::string& sqlstate) {
    rehearsal_.sample.reset();
    rehearsal_.sample_error = DatabaseError(sqlstate, "what the database said");
  }
  Rehearsal rehearsal_ = Good();
};

TEST_F(Judging, WhereAllIsWellNothingIsFound) { EXPECT_THAT(Judged(), IsEmpty()); }

TEST_F(Judging, AWholeLargeTableReadForEachBatchIsAWarning) {
  rehearsal_.statements[0].scans = {{"public.small", 10'000}, {"public.stages", 10'001}};
  rehearsal_.statements[1].scans = {{"public.stages", 10'001}};
  EXPECT_THAT(Judged(), ::testing::ElementsAre(Finding(Severity::kWarning, "SEQUENTIAL_SCAN", "public.stages")));
}

TEST_F(Judging, BoundsWithoutAnIndexAreAWarning) {
  rehearsal_.bound_index.clear();
  EXPECT_THAT(Judged(), Contains(Finding(Severity::kWarning, "NO_BOUND_INDEX", "order of id")));
}

TEST_F(Judging, AFailedSubBatchIsJudgedByItsClass) {
  for (const char* sqlstate : {"22012", "23505", "P0001", "42601", "XX000"}) {
    Fail(sqlstate);
    EXPECT_THAT(Judged(), Contains(Finding(Severity::kError, "SAMPLE_FAILED", sqlstate))) << sqlstate;
  }
  for (const char* sqlstate : {"55P03", "57014", "40P01", "53300"}) {
    Fail(sqlstate);
    EXPECT_THAT(Judged(), Contains(Finding(Severity::kWarning, "SAMPLE_FAILED", sqlstate))) << sqlstate;
  }
}

TEST_F(Judging, WhatPrepareMayMakeIsNoError) {
  Fail("42P01");
  EXPECT_THAT(Judged(), Contains(Finding(Severity::kError, "SAMPLE_FAILED")));
  const auto findings = Judged(DefinitionYaml("prepare: [\"CREATE TABLE x (y int)\"]\n"));
  EXPECT_THAT(findings, Contains(Finding(Severity::kWarning, "SAMPLE_FAILED", "prepare")));
  EXPECT_THAT(findings, Contains(Finding(Severity::kInfo, "PREPARE_NOT_REHEARSED", "1 statement of")));
}

TEST_F(Judging, AWhereThatStaysTrueIsAnError) {
  rehearsal_.sample->still_matched = 100;
  EXPECT_THAT(Judged(), Contains(Finding(Severity::kError, "WHERE_NOT_SATISFIED")));
  rehearsal_.sample->still_matched = 1;
  EXPECT_THAT(Judged(), Contains(Finding(Severity::kWarning, "ROWS_LEFT", "1 of the 100")));
}

TEST_F(Judging, MissingRightsComeWithTheGrant) {
  rehearsal_.lacking = {"DELETE", "UPDATE"};
  EXPECT_THAT(Judged(), IsEmpty()) << "the database did not refuse it, so it was not needed";
  Fail("42501");
  EXPECT_THAT(Judged(), ::testing::ElementsAre(Finding(Severity::kError, "PRIVILEGE_MISSING", R"(GRANT UPDATE ON "public"."t" TO "migrator";)")));
  rehearsal_.lacking.clear();
  EXPECT_THAT(Judged(), ::testing::ElementsAre(Finding(Severity::kError, "PRIVILEGE_MISSING", "what the database said")));
}

TEST_F(Judging, RowsThatASecurityPolicyHidesAreNamedWithWhatHelps) {
  rehearsal_.row_security = true;
  rehearsal_.sample_error = RowSecurityError("query would be affected by row-level security policy for table \"t\"");
  EXPECT_THAT(Judged(), ::testing::ElementsAre(Finding(Severity::kError, "ROW_SECURITY", R"(ALTER ROLE "migrator" BYPASSRLS)")));
  // Of another table that the statement reads.
  rehearsal_.row_security = false;
  EXPECT_THAT(Judged(), ::testing::ElementsAre(Finding(Severity::kError, "ROW_SECURITY", "policy for table \"t\"")));
}

TEST_F(Judging, WithoutTheSchemaItsMakerIsTold) {
  rehearsal_.control_schema = false;
  EXPECT_THAT(Judged(), Contains(Finding(Severity::kError, "PRIVILEGE_MISSING", "migrationctl target-sql")));
  rehearsal_.may_create_schema = true;
  EXPECT_THAT(Judged(), IsEmpty());
  rehearsal_.control_schema = true;
  rehearsal_.control_lacking = {"INSERT on owner"};
  EXPECT_THAT(Judged(), Contains(Finding(Severity::kError, "PRIVILEGE_MISSING", "INSERT on owner")));
}

TEST_F(Judging, NothingToDoIsSaid) {
  rehearsal_.to_do.rows = 0;
  rehearsal_.sample->matched = 0;
  EXPECT_THAT(Judged(), Contains(Finding(Severity::kInfo, "NOTHING_TO_DO")));
  rehearsal_.to_do = {7, kEstimatedByStatistics};
  EXPECT_THAT(Judged(), Contains(Finding(Severity::kInfo, "NO_MATCH_SEEN")));
}

TEST_F(Judging, StandbysAndFrozenTargetsAreSaid) {
  rehearsal_.in_recovery = true;
  rehearsal_.frozen = "incident";
  const auto findings = Judged();
  ASSERT_EQ(findings.size(), 2u);
  EXPECT_EQ(findings[0].code, "STANDBY");
  EXPECT_THAT(findings[1], Finding(Severity::kWarning, "FROZEN", "incident"));
}

class Rehearsing : public ::testing::Test {
 protected:
  Controller::RehearsalArguments Inline(const std::string& yaml = DefinitionYaml()) {
    Controller::RehearsalArguments arguments;
    arguments.name = DefinitionName{"20261120093000", "fill"};
    arguments.definition = DefinitionOf(yaml);
    return arguments;
  }
  Controller::RehearsalArguments Named(const std::string& name) {
    Controller::RehearsalArguments arguments;
    arguments.migration = name;
    return arguments;
  }
  absl::StatusOr<RehearsalReport> Rehearse(const Controller::RehearsalArguments& arguments) {
    return world_.controller.Rehearse(arguments, absl::Seconds(30));
  }
  ControlWorld world_;
};

TEST_F(Rehearsing, AsksTheTargetForOneSubBatchOfTheDefinitionsPace) {
  RehearsalRequest asked;
  world_.target->on_rehearse = [&](const RehearsalRequest& request) {
    asked = request;
    return Good();
  };
  MD_ASSERT_OK_AND_ASSIGN(const RehearsalReport report,
                          Rehearse(Inline(DefinitionYaml("pace: {batch_size: 50, interval: 1s}\nstatement_timeout: 3s\nlock_timeout: "
                                                         "250ms\n"))));
  EXPECT_EQ(asked.batch_size, 50);
  EXPECT_EQ(asked.sub_batch_size, 50);
  EXPECT_EQ(asked.statement_timeout, absl::Seconds(3));
  EXPECT_EQ(asked.lock_timeout, absl::Milliseconds(250));
  EXPECT_LE(asked.patience, absl::Seconds(30));
  EXPECT_TRUE(asked.with_sample);
  EXPECT_TRUE(report.feasible);
  EXPECT_EQ(report.target, "main");
  EXPECT_EQ(report.table, "t");
  // 1000 rows: 20 ms of work, 19 rests of a second, and a look at all of them in the end.
  ASSERT_TRUE(report.estimate.has_value());
  EXPECT_EQ(report.estimate->duration, absl::Milliseconds(20 + 19'000 + 10));
  EXPECT_THAT(world_.target->calls(), Not(Contains(HasSubstr("Open")))) << "nothing is made there";
}

TEST_F(Rehearsing, AMigrationIsRehearsedWithTheParametersItHas) {
  world_.AddFile("fill", "20261120093000", ParameterYaml());
  std::vector<std::string> values;
  world_.target->on_rehearse = [&](const RehearsalRequest& request) {
    values = request.plan->parameter_values;
    return Good();
  };
  EXPECT_THAT(Rehearse(Named("fill")), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tenant")));
  auto arguments = Named("fill");
  arguments.parameters = {{"tenant", "7"}};
  MD_ASSERT_OK(Rehearse(arguments).status());
  EXPECT_THAT(values, ::testing::ElementsAre("7"));
  Controller::EnqueueArguments enqueue;
  enqueue.migration = "fill";
  enqueue.parameters = {{"tenant", "8"}};
  MD_ASSERT_OK(world_.controller.Enqueue(enqueue, By("alice")).status());
  MD_ASSERT_OK(Rehearse(Named("fill")).status());
  EXPECT_THAT(values, ::testing::ElementsAre("8"));
  EXPECT_THAT(Rehearse(Named("unknown")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("unknown")));
}

TEST_F(Rehearsing, DefinitionsThatComeAlongMustBeAllowed) {
  ControllerOptions options;
  options.allow_inline_definitions = false;
  ControlWorld closed(options);
  EXPECT_THAT(closed.controller.Rehearse(Inline(), absl::Seconds(30)),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("--allow-inline-definitions")));
  closed.Add("fill");
  MD_EXPECT_OK(closed.controller.Rehearse(Named("fill"), absl::Seconds(30)).status());
}

TEST_F(Rehearsing, WhatTheTableDoesNotAllowIsAFinding) {
  world_.target->on_inspect = [](const TableName&) { return absl::NotFoundError("There is no table \"t\""); };
  MD_ASSERT_OK_AND_ASSIGN(const RehearsalReport report, Rehearse(Inline()));
  EXPECT_FALSE(report.feasible);
  EXPECT_THAT(report.findings, Contains(Finding(Severity::kError, "DEFINITION_REFUSED", "no table")));
  EXPECT_EQ(report.table, "");
}

TEST_F(Rehearsing, ATargetThatIsAwayIsNoFinding) {
  world_.target->on_inspect = [](const TableName&) { return absl::UnavailableError("away"); };
  EXPECT_THAT(Rehearse(Inline()), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("away")));
}

TEST_F(Rehearsing, ConditionsAreAskedAsTheyAreNow) {
  const std::string yaml = DefinitionYaml("skip_if: SELECT 1 = 1\npreflight: {checks: [{name: ready, sql: SELECT 1 = 2}]}\n");
  world_.target->on_rehearse = [](const RehearsalRequest&) { return Good(); };
  world_.target->on_ask = [](const std::string& sql) { return sql == "SELECT 1 = 1"; };
  MD_ASSERT_OK_AND_ASSIGN(RehearsalReport report, Rehearse(Inline(yaml)));
  EXPECT_TRUE(report.feasible);
  EXPECT_THAT(report.findings, ::testing::ElementsAre(Finding(Severity::kWarning, "PREFLIGHT", "ready"),
                                                      Finding(Severity::kInfo, "SKIPPED")));
  world_.target->on_ask = [](const std::string&) { return absl::InvalidArgumentError("no boolean"); };
  MD_ASSERT_OK_AND_ASSIGN(report, Rehearse(Inline(yaml)));
  EXPECT_FALSE(report.feasible);
  EXPECT_THAT(report.findings, Contains(Finding(Severity::kError, "CONDITION_REFUSED", "skip_if: no boolean")));
}

TEST_F(Rehearsing, AFrozenTargetIsNotTouched) {
  bool sampled = true;
  world_.target->on_rehearse = [&](const RehearsalRequest& request) {
    sampled = request.with_sample;
    return Good();
  };
  FreezeRecord freeze;
  freeze.reason = "incident";
  MD_ASSERT_OK(world_.controller.Freeze(freeze, By("alice")).status());
  MD_ASSERT_OK_AND_ASSIGN(const RehearsalReport report, Rehearse(Inline()));
  EXPECT_FALSE(sampled);
  EXPECT_THAT(report.findings, Contains(Finding(Severity::kWarning, "FROZEN", "alice")));
}

TEST_F(Rehearsing, OnlyTwoAreUnderWayAtOnce) {
  absl::Notification go_on;
  std::atomic<int> inside{0};
  world_.target->on_rehearse = [&](const RehearsalRequest&) {
    ++inside;
    go_on.WaitForNotification();
    return Good();
  };
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) callers.emplace_back([&] { MD_EXPECT_OK(Rehearse(Inline()).status()); });
  while (inside < 2) std::this_thread::yield();
  EXPECT_THAT(Rehearse(Inline()), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("2 rehearsals")));
  go_on.Notify();
  for (std::thread& caller : callers) caller.join();
  MD_EXPECT_OK(Rehearse(Inline()).status());
}

}  // namespace
}  // namespace migrationd
