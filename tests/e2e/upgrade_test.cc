// This release and the next on the same databases: upgraded under a running server, rolled back, contracted. The next release is played by
// this program's stores with the next release's steps.
#include "absl/strings/str_cat.h"
#include "server/targets/postgres/postgres_target.h"
#include "server/targets/postgres/schema_sql.h"
#include "store/postgres/postgres_control_store.h"
#include "store/postgres/schema.h"
#include "tests/e2e/end_to_end.h"
#include "tests/support/next_schema.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

class Upgrade : public EndToEnd {
 protected:
  std::unique_ptr<PostgresControlStore> NextStore() {
    auto store = PostgresControlStore::Create({.url = [url = control_url_] { return url; },
                                               .application_name = "migrationd upgrade",
                                               .schema_steps = &NextControlSchemaSteps()});
    EXPECT_THAT(store, IsOk());
    return *std::move(store);
  }
  PostgresTarget NextTarget() {
    return PostgresTarget({.name = "main", .url = [url = target_url_] { return url; }, .schema_steps = &NextTargetSchemaSteps()});
  }
  CommandResult MigrationdUpgrade(const std::vector<std::string>& more = {}) {
    std::vector<std::string> command = {MigrationdProgram(), "upgrade", "--control-url", control_url_, "--target", "main=" + target_url_};
    command.insert(command.end(), more.begin(), more.end());
    const auto result = RunCommand(command);
    EXPECT_THAT(result, IsOk());
    return result.value_or(CommandResult{});
  }
};

TEST_F(Upgrade, GoesOnUnderARunningMigrationAndIsRolledBackWithoutARowDoneTwice) {
  constexpr int kRows = 20000;
  MakeCounter(kRows);
  StartServer();
  Define("count_rows", CounterYaml({.interval = "30ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 100));

  // The next release starts beside this one ...
  const auto next = NextStore();
  ASSERT_THAT(next->Upgrade(), IsOk());
  ASSERT_THAT(NextTarget().Open(true), IsOk());
  const std::int64_t rows = RowsDone("count_rows");
  ASSERT_LT(rows, kRows);
  ASSERT_TRUE(PassesRows("count_rows", rows + 100)) << "this release works on with the next one's schemas";

  // ... and is rolled back: this release starts again, knowing less than the schemas.
  server().Kill();
  ASSERT_THAT(server().Start(), IsOk());
  Hurry("count_rows");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));

  // What this release needs is not taken away from under it.
  const absl::Status refused = next->UpgradeAndContract();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kFailedPrecondition,
                                HasSubstr(absl::StrCat("migrationd control schema ", ControlSchemaSteps().program_version()))));
  EXPECT_THAT(refused.message(), HasSubstr("Upgrade or stop them first"));
}

TEST_F(Upgrade, ToANarrowerSchemaKeepsThisReleaseFromServingAndSaysWhy) {
  MakeServer(Options());
  EXPECT_EQ(MigrationdUpgrade().exit_status, 0);
  ASSERT_THAT(NextStore()->UpgradeAndContract(), IsOk());

  ASSERT_THAT(server().Launch(), IsOk());
  const std::string versions = absl::StrCat("needs a program that knows version ", NextControlSchemaSteps().program_version(),
                                            " at least; this program knows version ", ControlSchemaSteps().program_version());
  EXPECT_TRUE(WaitUntil([&] { return server().Log().find(versions) != std::string::npos; })) << server().Log();
  EXPECT_NE(server().Health(), "SERVING");
  EXPECT_TRUE(server().Running()) << "it waits, for whoever upgrades the program";
  const CommandResult upgrade = MigrationdUpgrade();
  EXPECT_EQ(upgrade.exit_status, 1);
  EXPECT_THAT(upgrade.err, HasSubstr(versions));
}

TEST_F(Upgrade, ContractMayBeRunAnyTimeAndNamesEachTarget) {
  const CommandResult first = MigrationdUpgrade({"--contract"});
  EXPECT_EQ(first.exit_status, 0) << first.err;
  EXPECT_THAT(first.out, HasSubstr("The schema of the control store is up to date."));
  EXPECT_THAT(first.out, HasSubstr("Target main: there is no schema migration_control yet."));
  MakeCounter(10);
  StartServer();
  Define("count_rows", CounterYaml());
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  // The server runs: it is of this release, so nothing of its is due to be taken away.
  const CommandResult second = MigrationdUpgrade({"--contract", "--target", "gone=postgresql://127.0.0.1:1/nowhere"});
  EXPECT_EQ(second.exit_status, 1);
  EXPECT_THAT(second.out, HasSubstr("Target main: its schema is up to date."));
  EXPECT_THAT(second.err, HasSubstr("migrationd upgrade: target gone: "));
}

// What somebody dropped or is about to restore must not come back empty, under another identity, by itself.
TEST_F(Upgrade, IsNotMadeAnewUnderARunningServerWhoseSchemaIsGone) {
  StartServer();
  Sql control(control_url_);
  control.Run("DROP SCHEMA migrationd CASCADE");
  EXPECT_TRUE(WaitUntil([&] { return server().Log().find("has schema version 0") != std::string::npos; })) << server().Log();
  EXPECT_NE(server().Health(), "SERVING");
  EXPECT_EQ(control.Number("SELECT count(*) FROM pg_namespace WHERE nspname = 'migrationd'"), 0);
}

}  // namespace
}  // namespace migrationd
