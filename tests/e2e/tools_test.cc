// What people type: the grpcurl lines of the README, and migrationctl with its exit statuses.
#include <google/protobuf/util/json_util.h>

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

class GrpcurlTest : public EndToEnd {
 protected:
  void SetUp() override {
    grpcurl_ = FindTool("grpcurl");
    if (grpcurl_.empty() && ToolsAreRequired())
      FAIL() << "grpcurl is neither in build/tools nor in PATH, and REQUIRE_TOOLS=1";
    if (grpcurl_.empty()) GTEST_SKIP() << "grpcurl is neither in build/tools nor in PATH";
    MakeCounter(100);
    ServerFixtureOptions options = Options();
    options.tcp = true;
    StartServer(options);
  }
  CommandResult Grpcurl(const std::vector<std::string>& flags, const std::vector<std::string>& arguments) {
    std::vector<std::string> command = {grpcurl_};
    for (const auto& words : {server().GrpcurlFlags(), flags, server().GrpcurlAddress(), arguments})
      command.insert(command.end(), words.begin(), words.end());
    const auto result = RunCommand(command);
    EXPECT_THAT(result, IsOk());
    return result.ok() ? *result : CommandResult{.exit_status = -1, .out = "", .err = ""};
  }
  std::string grpcurl_;
};

TEST_F(GrpcurlTest, ListNamesTheServices) {
  const CommandResult list = Grpcurl({}, {"list"});
  ASSERT_EQ(list.exit_status, 0) << list.err;
  EXPECT_THAT(list.out, HasSubstr("migrationcontrol.v1.MigrationControl\n"));
  EXPECT_THAT(list.out, HasSubstr("grpc.health.v1.Health\n"));
  const CommandResult methods = Grpcurl({}, {"list", "migrationcontrol.v1.MigrationControl"});
  EXPECT_EQ(methods.exit_status, 0) << methods.err;
  EXPECT_THAT(methods.out, HasSubstr("migrationcontrol.v1.MigrationControl.SetBatchSize"));
}

TEST_F(GrpcurlTest, HealthIsServing) {
  const CommandResult check = Grpcurl({}, {"grpc.health.v1.Health/Check"});
  ASSERT_EQ(check.exit_status, 0) << check.err;
  EXPECT_THAT(check.out, HasSubstr("\"SERVING\""));
  const CommandResult service =
      Grpcurl({"-d", R"({"service":"migrationcontrol.v1.MigrationControl"})"}, {"grpc.health.v1.Health/Check"});
  EXPECT_EQ(service.exit_status, 0) << service.err;
  EXPECT_THAT(service.out, HasSubstr("\"SERVING\""));
}

TEST_F(GrpcurlTest, StatusTellsAllOfAMigrationAndPauseStopsIt) {
  Define("count_rows", absl::StrCat(CounterYaml(), "start: MANUAL\n"));
  ASSERT_TRUE(HeldBy("count_rows", v1::HOLD_KIND_NEEDS_START));
  const CommandResult status =
      Grpcurl({"-d", R"({"migration":"count_rows"})"}, {"migrationcontrol.v1.MigrationControl/Status"});
  ASSERT_EQ(status.exit_status, 0) << status.err;
  EXPECT_THAT(status.out, HasSubstr("\"STATE_PENDING\""));
  EXPECT_THAT(status.out, HasSubstr("HOLD_KIND_NEEDS_START"));
  const CommandResult pause = Grpcurl({"-d", R"({"migration":"count_rows","reason":"why not"})"},
                                      {"migrationcontrol.v1.MigrationControl/Pause"});
  ASSERT_EQ(pause.exit_status, 0) << pause.err;
  EXPECT_THAT(pause.out, HasSubstr("\"STATE_PAUSED\""));
  const CommandResult unknown =
      Grpcurl({"-d", R"({"migration":"nothing"})"}, {"migrationcontrol.v1.MigrationControl/Status"});
  EXPECT_NE(unknown.exit_status, 0);
  EXPECT_THAT(unknown.err, HasSubstr("NotFound"));
}

class MigrationctlTest : public EndToEnd {};

