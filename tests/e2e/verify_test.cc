// plan and verify with the real programs: a rehearsal keeps nothing, and what regressed is found and migrated once.
#include <csignal>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kRows = 3000;

class VerifyTest : public EndToEnd {
 protected:
  void MakeTable() {
    target().Run(absl::StrCat("CREATE TABLE fill (id bigint PRIMARY KEY, n int, times int NOT NULL DEFAULT 0); "
                              "INSERT INTO fill (id) SELECT i FROM generate_series(1, ", kRows, ") i; ANALYZE fill"));
  }
  static std::string Yaml(const std::string& statement = "UPDATE fill SET n = 1, times = times + 1 WHERE {{batch}}") {
    return absl::StrCat("sql_batch:\n  table: public.fill\n  where: fill.n IS NULL\n  statement: ", statement,
                        "\npace: {batch_size: 500, interval: 0s}\norder: INDEPENDENT\n");
  }
  std::string WriteFile(const std::string& yaml) {
    const std::string path = ::testing::TempDir() + "/20260101000000_fill_n.yaml";
    std::ofstream(path) << yaml;
    return path;
  }
  std::string Rows() { return target().Text("SELECT md5(string_agg(fill::text || ctid::text, ',' ORDER BY id)) FROM fill"); }
};

TEST_F(VerifyTest, APlanShowsWhatWouldBeDoneAndKeepsNothing) {
  MakeTable();
  ServerFixtureOptions options = Options();
  options.more_flags = {"--allow-inline-definitions"};
  StartServer(options);
  const std::string before = absl::StrCat(Rows(), target().Fingerprint());
  const CommandResult planned = Migrationctl({"plan", WriteFile(Yaml())});
  EXPECT_EQ(planned.exit_status, 0) << planned.err;
  EXPECT_THAT(planned.out, HasSubstr("main/fill_n: can be run\n"));
  EXPECT_THAT(planned.out, HasSubstr("3,000 to do, counted; about 3,000 in the table"));
  EXPECT_THAT(planned.out, HasSubstr("by index fill_pkey"));
  EXPECT_THAT(planned.out, HasSubstr("100 rows, 100 match `where`, 100 changed in "));
  EXPECT_THAT(planned.out, HasSubstr("Update on fill"));
  EXPECT_EQ(absl::StrCat(Rows(), target().Fingerprint()), before) << "a schema, or a row";
  EXPECT_THAT(Migrationctl({"list"}).out, Not(HasSubstr("fill_n"))) << "nothing is registered";

  const CommandResult wrong = Migrationctl({"plan", WriteFile(Yaml("UPDATE fill SET times = times + 1 WHERE {{batch}}"))});
  EXPECT_EQ(wrong.exit_status, 1);
  EXPECT_THAT(wrong.out, HasSubstr("ERROR    WHERE_NOT_SATISFIED"));
  EXPECT_THAT(wrong.err, HasSubstr("will not run like this"));
  EXPECT_EQ(absl::StrCat(Rows(), target().Fingerprint()), before);
}

TEST_F(VerifyTest, WhatRegressedIsFoundAndMigratedOnce) {
  MakeTable();
  StartServer();
  EXPECT_EQ(Migrationctl({"verify", "fill_n"}).exit_status, 3);
  Define("fill_n", Yaml());
  ASSERT_TRUE(Reaches("fill_n", v1::STATE_COMPLETED));
  EXPECT_EQ(Get("fill_n").progress().rows_estimated(), kRows);
  EXPECT_EQ(Get("fill_n").progress().estimate_method(), "COUNT");
  CommandResult verified = Migrationctl({"verify", "fill_n", "--wait"});
  EXPECT_EQ(verified.exit_status, 0) << verified.err;
  EXPECT_THAT(verified.out, HasSubstr("no row matches"));

  target().Run("UPDATE fill SET n = NULL WHERE id % 1000 = 0");
  const std::string before = Rows();
  const std::int64_t epoch = target().Number("SELECT epoch FROM migration_control.owner");
  verified = Migrationctl({"verify", "fill_n", "--wait", "--reason", "after the import"});
  EXPECT_EQ(verified.exit_status, 1);
  EXPECT_THAT(verified.err, HasSubstr("3 rows match `where` again"));
  EXPECT_EQ(Rows(), before);
  EXPECT_EQ(target().Number("SELECT epoch FROM migration_control.owner"), epoch) << "no fence was taken";
  const v1::Migration regressed = Get("fill_n");
  EXPECT_EQ(regressed.state(), v1::STATE_COMPLETED);
  EXPECT_EQ(regressed.regressed_rows(), 3);
  EXPECT_EQ(regressed.verification().fraction(), 1);
  EXPECT_THAT(regressed.hint(), HasSubstr("migrationctl retry"));
  EXPECT_THAT(Migrationctl({"events", "fill_n"}).out, HasSubstr("3 rows regressed"));

  ASSERT_THAT(Retry("fill_n"), IsOk());
  ASSERT_TRUE(WaitUntil([&] { return Get("fill_n").state() == v1::STATE_COMPLETED && Get("fill_n").regressed_rows() == 0; }));
  EXPECT_EQ(target().Number("SELECT count(*) FROM fill WHERE n IS NULL"), 0);
  EXPECT_EQ(target().Number("SELECT count(*) FROM fill WHERE times <> CASE WHEN id % 1000 = 0 THEN 2 ELSE 1 END"), 0);
}

TEST_F(VerifyTest, AVerificationSurvivesARestart) {
  MakeTable();
  StartServer();
  Define("fill_n", absl::StrCat(Yaml(), "statement_timeout: 60s\n"));
  ASSERT_TRUE(Reaches("fill_n", v1::STATE_COMPLETED));
  target().Run("UPDATE fill SET n = NULL WHERE id = 2500");
  // Nobody can read the table for now: the verification waits for the lock, and is tried again.
  target().Run("BEGIN; LOCK TABLE fill IN ACCESS EXCLUSIVE MODE");
  ASSERT_EQ(Migrationctl({"verify", "fill_n"}).exit_status, 0);
  ASSERT_TRUE(WaitUntil([&] { return Get("fill_n").hold().kind() == v1::HOLD_KIND_BACKOFF; }));
  ASSERT_THAT(server().Stop(SIGTERM), IsOk());
  target().Run("ROLLBACK");
  ASSERT_THAT(server().Start(), IsOk());
  ASSERT_TRUE(WaitUntil([&] { return Get("fill_n").verification().has_finished_at(); }));
  EXPECT_EQ(Get("fill_n").regressed_rows(), 1);
}

}  // namespace
}  // namespace migrationd
