// The catalogue folder of a running service: files that come, change, are wrong, and go.
#include <cstdio>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;
using Stub = v1::MigrationControl::Stub;

class CatalogTest : public EndToEnd {
 protected:
  bool Known(const std::string& name) {
    v1::StatusRequest request;
    request.set_migration(name);
    return Call(server(), &Stub::Status, request).ok();
  }
  // The message about that file; empty when there is none.
  std::string ProblemOf(const std::string& file_name) {
    const auto listed = Call(server(), &Stub::List, v1::ListRequest());
    EXPECT_THAT(listed, IsOk());
    if (!listed.ok()) return "";
    for (const v1::CatalogProblem& problem : listed->catalog_problems()) {
      if (problem.file().ends_with(file_name)) return problem.message();
    }
    return "";
  }
  v1::MigrationDefinition Definition(const std::string& name) {
    v1::GetDefinitionRequest request;
    request.set_migration(name);
    const auto response = Call(server(), &Stub::GetDefinition, request);
    EXPECT_THAT(response, IsOk());
    return response.ok() ? response->definition() : v1::MigrationDefinition();
  }
};

TEST_F(CatalogTest, FilesThatDoNotSayHowTheyStartFollowTheServersDefault) {
  MakeCounter(300);
  MakeCounter(300, "other");
  ServerFixtureOptions options = Options();
  options.more_flags = {"--default-start", "MANUAL"};
  StartServer(options);
  Define("count_rows", CounterYaml({.interval = "0s"}));
  Define("count_other", CounterYaml({.interval = "0s"}, "other") + "start: AUTO\n");
  ASSERT_TRUE(WaitUntil([&] { return Known("count_rows") && Known("count_other"); }));
  ASSERT_TRUE(Reaches("count_other", v1::STATE_COMPLETED));
  ASSERT_TRUE(HeldBy("count_rows", v1::HOLD_KIND_NEEDS_START));
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter"), 0);

  v1::StartRequest start;
  start.set_migration("count_rows");
  ASSERT_THAT(Call(server(), &Stub::Start, start), IsOk());
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(300));
}

TEST_F(CatalogTest, AHalfWrittenFileCondemnsOnlyItselfAndIsTakenOnceItIsWhole) {
  MakeCounter(300);
  MakeCounter(300, "other");
  StartServer();
  const std::string whole = CounterYaml({.interval = "0s"});
  const std::string file = server().migrations() + "/20260101000000_count_rows.yaml";
  std::ofstream(file) << whole.substr(0, whole.find("{{batch}}") + 4);
  Define("count_other", CounterYaml({.interval = "0s"}, "other"));

  ASSERT_TRUE(WaitUntil([&] { return !ProblemOf("20260101000000_count_rows.yaml").empty(); }));
  ASSERT_TRUE(WaitUntil([&] { return Known("count_other"); }));
  ASSERT_TRUE(Reaches("count_other", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(300, "other"));
  EXPECT_FALSE(Known("count_rows"));
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter"), 0);

  std::ofstream(file) << whole;
  ASSERT_TRUE(WaitUntil([&] { return Known("count_rows"); }));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(300));
  EXPECT_TRUE(WaitUntil([&] { return ProblemOf("20260101000000_count_rows.yaml").empty(); }));
}

TEST_F(CatalogTest, OfTwoFilesWithOneNameTheLaterIsCondemnedNamingTheOther) {
  MakeCounter(300);
  MakeServer(Options());
  server().WriteDefinition("20260101000000_count_rows.yaml", CounterYaml({.interval = "0s"}));
  server().WriteDefinition("20260202000000_count_rows.yaml", CounterYaml({.interval = "0s"}));
  ASSERT_THAT(server().Start(), IsOk());
  ASSERT_TRUE(WaitUntil([&] { return !ProblemOf("20260202000000_count_rows.yaml").empty(); }));
  EXPECT_THAT(ProblemOf("20260202000000_count_rows.yaml"), HasSubstr("20260101000000_count_rows.yaml"));
  EXPECT_EQ(ProblemOf("20260101000000_count_rows.yaml"), "");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_EQ(Get("count_rows").version(), "20260101000000");
  EXPECT_TRUE(EachOnce(300));
}

