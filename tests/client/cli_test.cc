// The built migrationctl as a process, against a service in this one: what it prints and how it exits.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_service.h"
#include "tests/client/run_program.h"

namespace migrationctl {
namespace {

namespace v1 = migrationcontrol::v1;

using ::migrationcontrol::FakeServer;
using ::migrationcontrol::FakeService;
using ::migrationcontrol::MakeMigration;
using ::testing::_;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr char kGoodDefinition[] = R"(
target: main
sql_batch:
  table: accounts
  where: plan IS NULL
  statement: UPDATE accounts SET plan = 'free' WHERE {{batch}}
)";

const char* const kCommands[] = {"list",   "status",         "jobs",       "failures",  "events",  "show",    "watch",
                                 "wait",   "enqueue",        "start",      "validate",  "pause",   "resume",
                                 "retry",  "set-batch-size", "set-pace",   "accept",    "cancel",  "cleanup", "delete",
                                 "freeze", "unfreeze",       "completion", "target-sql", "targets"};

// Exactly one line, so that it can be found in a log.
MATCHER_P(IsOneErrorLine, inner, "") {
  return absl::StartsWith(arg, "migrationctl: ") && arg.find('\n') == arg.size() - 1 &&
         testing::ExplainMatchResult(inner, arg, result_listener);
}

class CliTest : public ::testing::Test {
 protected:
  CliTest() { service().SetMigration(MakeMigration("known", v1::STATE_RUNNING)); }

  FakeService& service() { return server_.service(); }

  ProgramResult Run(std::vector<std::string> arguments, ProgramOptions options = {}) {
    arguments.insert(arguments.begin(), MIGRATIONCTL);
    options.environment.push_back("MIGRATIONCTL_SERVER=" + server_.address());
    return RunProgram(arguments, options);
  }

  ~CliTest() override { std::filesystem::remove_all(folder_); }

  // A file of that name in a folder of this test's own.
  std::string WriteFile(const std::string& name, const std::string& content) {
    std::filesystem::create_directories(folder_);
    std::ofstream(folder_ / name) << content;
    return (folder_ / name).string();
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) /
      absl::StrCat("cli_", getpid(), "_", testing::UnitTest::GetInstance()->current_test_info()->name());
  FakeServer server_;
};

TEST_F(CliTest, EveryCommandHasHelpWithAnExample) {
  for (const std::string command : kCommands) {
    const ProgramResult result = Run({command, "--help"});
    EXPECT_EQ(result.exit_status, 0) << command;
    EXPECT_THAT(result.out, ContainsRegex("Example:\n.*migrationctl.* " + command)) << command;
    EXPECT_THAT(result.err, IsEmpty()) << command;
  }
  const ProgramResult result = Run({"--help"});
  EXPECT_EQ(result.exit_status, 0);
  for (const std::string command : kCommands) EXPECT_THAT(result.out, HasSubstr("\n  " + command + " "));
  EXPECT_THAT(result.out, HasSubstr("Exit status: 0 done"));
}

TEST_F(CliTest, AWrongCommandLineExitsWithTwoAndAsksTheServerNothing) {
  const std::vector<std::vector<std::string>> wrong = {{},
                                                       {"frobnicate"},
                                                       {"status"},
                                                       {"status", "a", "b"},
                                                       {"list", "--bogus"},
                                                       {"-o", "xml", "list"},
                                                       {"list", "--state", "SLEEPING"},
                                                       {"--timeout", "soon", "list"},
                                                       {"--timeout", "0s", "list"},
                                                       {"-l", "novalue", "list"},
                                                       {"-l", "a=1", "-l", "a=2", "list"},
                                                       {"-l", "a=1", "pause", "known"},
                                                       {"watch", "known", "-l", "a=1"},
                                                       {"enqueue"},
                                                       {"enqueue", "known", "-f", "file"},
                                                       {"enqueue", "known", "--pause-after", "0"},
                                                       {"set-batch-size", "known", "0"},
                                                       {"set-batch-size", "known", "-5"},
                                                       {"set-batch-size", "known", "1e3"},
                                                       {"set-batch-size", "known", "99999999999"},
                                                       {"set-batch-size", "known", "auto", "--until", "1h"},
                                                       {"set-pace", "known"},
                                                       {"set-pace", "known", "--auto", "--lanes", "2"},
                                                       {"set-pace", "known", "--interval", "fast"},
                                                       {"retry", "known", "--from", "middle"},
                                                       {"wait", "known", "--for", "godot"},
                                                       {"pause", "known", "--until", "2020-01-01T00:00:00Z"},
                                                       {"pause", "known", "--expected-revision", "-1"},
                                                       {"freeze"},
                                                       {"validate"},
                                                       {"completion", "tcsh"}};
  for (const std::vector<std::string>& arguments : wrong) {
    const ProgramResult result = Run(arguments);
    EXPECT_EQ(result.exit_status, 2) << absl::StrJoin(arguments, " ");
    EXPECT_THAT(result.err, IsOneErrorLine(HasSubstr("--help"))) << absl::StrJoin(arguments, " ");
    EXPECT_THAT(result.out, IsEmpty()) << absl::StrJoin(arguments, " ");
  }
  EXPECT_THAT(service().calls(), IsEmpty());
}

TEST_F(CliTest, AnUnknownMigrationExitsWithThreeAndNamesCandidates) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"status", "other"},
                                             {"show", "other"},
                                             {"jobs", "other"},
                                             {"events", "other"},
                                             {"watch", "other"},
                                             {"wait", "other"},
                                             {"enqueue", "other"},
                                             {"start", "other"},
                                             {"pause", "other"},
                                             {"resume", "other"},
                                             {"retry", "other"},
                                             {"set-batch-size", "other", "5"},
                                             {"accept", "other"},
                                             {"cancel", "other"},
                                             {"cleanup", "other"},
                                             {"delete", "other"}}) {
    const ProgramResult result = Run(arguments);
    EXPECT_EQ(result.exit_status, 3) << arguments[0];
    EXPECT_THAT(result.err, IsOneErrorLine(HasSubstr("did you mean"))) << arguments[0];
    EXPECT_THAT(result.out, IsEmpty()) << arguments[0];
  }
}

