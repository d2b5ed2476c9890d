// --dev: no database needed. The private PostgreSQL lives and dies with the process, and its data stays.
#include <csignal>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

// What a killed --dev leaves running is not left running by the test.
class DevFolder {
 public:
  ~DevFolder() {
    if (const pid_t pid = Postmaster(); pid > 0) {
      kill(pid, SIGQUIT);
      WaitUntil([pid] { return kill(pid, 0) != 0; }, absl::Seconds(30));
    }
  }
  std::string path() const { return folder_.path() + "/dev"; }
  std::string Url() const { return absl::StrCat("postgresql:///main?host=", path(), "&user=postgres"); }
  // Process id of a server that lives; 0 without one.
  pid_t Postmaster() const {
    pid_t pid = 0;
    std::ifstream(path() + "/data/postmaster.pid") >> pid;
    return pid > 0 && kill(pid, 0) == 0 ? pid : 0;
  }

 private:
  TempFolder folder_;
};

class DevTest : public ::testing::Test {
 protected:
  static ServerFixtureOptions Options(const DevFolder& folder) {
    ServerFixtureOptions options;
    options.program = MigrationdProgram();
    options.more_flags = {absl::StrCat("--dev=", folder.path())};
    return options;
  }
  static bool Completed(ServerFixture& server, const std::string& name) {
    v1::StatusRequest request;
    request.set_migration(name);
    const auto response = Call(server, &v1::MigrationControl::Stub::Status, request);
    return response.ok() && response->migration().state() == v1::STATE_COMPLETED;
  }
};

TEST_F(DevTest, ShowsNoPasswordOfATargetOfItsOwn) {
  DevFolder folder;
  ServerFixtureOptions options = Options(folder);
  options.more_flags.insert(options.more_flags.end(), {"--target", "main=postgresql://migr:s3cret@127.0.0.1:1/shop"});
  ServerFixture server(options);
  ASSERT_THAT(server.Start(), IsOk());
  EXPECT_THAT(server.Log(), ::testing::AllOf(::testing::HasSubstr("migr:***@127.0.0.1"), ::testing::Not(::testing::HasSubstr("s3cret"))));
}

TEST_F(DevTest, StartsServesAndTakesItsPostgresqlDownWithIt) {
  DevFolder folder;
  ServerFixture server(Options(folder));
  ASSERT_THAT(server.Start(), IsOk());
  ASSERT_GT(folder.Postmaster(), 0);
  {
    Sql sql(folder.Url());
    sql.Run(
        "CREATE TABLE counter (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO counter (id) SELECT "
        "generate_series(1, 500)");
  }
  server.WriteDefinition("20260101000000_count_rows.yaml", CounterYaml({.interval = "0s"}));
  ASSERT_TRUE(WaitUntil([&] { return Completed(server, "count_rows"); })) << server.Log();
  const auto exit_status = server.Stop(SIGTERM, absl::Seconds(15));
  ASSERT_THAT(exit_status, IsOk());
  EXPECT_EQ(*exit_status, 0) << server.Log();
  EXPECT_EQ(folder.Postmaster(), 0) << "PostgreSQL outlived the process";

  // Killed, it cannot stop anything; the next start finds what is there and goes on.
  ASSERT_THAT(server.Start(), IsOk());
  EXPECT_TRUE(Completed(server, "count_rows"));
  server.Kill();
  ASSERT_THAT(server.Start(), IsOk());
  EXPECT_TRUE(WaitUntil([&] { return Completed(server, "count_rows"); }));
  {
    Sql sql(folder.Url());
    EXPECT_EQ(sql.Number("SELECT count(*) FROM counter WHERE n = 1"), 500);
  }
  // A second one in the same folder leaves the first one's database alone.
  ServerFixture intruder(Options(folder));
  EXPECT_FALSE(intruder.Start().ok());
  EXPECT_TRUE(absl::StrContains(intruder.Log(), "is in use by another process")) << intruder.Log();
  EXPECT_TRUE(Completed(server, "count_rows"));
  const auto again = server.Stop(SIGINT, absl::Seconds(15));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(*again, 0) << server.Log();
  EXPECT_EQ(folder.Postmaster(), 0);
}

}  // namespace
}  // namespace migrationd