TEST_F(MigrationctlTest, ExitStatusesTellDoneRefusedUsageUnknownUnreachableAndStillGoing) {
  MakeCounter(20000);
  StartServer();
  Define("count_rows", CounterYaml({.interval = "100ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 0));

  EXPECT_EQ(Migrationctl({"status", "count_rows"}).exit_status, 0);
  EXPECT_EQ(Migrationctl({"list"}).exit_status, 0);
  EXPECT_EQ(Migrationctl({"wait", "count_rows", "--for", "completed", "--timeout", "300ms"}).exit_status, 5);
  EXPECT_EQ(Migrationctl({"retry", "count_rows"}).exit_status, 1);
  EXPECT_EQ(Migrationctl({"status"}).exit_status, 2);
  EXPECT_EQ(Migrationctl({"status", "count_rows", "--colour", "red"}).exit_status, 2);
  EXPECT_EQ(Migrationctl({"do-something"}).exit_status, 2);
  EXPECT_EQ(Migrationctl({"set-batch-size", "count_rows", "many"}).exit_status, 2);
  EXPECT_EQ(Migrationctl({"status", "nothing"}).exit_status, 3);
  const std::string nobody = absl::StrCat("unix:", server().folder(), "/nobody.sock");
  MD_ASSERT_OK_AND_ASSIGN(const CommandResult unreachable,
                          RunCommand({MigrationctlProgram(), "--server", nobody, "status", "count_rows"}));
  EXPECT_EQ(unreachable.exit_status, 4) << unreachable.err;

  EXPECT_EQ(Migrationctl({"pause", "count_rows", "--reason", "look"}).exit_status, 0);
  EXPECT_EQ(Get("count_rows").state(), v1::STATE_PAUSED) << "the command waits until nothing runs";
  EXPECT_EQ(Migrationctl({"wait", "count_rows", "--for", "paused", "--timeout", "10s"}).exit_status, 0);
  EXPECT_EQ(Migrationctl({"resume", "count_rows"}).exit_status, 0);
  EXPECT_EQ(Migrationctl({"set-batch-size", "count_rows", "20000", "--sub-batch-size", "1000"}).exit_status, 0);
  EXPECT_EQ(Migrationctl({"wait", "count_rows", "--timeout", "2m"}, absl::Seconds(150)).exit_status, 0);
  EXPECT_TRUE(EachOnce(20000));
  EXPECT_EQ(Migrationctl({"pause", "count_rows"}).exit_status, 1);
}

TEST_F(MigrationctlTest, JsonIsTheResponseAsGrpcurlPrintsIt) {
  MakeCounter(500);
  StartServer();
  Define("count_rows", CounterYaml({.interval = "0s"}));
  ASSERT_TRUE(WaitUntil([&] { return RowsDone("count_rows") == 500; }));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  const CommandResult status = Migrationctl({"status", "count_rows", "-o", "json"});
  ASSERT_EQ(status.exit_status, 0) << status.err;
  EXPECT_THAT(status.out, HasSubstr("\"STATE_COMPLETED\""));
  v1::StatusResponse response;
  const auto parsed = google::protobuf::util::JsonStringToMessage(status.out, &response);
  ASSERT_TRUE(parsed.ok()) << parsed.ToString() << "\n" << status.out;
  EXPECT_EQ(response.migration().progress().rows_done(), 500);
  EXPECT_GT(response.recent_events_size(), 0);

  const CommandResult list = Migrationctl({"list"});
  for (const char* column : {"NAME", "TARGET", "STATE", "HOLD", "DONE", "RATE", "ETA", "SINCE", "REASON"})
    EXPECT_THAT(list.out, HasSubstr(column));
  EXPECT_THAT(list.out, HasSubstr("count_rows"));
  for (const char* command : {"jobs", "events", "show", "watch"}) {
    const CommandResult result = Migrationctl({command, "count_rows"});
    EXPECT_EQ(result.exit_status, 0) << command << ": " << result.err;
    EXPECT_FALSE(result.out.empty()) << command;
  }
}

TEST_F(MigrationctlTest, ValidateNeedsNoServerAndNamesThePlace) {
  TempFolder folder;
  const std::string good = folder.path() + "/20260101000000_count_rows.yaml";
  const std::string bad = folder.path() + "/20260101000001_count_more.yaml";
  std::ofstream(good) << CounterYaml();
  std::ofstream(bad)
      << "sql_batch:\n  table: counter\n  colour: red\n  statement: UPDATE counter SET n = 1 WHERE {{batch}}\n";
  MD_ASSERT_OK_AND_ASSIGN(const CommandResult valid, RunCommand({MigrationctlProgram(), "validate", good}));
  EXPECT_EQ(valid.exit_status, 0) << valid.out << valid.err;
  MD_ASSERT_OK_AND_ASSIGN(const CommandResult refused, RunCommand({MigrationctlProgram(), "validate", good, bad}));
  EXPECT_EQ(refused.exit_status, 1);
  EXPECT_THAT(refused.out + refused.err, HasSubstr(absl::StrCat(bad, ":3:3: ")));
}

TEST_F(MigrationctlTest, ADbaMayPrepareTheTargetWithTargetSql) {
  MakeCounter(500);
  MD_ASSERT_OK_AND_ASSIGN(const CommandResult printed, RunCommand({MigrationctlProgram(), "target-sql"}));
  ASSERT_EQ(printed.exit_status, 0) << printed.err;
  target().Run(printed.out);
  ASSERT_TRUE(target().True("SELECT to_regclass('migration_control.owner') IS NOT NULL"));
  StartServer();
  Define("count_rows", CounterYaml({.interval = "0s"}));
  ASSERT_TRUE(PassesRows("count_rows", 0));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(500));
}

}  // namespace
}  // namespace migrationd