TEST_F(CliTest, AServerThatIsNotThereExitsWithFourAndNamesIt) {
  server_.Stop();
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{{"list"},
                                                                                         {"status", "known"},
                                                                                         {"pause", "known"},
                                                                                         {"watch"},
                                                                                         {"watch", "known"},
                                                                                         {"wait", "known"},
                                                                                         {"freeze", "--reason", "r"}}) {
    const ProgramResult result = Run(arguments);
    EXPECT_EQ(result.exit_status, 4) << arguments[0];
    EXPECT_THAT(result.err, IsOneErrorLine(HasSubstr(server_.address()))) << arguments[0];
  }
}

TEST_F(CliTest, ARefusalExitsWithOneAndTheServersWordsMadeSafe) {
  service().FailNext(
      grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "main/known is COMPLETED;\n\x1b[31mpossible: Cleanup"));
  const ProgramResult result = Run({"pause", "known"});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_EQ(result.err, "migrationctl: main/known is COMPLETED;\\n\\x1b[31mpossible: Cleanup\n");
}

TEST_F(CliTest, ListShowsAlignedColumns) {
  service().SetMigration(MakeMigration("second_and_longer", v1::STATE_COMPLETED));
  const ProgramResult result = Run({"list"});
  EXPECT_EQ(result.exit_status, 0);
  const std::vector<std::string> lines = absl::StrSplit(result.out, '\n');
  ASSERT_THAT(lines, SizeIs(4));
  EXPECT_EQ(lines[0], "NAME               TARGET  STATE      HOLD  DONE   RATE   ETA    SINCE  REASON");
  EXPECT_EQ(lines[1], "known              main    RUNNING    -     63.2%  12k/s  1m30s  1h00m  -");
  EXPECT_THAT(lines[2], StartsWith("second_and_longer  main    COMPLETED  -     100%   -"));
}

TEST_F(CliTest, ListPassesItsFilters) {
  EXPECT_EQ(Run({"list", "-t", "main", "-l", "team=ci", "-l", "a=b", "--state", "running,HALTED", "--prefix", "k",
                 "--sort", "name desc"})
                .exit_status,
            0);
  ASSERT_THAT(service().calls(), SizeIs(1));
  EXPECT_THAT(service().calls()[0],
              AllOf(HasSubstr("states: STATE_RUNNING states: STATE_HALTED"), HasSubstr("target: \"main\""),
                    HasSubstr("key: \"team\""), HasSubstr("key: \"a\""), HasSubstr("name_prefix: \"k\""),
                    HasSubstr("order_by: \"name desc\"")));
}

TEST_F(CliTest, ListTellsOfFreezesAndRefusedFilesBesideTheTable) {
  v1::ListResponse list;
  list.add_freezes()->set_reason("incident");
  v1::CatalogProblem* problem = list.add_catalog_problems();
  problem->set_file("x.yaml");
  problem->set_message("not a definition");
  service().SetList(list);
  const ProgramResult result = Run({"list"});
  EXPECT_THAT(result.err,
              AllOf(HasSubstr("frozen: all targets: incident\n"), HasSubstr("refused: x.yaml: not a definition\n")));
  EXPECT_THAT(result.out, Not(HasSubstr("incident")));
}

