// The connection: deadlines, errors as values, nothing of rows or passwords in messages.
#include "server/targets/postgres/connection.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "migrations/model/failure.h"
#include "server/targets/postgres/session_settings.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/pgbouncer.h"
#include "tests/targets/target_fixture.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::unique_ptr<Connection> Connect(const std::string& url) {
  auto connection = Connection::Open({.url = url});
  EXPECT_THAT(connection, IsOk());
  return connection.ok() ? *std::move(connection) : nullptr;
}

TEST(Connecting, ToNothingIsUnavailableWithoutSqlState) {
  const auto refused = Connection::Open({.url = "postgresql://u:hunter2@/db?host=/nowhere"});
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kUnavailable, Not(HasSubstr("hunter2"))));
  EXPECT_EQ(SqlStateOf(refused.status()), "");
}

TEST(Connecting, WithAMalformedUrlDoesNotShowIt) {
  for (const char* url :
       {"postgresql://u:hunter2@host:port:port/db", "hunter2", "postgres//u:hunter2@h", "host=x hunter2"}) {
    EXPECT_THAT(Connection::Open({.url = url}), StatusIs(absl::StatusCode::kUnavailable, Not(HasSubstr("hunter2"))))
        << url;
  }
}

TEST(Connecting, ShowsNoPartOfAPasswordThatLibpqTakesForSomethingElse) {
  for (const char* url : {"postgresql://u:hunter2/XyZ@h/db", "postgresql://u:a@hunter2@h/db",
                          "postgresql://u:p@h/db?sslmode=hunter2", "host=hunter2 port=1 connect_timeout=hunter2"}) {
    EXPECT_THAT(Connection::Open({.url = url}),
                StatusIs(absl::StatusCode::kUnavailable, AllOf(Not(HasSubstr("hunter2")), Not(HasSubstr("XyZ")), HasSubstr("cannot connect: "))))
        << url;
  }
}

TEST(Connecting, SaysWhatTheServerSays) {
  EXPECT_THAT(Connection::Open({.url = "postgresql:///db?host=/nowhere"}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("No such file or directory")));
}

// A server that accepts and never says a word.
class SilentServer {
 public:
  SilentServer() {
    char pattern[] = "/tmp/silent-XXXXXX";
    directory_ = mkdtemp(pattern);
    listener_ = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::snprintf(address.sun_path, sizeof(address.sun_path), "%s/.s.PGSQL.5432", directory_.c_str());
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(listener_, 4), 0);
  }
  ~SilentServer() {
    close(listener_);
    std::filesystem::remove_all(directory_);
  }
  std::string url() const { return absl::StrCat("postgresql:///db?user=u&host=", directory_); }

 private:
  std::string directory_;
  int listener_;
};

TEST(Connecting, ToASilentServerEndsAtTheDeadline) {
  const SilentServer server;
  const absl::Time begun = absl::Now();
  EXPECT_THAT(Connection::Open({.url = server.url(), .connect_timeout = absl::Milliseconds(200)}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("in time")));
  EXPECT_GE(absl::Now() - begun, absl::Milliseconds(150));
  EXPECT_LT(absl::Now() - begun, absl::Seconds(30));
}

TEST(Querying, ReportsSqlStateAndPrimaryMessageOnly) {
  const std::string url = FreshDatabase();
  auto connection = Connect(url);
  MD_ASSERT_OK(connection->Query("CREATE TABLE t (secret text PRIMARY KEY); INSERT INTO t VALUES ('hunter2')"));
  const auto duplicate = connection->Query("INSERT INTO t VALUES ($1)", {"hunter2"});
  EXPECT_EQ(SqlStateOf(duplicate.status()), "23505");
  EXPECT_THAT(duplicate, StatusIs(absl::StatusCode::kFailedPrecondition, Not(HasSubstr("hunter2"))));
  const auto wrong = connection->Query("SELECT secret::int FROM t", Parameters{});
  EXPECT_EQ(SqlStateOf(wrong.status()), "22P02");
  EXPECT_THAT(std::string(wrong.status().message()), Not(HasSubstr("hunter2")));
  MD_EXPECT_OK(connection->Query("SELECT 1"));
  EXPECT_FALSE(connection->broken());
}

TEST(Querying, WithParametersTakesOneStatementOnly) {
  auto connection = Connect(FreshDatabase());
  EXPECT_EQ(SqlStateOf(connection->Query("SELECT 1; SELECT 2", Parameters{}).status()), "42601");
  MD_ASSERT_OK_AND_ASSIGN(const QueryResult last, connection->Query("SELECT 1; SELECT 2"));
  EXPECT_EQ(last.integer(0, 0), 2);
}

TEST(Querying, AnErrorAtCommitIsAnErrorOfTheMessage) {
  auto connection = Connect(FreshDatabase());
  MD_ASSERT_OK(connection->Query(
      "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int REFERENCES p DEFERRABLE INITIALLY DEFERRED)"));
  EXPECT_EQ(SqlStateOf(connection->Query("INSERT INTO c VALUES ($1)", {"1"}).status()), "23503");
}