TEST_F(CatalogTest, AChangeAppliesWhilePendingAndIsOnlyReportedAfterwards) {
  constexpr int kRows = 20000;
  MakeCounter(kRows);
  StartServer();
  Define("count_rows", absl::StrCat(CounterYaml({.batch_size = 20}), "start: MANUAL\n"));
  ASSERT_TRUE(WaitUntil([&] { return Known("count_rows"); }));
  ASSERT_TRUE(HeldBy("count_rows", v1::HOLD_KIND_NEEDS_START));
  EXPECT_EQ(Definition("count_rows").pace().batch_size(), 20);

  Define("count_rows", absl::StrCat(CounterYaml({.batch_size = 40}), "start: MANUAL\n"));
  ASSERT_TRUE(WaitUntil([&] { return Definition("count_rows").pace().batch_size() == 40; }));
  EXPECT_FALSE(Get("count_rows").definition_changed());
  EXPECT_EQ(Get("count_rows").batch_size(), 40);
  EXPECT_EQ(Get("count_rows").state(), v1::STATE_PENDING);

  const CommandResult started = Migrationctl({"start", "count_rows"});
  ASSERT_EQ(started.exit_status, 0) << started.err;
  ASSERT_TRUE(PassesRows("count_rows", 0));
  Define("count_rows",
         absl::StrCat("sql_batch:\n  table: counter\n  statement: UPDATE counter SET n = n + 1000 WHERE {{batch}}\n",
                      PaceYaml({}), "start: MANUAL\n"));
  ASSERT_TRUE(WaitUntil([&] { return Get("count_rows").definition_changed(); }));
  EXPECT_EQ(Definition("count_rows").pace().batch_size(), 40);
  Hurry("count_rows");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows)) << "a change was applied under way";

  // Back as it was: nothing to report.
  Define("count_rows", absl::StrCat(CounterYaml({.batch_size = 40}), "start: MANUAL\n"));
  EXPECT_TRUE(WaitUntil([&] { return !Get("count_rows").definition_changed(); }));
}

TEST_F(CatalogTest, AFileThatIsGoneKeepsItsMigration) {
  MakeCounter(20000);
  StartServer();
  Define("count_rows", CounterYaml({.interval = "30ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 0));
  std::remove((server().migrations() + "/20260101000000_count_rows.yaml").c_str());
  Sql control(control_url_);
  ASSERT_TRUE(WaitUntil(
      [&] { return control.True("SELECT catalog_missing FROM migrationd.migration WHERE name = 'count_rows'"); }));
  Hurry("count_rows");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(20000));
}

TEST_F(CatalogTest, ACanaryByRpcIsPausedOnceItsRowsAreDone) {
  MakeCounter(3000);
  ServerFixtureOptions options = Options();
  options.more_flags = {"--allow-inline-definitions"};
  StartServer(options);
  const std::string file = server().folder() + "/20260101000000_count_rows.yaml";
  std::ofstream(file) << CounterYaml({.interval = "0s"});
  const CommandResult enqueued = Migrationctl({"enqueue", "-f", file, "--start", "--pause-after", "250"});
  ASSERT_EQ(enqueued.exit_status, 0) << enqueued.err;
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_PAUSED));
  EXPECT_GE(RowsDone("count_rows"), 250);
  EXPECT_LT(RowsDone("count_rows"), 500);
  EXPECT_TRUE(NothingCommits("count_rows", absl::Milliseconds(500)));
  // Asked for again, it is there already and nothing starts.
  ASSERT_EQ(Migrationctl({"enqueue", "-f", file, "--start"}).exit_status, 0);
  EXPECT_EQ(Get("count_rows").state(), v1::STATE_PAUSED);
  ASSERT_THAT(Resume("count_rows"), IsOk());
  ASSERT_TRUE(WaitUntil([&] { return Get("count_rows").state() != v1::STATE_PAUSED; }));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(3000));
}

}  // namespace
}  // namespace migrationd