TEST_F(CliTest, GlobalOptionsStandBeforeOrAfterTheCommand) {
  EXPECT_EQ(Run({"-o", "name", "list"}).out, "main/known\n");
  EXPECT_EQ(Run({"list", "-o", "name"}).out, "main/known\n");
  EXPECT_EQ(Run({"status", "--output", "name", "known"}).out, "main/known\n");
  EXPECT_EQ(Run({"status", "known", "-t", "main", "-o", "name"}).out, "main/known\n");
  EXPECT_EQ(Run({"status", "other/known", "-t", "main"}).exit_status, 1);
  // An option is stronger than the environment.
  EXPECT_EQ(Run({"list", "--server", "127.0.0.1:1"}).exit_status, 4);
}

TEST_F(CliTest, JsonIsOneObjectAsGrpcurlPrintsIt) {
  const auto json = [&](const std::vector<std::string>& arguments) {
    const ProgramResult result = Run(arguments);
    EXPECT_EQ(result.exit_status, 0) << result.err;
    return nlohmann::json::parse(result.out, nullptr, false);
  };
  EXPECT_EQ(json({"status", "known", "-o", "json"})["migration"]["state"], "STATE_RUNNING");
  EXPECT_EQ(json({"status", "known", "-o", "json"})["recentEvents"][0]["kind"], "TRANSITION");
  EXPECT_EQ(json({"list", "-o", "json"})["migrations"][0]["progress"]["rowsDone"], "632000");
  EXPECT_EQ(json({"jobs", "known", "-o", "json"})["jobs"].size(), 2u);
  EXPECT_EQ(json({"events", "-o", "json"})["events"].size(), 1u);
  EXPECT_EQ(json({"show", "known", "-o", "json"})["name"], "known");
  for (const char* verb : {"start", "pause", "resume", "retry", "accept", "cancel", "cleanup", "delete", "enqueue"}) {
    EXPECT_EQ(json({verb, "known", "-o", "json"})["migration"]["name"], "known") << verb;
  }
  EXPECT_EQ(json({"set-batch-size", "known", "7", "-o", "json"})["migration"]["name"], "known");
  EXPECT_EQ(json({"freeze", "--reason", "r", "-o", "json"})["freeze"]["reason"], "r");
}

TEST_F(CliTest, YamlIsAFormatToo) {
  EXPECT_THAT(Run({"status", "known", "-o", "yaml"}).out,
              AllOf(HasSubstr("migration:\n"), HasSubstr("\n  state: STATE_RUNNING\n")));
}

TEST_F(CliTest, StatusDescribesTheMigration) {
  const ProgramResult result = Run({"status", "known"});
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_THAT(result.out, AllOf(StartsWith("main/known: a summary\n"), HasSubstr("State        RUNNING, EXECUTE"),
                                HasSubstr("Sizes        batch 1,000, sub-batch 100, at most 50,000"),
                                HasSubstr("PENDING -> RUNNING by alice")));
}

TEST_F(CliTest, ShowPrintsTheDefinition) { EXPECT_EQ(Run({"show", "known"}).out, "format: 1\ntarget: main\n"); }

TEST_F(CliTest, JobsCollectPagesUpToTheLimit) {
  const ProgramResult all = Run({"jobs", "known"});
  EXPECT_THAT(all.out, AllOf(HasSubstr("ID  LANE"), HasSubstr("\n2   0"), HasSubstr("\n1   0")));
  const ProgramResult one = Run({"jobs", "known", "--limit", "1"});
  EXPECT_THAT(one.out, Not(HasSubstr("\n1   0")));
  EXPECT_THAT(service().calls().back(), HasSubstr("page_size: 1"));
}

TEST_F(CliTest, EventsAreFilteredAndMadeSafe) {
  const ProgramResult result = Run({"events", "known", "--kind", "transition,SETTING"});
  EXPECT_THAT(result.out, HasSubstr("main/known  TRANSITION"));
  EXPECT_THAT(result.out, HasSubstr("evil \\x1b[31m reason"));
  EXPECT_THAT(service().calls().back(), HasSubstr("kinds: \"TRANSITION\" kinds: \"SETTING\""));
}

TEST_F(CliTest, MutationsCarryWhatTheirOptionsSay) {
  for (const char* verb : {"start", "pause", "resume", "retry", "accept", "cancel", "cleanup", "delete"}) {
    const ProgramResult result =
        Run({verb, "known", "--reason", "because", "--request-id", "id1", "--expected-revision", "7", "--dry-run"});
    EXPECT_EQ(result.exit_status, 0) << verb << result.err;
    EXPECT_EQ(result.out, "dry run, nothing changed: main/known RUNNING: a summary\n") << verb;
    EXPECT_THAT(service().calls().back(), AllOf(HasSubstr("migration: \"known\""), HasSubstr("reason: \"because\""),
                                                HasSubstr("request_id: \"id1\""), HasSubstr("expected_revision: 7"),
                                                HasSubstr("validate_only: true")))
        << verb;
  }
}