TEST(Querying, EndsAtTheDeadlineAndGivesTheConnectionUp) {
  auto connection = Connect(FreshDatabase());
  connection->SetQueryTimeout(absl::Milliseconds(100));
  const auto late = connection->Query("SELECT pg_sleep(60)");
  EXPECT_EQ(SqlStateOf(late.status()), "");
  EXPECT_EQ(late.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(connection->broken());
}

TEST(Querying, OnATerminatedConnectionIsUnavailableWithoutSqlState) {
  const std::string url = FreshDatabase();
  auto connection = Connect(url);
  Sql(url, absl::StrCat("SELECT pg_terminate_backend(", connection->backend_pid(), ")"));
  const auto lost = connection->Query("SELECT 1");
  EXPECT_EQ(lost.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(SqlStateOf(lost.status()), "");
  EXPECT_TRUE(connection->broken());
}

TEST(Querying, CopyGivesTheConnectionUpInsteadOfWaiting) {
  auto connection = Connect(FreshDatabase());
  EXPECT_FALSE(connection->Query("COPY (SELECT 1) TO STDOUT").ok());
  EXPECT_TRUE(connection->broken());
}

TEST(Querying, LargeMessagesBothWaysDoNotStandStill) {
  auto connection = Connect(FreshDatabase());
  const std::string large(8'000'000, 'x');
  MD_ASSERT_OK_AND_ASSIGN(const QueryResult back, connection->Query("SELECT $1::text || 'y'", {large}));
  EXPECT_EQ(back.text(0, 0).size(), large.size() + 1);
}

TEST(Parsing, TellsWhereTheErrorIsAndRunsNothing) {
  auto connection = Connect(FreshDatabase());
  MD_ASSERT_OK(connection->Query("CREATE TABLE t (id int)"));
  MD_EXPECT_OK(connection->Parse("INSERT INTO t VALUES ($1)", {}));
  const absl::Status wrong = connection->Parse("INSERT INTO t VALUES (1) WHAT", {});
  EXPECT_THAT(std::string(wrong.message()), HasSubstr("at character 26"));
  EXPECT_EQ(SqlStateOf(connection->Parse("", {})), "");
  MD_ASSERT_OK_AND_ASSIGN(const QueryResult count, connection->Query("SELECT count(*) FROM t"));
  EXPECT_EQ(count.integer(0, 0), 0);
}

TEST(Stopping, EndsTheQueryAtOnceAndSoonItsBackendAndNothingElse) {
  const std::string url = FreshDatabase();
  std::stop_source stop;
  ConnectOptions options;
  options.url = url;
  options.stop = stop.get_token();
  MD_ASSERT_OK_AND_ASSIGN(auto connection, Connection::Open(options));
  MD_ASSERT_OK(connection->Query("SET client_connection_check_interval = 100"));
  auto bystander = Connect(url);
  absl::Status ended;
  std::thread query([&] { ended = connection->Query("SELECT pg_sleep(60)").status(); });
  ASSERT_TRUE(WaitForTrue(
      url,
      "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database())"));
  stop.request_stop();
  query.join();
  EXPECT_EQ(ended.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(SqlStateOf(ended), "");
  EXPECT_TRUE(connection->broken());
  connection.reset();
  EXPECT_TRUE(WaitForTrue(
      url,
      "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database())"));
  MD_EXPECT_OK(bystander->Query("SELECT 1"));
}

TEST(Stopping, RequestedBeforeMakesNoConnection) {
  std::stop_source stop;
  stop.request_stop();
  ConnectOptions options;
  options.url = FreshDatabase();
  options.stop = stop.get_token();
  const auto connection = Connection::Open(options);
  EXPECT_EQ(connection.status().code(), absl::StatusCode::kUnavailable);
}

TEST(Pooler, IsNoticed) {
  const std::string url = FreshDatabase();
  EXPECT_FALSE(Connect(url)->pooled());
  if (!PgBouncer::Installed()) GTEST_SKIP() << "no PgBouncer installed";
  EXPECT_TRUE(Connect(SharedPgBouncer().UrlFor(url))->pooled());
}

TEST(RowValues, AreTakenOutOfDataExceptions) {
  EXPECT_EQ(WithoutRowValues("22P02", "invalid input syntax for type integer: \"hunter2\""),
            "invalid input syntax for type integer: \"...\"");
  EXPECT_EQ(WithoutRowValues("22003", "value \"1\" is out of range for type integer"),
            "value \"...\" is out of range for type integer");
  EXPECT_EQ(WithoutRowValues("22P02", "unfinished \"hunter2"), "unfinished \"...\"");
  EXPECT_EQ(WithoutRowValues("22P02", R"(invalid input syntax for type integer: "{"name":"Bob"}" here)"),
            "invalid input syntax for type integer: \"...\" here");
  EXPECT_EQ(WithoutRowValues("22P02", "ungültige Eingabesyntax für Typ integer: »hunter2«"),
            "ungültige Eingabesyntax für Typ integer: \"...\"");
  EXPECT_EQ(WithoutRowValues("22012", "division by zero"), "division by zero");
  EXPECT_EQ(WithoutRowValues("42P01", "relation \"t\" does not exist"), "relation \"t\" does not exist");
}

TEST(ApplicationNames, AreCutToWhatPostgresKeeps) {
  const FenceClaim claim{std::string(63, 'm'), 12345, "0123456789abcdef"};
  EXPECT_EQ(ApplicationName(claim).size(), 63u);
  EXPECT_THAT(ApplicationName(claim), ::testing::StartsWith("migrationd/01234567/12345/mmm"));
  EXPECT_EQ(ApplicationNamePrefix(claim), "migrationd/01234567/12345/");
}

TEST(Deadlines, OfStatementsWithoutLimitAreNone) {
  EXPECT_EQ(AnswerDeadline(absl::ZeroDuration()), absl::InfiniteDuration());
  EXPECT_GT(AnswerDeadline(absl::Seconds(5)), absl::Seconds(5));
  auto connection = Connect(FreshDatabase());
  connection->SetQueryTimeout(absl::InfiniteDuration());
  MD_EXPECT_OK(connection->Query("SELECT 1"));
}

}  // namespace
}  // namespace migrationd