TEST_F(CliTest, RetryPassesFromWhereAndTheAcknowledgement) {
  EXPECT_EQ(Run({"retry", "known"}).exit_status, 0);
  EXPECT_THAT(service().calls().back(), Not(HasSubstr("from"))) << "what an earlier retry asked for is kept";
  EXPECT_EQ(Run({"retry", "known", "--from", "continue"}).exit_status, 0);
  EXPECT_THAT(service().calls().back(), HasSubstr("RETRY_FROM_CONTINUE"));
  EXPECT_EQ(Run({"retry", "known", "--from", "start", "--acknowledge-repeat"}).exit_status, 0);
  EXPECT_THAT(service().calls().back(), AllOf(HasSubstr("RETRY_FROM_START"), HasSubstr("acknowledge_repeat: true")));
  EXPECT_EQ(Run({"retry", "known", "--from", "adopt"}).exit_status, 0);
  EXPECT_THAT(service().calls().back(), HasSubstr("RETRY_FROM_ADOPT"));
}

TEST_F(CliTest, SetBatchSizePassesSizesOrAuto) {
  const ProgramResult result =
      Run({"set-batch-size", "known", "500", "--sub-batch-size", "50", "--until", "2033-05-18T03:33:20Z"});
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_THAT(result.out, StartsWith("batch 1,000, sub-batch 100: main/known RUNNING"));
  EXPECT_THAT(service().calls().back(),
              AllOf(HasSubstr(" batch_size: 500"), HasSubstr("sub_batch_size: 50"), HasSubstr("seconds: 2000000000")));
  EXPECT_EQ(Run({"set-batch-size", "known", "auto"}).exit_status, 0);
  EXPECT_THAT(service().calls().back(), AllOf(HasSubstr("automatic: true"), Not(HasSubstr("batch_size"))));
}

TEST_F(CliTest, SetPacePassesOnlyWhatIsGiven) {
  EXPECT_EQ(Run({"set-pace", "known", "--lanes", "4", "--interval", "20ms", "--window", "daily 01:00-05:00", "--lock-timeout", "1s500ms"}).exit_status, 0);
  EXPECT_THAT(service().calls().back(),
              AllOf(HasSubstr("lanes: 4"), HasSubstr("interval { nanos: 20000000 }"), HasSubstr("windows: \"daily 01:00-05:00\""),
                    HasSubstr("lock_timeout { seconds: 1 nanos: 500000000 }"), Not(HasSubstr("max_rows_per_second"))));
  EXPECT_EQ(Run({"set-pace", "known", "--max-rows-per-second", "0", "--until", "2033-05-18T03:33:20Z"}).exit_status, 0);
  EXPECT_THAT(service().calls().back(), AllOf(HasSubstr("max_rows_per_second: 0"), HasSubstr("seconds: 2000000000")));
  v1::Migration migration = MakeMigration("known", v1::STATE_RUNNING);
  migration.mutable_pace()->set_lanes(4);
  migration.mutable_pace()->mutable_lock_timeout()->set_seconds(2);
  migration.mutable_pace()->mutable_override()->set_author("alice");
  migration.mutable_pace()->mutable_override()->mutable_until()->set_seconds(1700000000 + 7200);
  service().SetMigration(migration);
  const ProgramResult shown = Run({"set-pace", "known", "--lanes", "4"});
  EXPECT_THAT(shown.out, StartsWith("4 lanes, ")) << shown.err;
  EXPECT_THAT(shown.out, HasSubstr("waits for a lock of at most 2s; set by alice until 2023-11-15T00:13:20Z (in 2h00m): main/known RUNNING"));
  EXPECT_EQ(Run({"set-pace", "known", "--auto"}).exit_status, 0);
  EXPECT_THAT(service().calls().back(), HasSubstr("automatic: true"));
}

TEST_F(CliTest, EnqueuePassesParametersOrAFile) {
  const ProgramResult by_name =
      Run({"enqueue", "known", "--param", "tenant=1", "--param", "note=a=b", "--start", "--pause-after", "1000"});
  EXPECT_EQ(by_name.exit_status, 0);
  EXPECT_THAT(by_name.out, StartsWith("new: main/known RUNNING"));
  EXPECT_THAT(service().calls().back(),
              AllOf(HasSubstr("key: \"tenant\" value: \"1\""), HasSubstr("key: \"note\" value: \"a=b\""),
                    HasSubstr("start: true"), HasSubstr("pause_after_rows: 1000")));
  const ProgramResult by_file = Run({"enqueue", "-f", WriteFile("20261120093000_from_file.yaml", kGoodDefinition)});
  EXPECT_EQ(by_file.exit_status, 0) << by_file.err;
  EXPECT_THAT(service().calls().back(),
              AllOf(HasSubstr("file_name: \"20261120093000_from_file.yaml\""), HasSubstr("UPDATE accounts")));
  Run({"enqueue", "20261120093000_from_file.yaml"});
  EXPECT_THAT(service().calls().back(), HasSubstr("migration: \"20261120093000_from_file.yaml\"")) << "as the catalogue calls it";
  EXPECT_EQ(Run({"enqueue", "-f", "20261120093000_good.yaml", "-t", "main"}).exit_status, 2);
  const ProgramResult missing = Run({"enqueue", "-f", "/nowhere/file.yaml"});
  EXPECT_EQ(missing.exit_status, 1);
  EXPECT_THAT(missing.err, IsOneErrorLine(HasSubstr("/nowhere/file.yaml: No such file")));
}

TEST_F(CliTest, FreezeNamesTargetReasonAndEnd) {
  const ProgramResult result =
      Run({"freeze", "--target", "main", "--reason", "incident 4711", "--until", "2033-05-18T03:33:20Z"});
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_EQ(result.out, "froze target main: incident 4711\n");
  EXPECT_THAT(service().calls().back(), AllOf(HasSubstr("target: \"main\""), HasSubstr("seconds: 2000000000")));
  EXPECT_EQ(Run({"unfreeze"}).out, "unfroze all targets\n");
}

// The migration leaves `first` for `second` as soon as it is watched.
void ChangeWhenWatched(FakeService& service, v1::State second) {
  service.SetWatch(
      [second](grpc::ServerContext& context, const v1::WatchRequest&, grpc::ServerWriter<v1::WatchResponse>& writer) {
        v1::WatchResponse response;
        *response.add_migrations() = MakeMigration("known", v1::STATE_PAUSING);
        writer.Write(response);
        *response.mutable_migrations(0) = MakeMigration("known", second);
        response.mutable_migrations(0)->mutable_halt()->set_code("STATEMENT_REFUSED");
        writer.Write(response);
        while (!context.IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
        return grpc::Status::OK;
      });
}

TEST_F(CliTest, PauseWaitsUntilItIsPaused) {
  service().SetMigration(MakeMigration("known", v1::STATE_PAUSING));
  ChangeWhenWatched(service(), v1::STATE_PAUSED);
  const ProgramResult result = Run({"pause", "known", "--reason", "lunch", "--until", "2h", "--immediate"});
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_EQ(result.out, "main/known PAUSED: a summary\n");
  EXPECT_THAT(service().calls()[0], AllOf(StartsWith("Pause"), HasSubstr("immediate: true"), HasSubstr("until {")));
}

TEST_F(CliTest, PauseSaysWhenItCompletedOrHaltedInstead) {
  service().SetMigration(MakeMigration("known", v1::STATE_PAUSING));
  ChangeWhenWatched(service(), v1::STATE_COMPLETED);
  EXPECT_EQ(Run({"pause", "known"}).exit_status, 0);
  ChangeWhenWatched(service(), v1::STATE_HALTED);
  const ProgramResult result = Run({"pause", "known"});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, IsOneErrorLine(HasSubstr("HALTED instead of PAUSED: STATEMENT_REFUSED")));
}

TEST_F(CliTest, PauseThatIsStillGoingAfterTenSecondsExitsWithFive) {
  service().SetMigration(MakeMigration("known", v1::STATE_PAUSING));
  const ProgramResult result = Run({"pause", "known"});
  EXPECT_EQ(result.exit_status, 5);
  EXPECT_THAT(result.out, StartsWith("main/known PAUSING"));
  EXPECT_THAT(result.err, IsOneErrorLine(HasSubstr("main/known is still PAUSING after 10s")));
}

TEST_F(CliTest, PauseWithoutWaitingReturnsAtOnce) {
  service().SetMigration(MakeMigration("known", v1::STATE_PAUSING));
  EXPECT_EQ(Run({"pause", "known", "--no-wait"}).exit_status, 0);
  EXPECT_THAT(service().calls(), SizeIs(1));
}

TEST_F(CliTest, WaitEndsWithTheStateOrWithFive) {
  ChangeWhenWatched(service(), v1::STATE_COMPLETED);
  const ProgramResult done = Run({"wait", "known", "--for", "completed", "--timeout", "1m"});
  EXPECT_EQ(done.exit_status, 0) << done.err;
  EXPECT_EQ(done.out, "main/known COMPLETED: a summary\n");
  ChangeWhenWatched(service(), v1::STATE_PAUSED);
  EXPECT_EQ(Run({"wait", "known", "--for", "paused"}).exit_status, 0);
  ChangeWhenWatched(service(), v1::STATE_HALTED);
  EXPECT_EQ(Run({"wait", "known"}).exit_status, 1);
  service().SetWatch(nullptr);
  const ProgramResult late = Run({"wait", "known", "--timeout", "300ms"});
  EXPECT_EQ(late.exit_status, 5);
  EXPECT_THAT(late.err, IsOneErrorLine(HasSubstr("still RUNNING after 300ms")));
}

TEST_F(CliTest, WatchPrintsOneLineAChangeIntoAPipeAndEndsWithTheMigration) {
  ChangeWhenWatched(service(), v1::STATE_COMPLETED);
  const ProgramResult done = Run({"watch", "known"});
  EXPECT_EQ(done.exit_status, 0);
  EXPECT_THAT(done.out, ContainsRegex("^[^ ]+ main/known PAUSING 63.2%\n[^ ]+ main/known COMPLETED 100%\n$"));
  ChangeWhenWatched(service(), v1::STATE_HALTED);
  const ProgramResult halted = Run({"watch", "known"});
  EXPECT_EQ(halted.exit_status, 1);
  EXPECT_THAT(halted.err, IsOneErrorLine(HasSubstr("main/known is HALTED: STATEMENT_REFUSED")));
}

TEST_F(CliTest, WatchOfAllEndsAtItsTimeoutWithFive) {
  const ProgramResult result = Run({"watch", "--timeout", "300ms"});
  EXPECT_EQ(result.exit_status, 5);
  EXPECT_THAT(result.out, HasSubstr("main/known RUNNING 63.2% 12k/s\n"));
}

TEST_F(CliTest, WatchInJsonIsOneObjectALine) {
  ChangeWhenWatched(service(), v1::STATE_COMPLETED);
  const std::vector<std::string> lines =
      absl::StrSplit(Run({"watch", "known", "-o", "json"}).out, '\n', absl::SkipEmpty());
  ASSERT_THAT(lines, SizeIs(2));
  EXPECT_EQ(nlohmann::json::parse(lines[1], nullptr, false)["migrations"][0]["state"], "STATE_COMPLETED");
}

TEST_F(CliTest, WatchDrawsBarsInPlaceOnATerminal) {
  ChangeWhenWatched(service(), v1::STATE_COMPLETED);
  ProgramOptions options;
  options.terminal = true;
  options.environment = {"TERM=xterm"};
  const ProgramResult coloured = Run({"watch", "known"}, options);
  EXPECT_EQ(coloured.exit_status, 0);
  EXPECT_THAT(coloured.out, AllOf(HasSubstr("[=============>        ]"), HasSubstr("\x1b[1A\r\x1b[2K"),
                                  HasSubstr("[======================]"), HasSubstr("\x1b[32m")));
  options.environment = {"TERM=xterm", "NO_COLOR=1"};
  EXPECT_THAT(Run({"watch", "known"}, options).out, AllOf(HasSubstr("\x1b[1A"), Not(HasSubstr("\x1b[32m"))));
  options.environment = {"TERM=dumb"};
  EXPECT_THAT(Run({"watch", "known"}, options).out, Not(HasSubstr("\x1b")));
}

TEST_F(CliTest, OutputThatNobodyReadsIsNotAnError) {
  ProgramOptions options;
  options.closed_output = true;
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"list"}, {"--help"}, {"watch"}, {"completion", "bash"}}) {
    const ProgramResult result = Run(arguments, options);
    EXPECT_THAT(result.err, IsEmpty()) << arguments[0];
    EXPECT_EQ(result.exit_status, 0) << arguments[0];
  }
}

TEST_F(CliTest, OutputThatCannotBeWrittenIsAnError) {
  ProgramOptions options;
  options.output_file = "/dev/full";
  const ProgramResult result = Run({"list"}, options);
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, IsOneErrorLine(HasSubstr("cannot be written")));
}

TEST_F(CliTest, PlanOfAFileShowsWhatStandsInTheWayAndExitsOne) {
  v1::PlanResponse plan;
  plan.set_migration("main/good");
  v1::Finding* finding = plan.add_findings();
  finding->set_severity(v1::Finding::SEVERITY_ERROR);
  finding->set_code("SAMPLE_FAILED");
  finding->set_message("22012, division by zero");
  service().SetPlan(plan);
  const std::string file = WriteFile("20261120093000_good.yaml", kGoodDefinition);
  const ProgramResult result = Run({"plan", file, "-P", "tenant=7"});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.out, HasSubstr("ERROR    SAMPLE_FAILED: 22012, division by zero\n"));
  EXPECT_THAT(result.err, IsOneErrorLine(HasSubstr("main/good will not run like this")));
  EXPECT_THAT(service().calls(), ElementsAre(AllOf(HasSubstr("Plan"), HasSubstr("20261120093000_good.yaml"), HasSubstr("tenant"))));
}

TEST_F(CliTest, PlanOfANameThatCanBeRunExitsZero) {
  v1::PlanResponse plan;
  plan.set_migration("main/known");
  plan.set_feasible(true);
  service().SetPlan(plan);
  const ProgramResult result = Run({"plan", "known", "-t", "main"});
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.out, StartsWith("main/known: can be run\n"));
  EXPECT_THAT(service().calls(), ElementsAre(HasSubstr("main/known")));
  const auto json = nlohmann::json::parse(Run({"plan", "known", "-o", "json"}).out, nullptr, false);
  EXPECT_TRUE(json["feasible"]);
}

TEST_F(CliTest, PlanAndEnqueueReadFilesAlike) {
  const std::string file = WriteFile("20261120093000_good.yaml", kGoodDefinition);
  for (const std::string command : {"plan", "enqueue"}) {
    Run({command, "-f", file, "-P", "tenant=7"});
    EXPECT_THAT(service().calls().back(), AllOf(HasSubstr("20261120093000_good.yaml"), HasSubstr("UPDATE accounts"), HasSubstr("tenant"))) << command;
    EXPECT_THAT(Run({command, "-f", "/nowhere/file.yaml"}).err, IsOneErrorLine(HasSubstr("/nowhere/file.yaml: No such file"))) << command;
    EXPECT_EQ(Run({command}).exit_status, 2);
    EXPECT_EQ(Run({command, "known", "-f", file}).exit_status, 2);
    EXPECT_EQ(Run({command, "-f", file, "-t", "main"}).exit_status, 2);
  }
}

TEST_F(CliTest, PlanWantsOneThing) {
  EXPECT_EQ(Run({"plan"}).exit_status, 2);
  EXPECT_EQ(Run({"plan", "known", "-f", "x.yaml"}).exit_status, 2);
  EXPECT_EQ(Run({"plan", "20261120093000_good.yaml", "-t", "main"}).exit_status, 2);
}

TEST_F(CliTest, VerifyAsksAndWithWaitExitsOneWhenRowsRegressed) {
  v1::Migration migration = MakeMigration("done", v1::STATE_COMPLETED);
  migration.set_revision(7);
  migration.mutable_verification()->mutable_requested_at()->set_seconds(100);
  service().SetMigration(migration);
  EXPECT_EQ(Run({"verify", "done", "--reason", "after the import"}).exit_status, 0);
  EXPECT_THAT(service().calls(), Contains(AllOf(HasSubstr("Verify"), HasSubstr("after the import"))));
  EXPECT_EQ(Run({"verify", "done", "--stop"}).exit_status, 0);
  EXPECT_THAT(service().calls(), Contains(AllOf(HasSubstr("Verify"), HasSubstr("stop: true"))));
  EXPECT_EQ(Run({"verify", "done", "--stop", "--wait"}).exit_status, 2);
  // Still under way.
  EXPECT_EQ(Run({"verify", "done", "--wait", "--timeout", "300ms"}).exit_status, 5);
  migration.mutable_verification()->mutable_finished_at()->set_seconds(200);
  service().SetMigration(migration);
  ProgramResult result = Run({"verify", "done", "--wait"});
  EXPECT_EQ(result.exit_status, 0) << result.err;
  EXPECT_THAT(result.out, StartsWith("verified, no row matches `where`: main/done COMPLETED"));
  migration.mutable_verification()->set_regressed_rows(3);
  service().SetMigration(migration);
  result = Run({"verify", "done", "--wait"});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, IsOneErrorLine(HasSubstr("3 rows match `where` again. To migrate them: migrationctl retry main/done")));
  migration.clear_verification();
  service().SetMigration(migration);
  result = Run({"verify", "done", "--wait"});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.err, IsOneErrorLine(HasSubstr("without a result")));
}

TEST_F(CliTest, ValidateFindsAGoodFileGoodWithoutAServer) {
  server_.Stop();
  const std::string file = WriteFile("20261120093000_good.yaml", kGoodDefinition);
  const ProgramResult result = Run({"validate", file});
  EXPECT_EQ(result.exit_status, 0) << result.out << result.err;
  EXPECT_EQ(result.out, file + ": valid\n");
}

TEST_F(CliTest, ValidateSaysWhereABadFileIsWrong) {
  const std::string good = WriteFile("20261120093000_good.yaml", kGoodDefinition);
  const std::string bad = WriteFile("20261120093001_bad.yaml", absl::StrCat(kGoodDefinition, "  wher: typo\n"));
  const std::string unnamed = WriteFile("unnamed.yaml", kGoodDefinition);
  const ProgramResult result = Run({"validate", good, bad, unnamed, "/nowhere.yaml", testing::TempDir()});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.out,
              AllOf(HasSubstr(good + ": valid\n"), HasSubstr(bad + ":7:"), HasSubstr("wher"), HasSubstr(unnamed + ": "),
                    HasSubstr("/nowhere.yaml: No such file or directory\n"), HasSubstr("is a folder")));
  EXPECT_THAT(result.err, IsOneErrorLine(HasSubstr("4 of 5 definitions not valid")));
  EXPECT_THAT(service().calls(), IsEmpty());
}

TEST_F(CliTest, ValidateInJsonIsOneObject) {
  const auto json = nlohmann::json::parse(
      Run({"validate", WriteFile("20261120093001_bad.yaml", "target: [1"), "-o", "json"}).out, nullptr, false);
  EXPECT_GE(json["problems"].size(), 1u);
  EXPECT_FALSE(json.contains("valid"));
}

TEST_F(CliTest, ValidateRemoteAsksTheTargetToo) {
  v1::ValidateResponse refusal;
  v1::Problem* problem = refusal.add_problems();
  problem->set_field("sql_batch.table");
  problem->set_message("there is no table \"accounts\"");
  service().SetValidate(refusal);
  const std::string file = WriteFile("20261120093000_good.yaml", kGoodDefinition);
  const ProgramResult result = Run({"validate", "--remote", file});
  EXPECT_EQ(result.exit_status, 1);
  EXPECT_THAT(result.out, AllOf(StartsWith(file), HasSubstr("there is no table")));
  EXPECT_THAT(service().calls(),
              ElementsAre(AllOf(HasSubstr("against_target: true"), HasSubstr("20261120093000_good.yaml"))));
}

TEST_F(CliTest, CompletionScriptsKnowTheCommandsAndAreValidBash) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const ProgramResult result = Run({"completion", shell});
    EXPECT_EQ(result.exit_status, 0);
    for (const std::string command : kCommands) EXPECT_THAT(result.out, HasSubstr(command)) << shell;
    EXPECT_THAT(result.out, HasSubstr("expected-revision")) << shell;
  }
  if (!std::filesystem::exists("/bin/bash")) GTEST_SKIP() << "there is no /bin/bash";
  const std::string script = WriteFile("completion.bash", Run({"completion", "bash"}).out);
  const ProgramResult syntax = RunProgram({"/bin/bash", "-n", script});
  EXPECT_EQ(syntax.exit_status, 0) << syntax.err;
  const auto complete = [&](const std::string& words, int index) {
    return RunProgram(
               {"/bin/bash", "-c",
                absl::StrCat("source ", script, "; PATH=", std::filesystem::path(MIGRATIONCTL).parent_path().string(),
                             ":$PATH; export MIGRATIONCTL_SERVER=", server_.address(), "; COMP_WORDS=(", words,
                             "); COMP_CWORD=", index, "; _migrationctl; printf '%s\\n' \"${COMPREPLY[@]}\"")})
        .out;
  };
  EXPECT_EQ(complete("migrationctl sta", 1), "status\nstart\n");
  EXPECT_EQ(complete("migrationctl -o js", 2), "json\n");
  EXPECT_EQ(complete("migrationctl pause --imm", 2), "--immediate\n");
  EXPECT_EQ(complete("migrationctl status mai", 2), "main/known\n");
  EXPECT_EQ(complete("migrationctl completion z", 2), "zsh\n");
}

TEST_F(CliTest, TargetSqlPrintsTheSchemaWithoutAServer) {
  server_.Stop();
  const ProgramResult result = Run({"target-sql"});
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_THAT(result.out, HasSubstr("CREATE SCHEMA IF NOT EXISTS migration_control"));
  EXPECT_THAT(result.out, HasSubstr("SET version = greatest(version, 1)"));
  EXPECT_EQ(Run({"target-sql", "--from", "0", "--contract"}).out, result.out);
  EXPECT_THAT(Run({"target-sql", "--from", "1"}).out, HasSubstr("-- Nothing to do"));
  EXPECT_EQ(Run({"target-sql", "--from", "99"}).exit_status, 2);
}

TEST_F(CliTest, TargetsShowsWhatTheirHealthAllows) {
  const std::string table = Run({"targets"}).out;
  EXPECT_THAT(table, HasSubstr("NAME  REACHABLE             RUNNING  ALLOWED  HOLD\n"));
  EXPECT_THAT(table, HasSubstr("main  yes                   2        50.0%    THROTTLED: replica_lag 31 s\n"));
  EXPECT_THAT(table, HasSubstr("away  no: no route to host  0        100%     -\n"));
  EXPECT_THAT(Run({"targets", "-o", "wide"}).out,
              HasSubstr("replica_lag 31.2 s, limit 30 s (replica standby); active_backends unknown (needs pg_monitor)\n"));
  EXPECT_EQ(Run({"targets", "-o", "name"}).out, "main\naway\n");
  EXPECT_EQ(Run({"-t", "away", "targets", "-o", "name"}).out, "away\n");
  EXPECT_THAT(Run({"targets", "-o", "json"}).out, HasSubstr("\"signal\": \"replica_lag\""));
}

}  // namespace
}  // namespace migrationctl
