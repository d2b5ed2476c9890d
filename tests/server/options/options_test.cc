#include "server/options/options.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

using Environment = std::map<std::string, std::string>;

absl::StatusOr<ParsedOptions> Parse(std::vector<std::string> arguments, const Environment& environment = {}) {
  arguments.insert(arguments.begin(), "migrationd");
  std::vector<const char*> argv;
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  return ParseOptions(static_cast<int>(argv.size()), argv.data(), environment);
}

// A configuration file for one test.
class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text) {
    char pattern[] = "/tmp/migrationd-options-XXXXXX";
    const int fd = mkstemp(pattern);
    close(fd);
    path_ = pattern;
    std::ofstream(path_) << text;
  }
  ~ConfigFile() { std::remove(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(Options, NeedsAStoreAndATargetUnlessDev) {
  EXPECT_THAT(Parse({}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no control store")));
  EXPECT_THAT(Parse({"--control-url", "postgresql:///c"}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no target")));
  MD_ASSERT_OK_AND_ASSIGN(const ParsedOptions dev, Parse({"--dev"}));
  EXPECT_TRUE(dev.options.dev);
  EXPECT_TRUE(dev.options.allow_inline_definitions);
}

TEST(Options, TakesTheFolderOfDev) {
  MD_ASSERT_OK_AND_ASSIGN(const ParsedOptions parsed, Parse({"--dev=/tmp/x", "--migrations", "a", "--migrations", "b"}));
  EXPECT_EQ(parsed.options.dev_directory, "/tmp/x");
  EXPECT_EQ(parsed.options.migrations, (std::vector<std::string>{"a", "b"}));
}

TEST(Options, DevWithoutFolderDoesNotEatTheNextOption) {
  MD_ASSERT_OK_AND_ASSIGN(const ParsedOptions parsed, Parse({"--dev", "--listen", "127.0.0.1:1"}));
  EXPECT_TRUE(parsed.options.dev);
  EXPECT_EQ(parsed.options.dev_directory, "");
  EXPECT_EQ(parsed.options.listen, "127.0.0.1:1");
}

TEST(Options, FlagOutranksEnvironmentOutranksFile) {
  const ConfigFile file("lease_ttl: 10s\nworkers: 3\nlisten: 127.0.0.1:7\n");
  const Environment environment = {{"MIGRATIOND_LEASE_TTL", "20s"}, {"MIGRATIOND_WORKERS", "4"}};
  MD_ASSERT_OK_AND_ASSIGN(const ParsedOptions parsed, Parse({"--dev", "--config", file.path(), "--lease-ttl", "30s"}, environment));
  EXPECT_EQ(parsed.options.lease_ttl, absl::Seconds(30));
  EXPECT_EQ(parsed.options.workers, 4);
  EXPECT_EQ(parsed.options.listen, "127.0.0.1:7");
}

TEST(Options, ReadsTargetsFromAllThreePlaces) {
  const ConfigFile file("control_url: postgresql:///c\ntargets:\n  a: postgresql:///a\n  b: {url_file: /f, search_path: [app, public]}\n");
  MD_ASSERT_OK_AND_ASSIGN(const ParsedOptions parsed, Parse({"--config", file.path(), "--target", "c=@/secrets/c"},
                                                           {{"MIGRATIOND_TARGET_D", "postgresql:///d"}}));
  const auto& targets = parsed.options.targets;
  EXPECT_EQ(targets.size(), 4u);
  EXPECT_EQ(targets.at("b").url_file, "/f");
  EXPECT_EQ(targets.at("b").search_path, (std::vector<std::string>{"app", "public"}));
  EXPECT_EQ(targets.at("c").url_file, "/secrets/c");
  EXPECT_EQ(targets.at("d").url, "postgresql:///d");
}

TEST(Options, ATargetOfTheFileMayHaveItsUrlElsewhere) {
  const ConfigFile file("control_url: postgresql:///c\ntargets:\n  main: {health: {limits: {replica_lag: 7s}}}\n");
  EXPECT_THAT(Parse({"--config", file.path()}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("targets.main: it has no URL")));
  MD_ASSERT_OK_AND_ASSIGN(const ParsedOptions parsed, Parse({"--config", file.path()}, {{"MIGRATIOND_TARGET_MAIN", "@/secret/main"}}));
  EXPECT_EQ(parsed.options.targets.at("main").url_file, "/secret/main");
  EXPECT_EQ(parsed.options.targets.at("main").health.LimitOf(Signal::kReplicaLag), 7);
  MD_EXPECT_OK(Parse({"--config", file.path(), "--dev"}).status());
}

TEST(Options, RefusesEachBadValueNamingItsPlace) {
  struct Row {
    std::vector<std::string> flags;
    std::string message;
  };
  const std::vector<Row> rows = {
      {{"--lease-ttl", "500ms"}, "--lease-ttl: \"500ms\" is not valid; expected a duration from 1s to 5m"},
      {{"--lease-ttl", "6m"}, "from 1s to 5m"},
      {{"--lease-ttl", "soon"}, "--lease-ttl"},
      {{"--workers", "0"}, "--workers: \"0\" is not valid; expected a whole number from 1 to 256"},
      {{"--workers", "x"}, "--workers"},
      {{"--listen", "nowhere"}, "HOST:PORT"},
      {{"--target", "main"}, "--target: expected NAME=URL"},
      {{"--target", "Main=postgresql:///x"}, "a target name"},
      {{"--target", "main=mysql://x"}, "a PostgreSQL URL is expected"},
      {{"--control-url", "http://x"}, "--control-url: a PostgreSQL URL"},
      {{"--default-start", "LATER"}, "AUTO or MANUAL"},
      {{"--anonymous-role", "root"}, "none, viewer, operator or admin"},
      {{"--log-level", "loud"}, "debug, info, warning or error"},
      {{"--log-format", "xml"}, "json or text"},
      {{"--tls-cert", "x"}, "--tls-cert and --tls-key belong together"},
      {{"--tls-client-ca", "x"}, "--tls-client-ca needs"},
      {{"--http-listen", "nowhere"}, "--http-listen: \"nowhere\" is not valid"},
      {{"--max-running-per-target", "65"}, "from 1 to 64"},
      {{"--control-url", "postgresql:///a", "--control-url-file", "f"}, "exclude each other"},
  };
  for (const Row& row : rows) {
    std::vector<std::string> flags = row.flags;
    flags.push_back("--dev");
    EXPECT_THAT(Parse(flags), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(row.message))) << row.flags[0] << " " << row.flags[1];
  }
}

TEST(Options, RefusesEachBadFileNamingLineAndColumn) {
  struct Row {
    std::string text;
    std::string message;
  };
  const std::vector<Row> rows = {
      {"listen: 127.0.0.1:1\nlizten: x\n", ":2:1: lizten: is not an option"},
      {"workers: 1\nworkers: 2\n", ":2:1: workers: stands here a second time"},
      {"workers: [1, 2]\n", ":1:1: workers: expected one value"},
      {"workers: many\n", ":1:1: workers: \"many\" is not valid"},
      {"targets: x\n", ":1:1: targets: expected a map"},
      {"targets:\n  main: {uri: x}\n", ":2:10: targets.main.uri: is not known"},
      {"targets:\n  main: mysql://x\n", ":2:9: targets.main: a PostgreSQL URL"},
      {"- a\n", ":1:1: expected a map"},
      {"a: [\n", ":"},
  };
  for (const Row& row : rows) {
    const ConfigFile file(row.text);
    EXPECT_THAT(Parse({"--dev", "--config", file.path()}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(row.message))) << row.text;
  }
  EXPECT_THAT(Parse({"--dev", "--config", "/nonexistent"}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cannot be read")));
}

TEST(Options, NeverRepeatsAUrlThatMayHoldAPassword) {
  const auto refused = Parse({"--dev", "--control-url", "http://u:secret@h/x"});
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kInvalidArgument, Not(HasSubstr("secret"))));
  MD_ASSERT_OK_AND_ASSIGN(const ParsedOptions parsed, Parse({"--control-url", "postgresql://u:secret@h/x", "--target",
                                                            "main=postgresql://h/y?user=u&password=secret2&x=1", "--print-config"}));
  EXPECT_EQ(parsed.command, Command::kPrintConfig);
  EXPECT_THAT(PrintConfig(parsed.options), AllOf(Not(HasSubstr("secret")), HasSubstr("***"), HasSubstr("postgresql://u:")));
}

TEST(Options, RefusesAUrlWhosePasswordLibpqWouldReadAsSomethingElse) {
  for (const char* url : {"postgresql://migr:s3cret/XyZ@db1/shop", "postgresql://migr:s3cret@XyZ@db1/shop", "postgresql://migr:s3cret",
                          "postgresql://migr:s3cret@db1:port/shop", "postgresql://migr:s3cret#x@db1:5432x/shop",
                          "postgresql://migr:s3cret@db1:65536/shop", "postgresql://migr:s3cret@db1:0/shop",
                          "postgresql://migr:s3cret@[::1/shop", "postgresql://migr:s3cret@d b/shop", "postgresql://migr:s3cret@db1/sh@op"}) {
    for (const char* flag : {"--control-url", "--target"}) {
      const std::string text = flag == std::string("--target") ? absl::StrCat("main=", url) : url;
      EXPECT_THAT(Parse({"--dev", flag, text}),
                  StatusIs(absl::StatusCode::kInvalidArgument,
                           AllOf(HasSubstr("percent-encoded"), HasSubstr(flag), Not(HasSubstr("s3cret")), Not(HasSubstr("XyZ")))))
          << url;
    }
  }
  for (const char* url : {"postgresql:///shop", "postgres://db1", "postgresql://u@db1/shop", 
                          "postgresql://u:p%2Fw%40@db1:5432/shop?sslmode=require", "postgresql://u:p?w#x@db1/shop",
                          "postgresql://u:p:w@db1:5432,db2:5433,[fd00::1]:5434/shop", "postgresql://u@%2Frun%2Fpostgresql/shop", "postgresql://u@/shop?host=/run/x&user=a@b",
                          "postgresql://u:p@db1:/shop"}) {
    EXPECT_THAT(Parse({"--dev", "--control-url", url}), IsOk()) << url;
  }
}

TEST(Options, AnonymousCallersAreViewersOffLoopbackUnlessSaidOtherwise) {
  EXPECT_EQ(Parse({"--dev"})->options.anonymous_role, Role::kAdmin);
  EXPECT_EQ(Parse({"--dev", "--listen", "0.0.0.0:1"})->options.anonymous_role, Role::kViewer);
  EXPECT_EQ(Parse({"--dev", "--listen", "0.0.0.0:1", "--anonymous-role", "operator"})->options.anonymous_role, Role::kOperator);
  EXPECT_EQ(Parse({"--dev", "--listen", "unix:/tmp/s"})->options.anonymous_role, Role::kAdmin);
}

TEST(Options, KnowsItsCommands) {
  EXPECT_EQ(Parse({"--dev"})->command, Command::kServe);
  EXPECT_EQ(Parse({"--dev", "--check-config"})->command, Command::kCheckConfig);
  EXPECT_EQ(Parse({"upgrade", "--dev"})->command, Command::kUpgrade);
  EXPECT_FALSE(Parse({"upgrade", "--dev"})->contract);
  EXPECT_TRUE(Parse({"upgrade", "--contract", "--control-url", "postgresql://c/d"})->contract) << "the schema of the control store needs no target";
  testing::internal::CaptureStdout();
  const auto help = Parse({"--help"});
  const std::string text = testing::internal::GetCapturedStdout();
  EXPECT_EQ(help->exit_status, 0);
  EXPECT_THAT(text, AllOf(HasSubstr("--lease-ttl"), HasSubstr("Example:"), HasSubstr("MIGRATIOND_LISTEN")));
  testing::internal::CaptureStderr();
  EXPECT_EQ(Parse({"--nonsense"})->exit_status, 2);
  testing::internal::GetCapturedStderr();
}

TEST(RedactUrl, ShowsNoPasswordInWhateverFormAndSaysLessWhenInDoubt) {
  for (const auto& [url, shown] : std::vector<std::pair<std::string, std::string>>{
           {"postgresql://u:s3cret@h:5432/x", "postgresql://u:***@h:5432/x"},
           {"postgresql://u:s3/cret@h/x", "postgresql://u:***@h/x"},
           {"postgresql://u:s3@cret@h/x", "postgresql://u:***@h/x"},
           {"postgresql://u:s3:cret@h,h2:1/x", "postgresql://u:***@h,h2:1/x"},
           {"postgresql://u:s3cret@[::1]:5432/x?sslmode=require", "postgresql://u:***@[::1]:5432/x?sslmode=require"},
           {"postgresql://u:s3?cret@h/x", "postgresql://***"},
           {"postgresql://u:s3cret@", "postgresql://u:***@"},
           {"postgresql://u:s3cret", "postgresql://***"},
           {"postgresql://u:s3cret/x", "postgresql://***"},
           {"postgresql://u:s3cret@h:s3cret/x", "postgresql://***"},
           {"postgresql://u:1@h/s3cret:x", "postgresql://***"},
           {"postgresql://h/x?user=u&password=s3cret&sslmode=require", "postgresql://h/x?user=u&password=***&sslmode=require"},
           {"postgresql://h/x?password=s3&cret&sslmode=require", "postgresql://h/x?password=***&***&sslmode=require"},
           {"postgresql://h/x?p%61ssword=s3cret", "postgresql://h/x?***"},
           {"postgresql://h/x?PASSWORD=s3cret&sslpassword=s3cret", "postgresql://h/x?***&sslpassword=***"},
           {"postgresql://h/x?password=s3@cret", "postgresql://***"},
           {"postgresql://h/x?password=s3?cret", "postgresql://h/x?password=***"},
           {"postgresql:///main?host=/run/x&user=postgres", "postgresql:///main?host=/run/x&user=postgres"},
           {"host=h password=s3cret user=u", "host=h password=*** user=u"},
           {"host=h password='s3 cret' user=u", "host=h password=*** user=u"},
           {"host=h password = 's3\\' cret' user=u", "host=h password=*** user=u"},
           {"host=h password='s3cret", "***"},
           {"host=h password=s3\\ cret user=u", "host=h password=*** user=u"},
           {"host=h pass=s3cret", "host=h ***"},
           {"dbname=postgresql://u:s3cret@h/x", "dbname=***"},
           {"s3cret", "***"},
           {"s3cret://x", "***"},
           {"", ""}}) {
    EXPECT_EQ(RedactUrl(url), shown) << url;
    EXPECT_THAT(RedactUrl(url), AllOf(Not(HasSubstr("s3")), Not(HasSubstr("cret")))) << url;
  }
}

TEST(PrintConfig, IsReadBackAsTheSame) {
  MD_ASSERT_OK_AND_ASSIGN(const ParsedOptions parsed,
                          Parse({"--control-url", "postgresql:///c", "--target", "main=postgresql:///m", "--workers", "5",
                                 "--default-start", "MANUAL", "--migrations", "x"}));
  const ConfigFile file(PrintConfig(parsed.options));
  MD_ASSERT_OK_AND_ASSIGN(const ParsedOptions again, Parse({"--config", file.path()}));
  EXPECT_EQ(PrintConfig(again.options), PrintConfig(parsed.options));
}

TEST(HealthOptions, AreReadForEachTarget) {
  const ConfigFile file(
      "control_url: postgresql:///c\n"
      "targets:\n"
      "  main:\n"
      "    url: postgresql:///m\n"
      "    health:\n"
      "      interval: 250ms\n"
      "      minimum_hold: 0s\n"
      "      yield_after: off\n"
      "      replicas: [standby1, standby2]\n"
      "      ignore_replicas: [delayed]\n"
      "      limits: {replica_lag: 10s, replica_lag_bytes: 1GiB, archive_backlog: off, vacuum_debt: 3.5, wal_rate: 50MiB}\n"
      "  other: postgresql:///o\n");
  MD_ASSERT_OK_AND_ASSIGN(const ParsedOptions parsed, Parse({"--config", file.path(), "--target", "main=postgresql:///elsewhere"}));
  const HealthLimits& health = parsed.options.targets.at("main").health;
  EXPECT_EQ(health.interval, absl::Milliseconds(250));
  EXPECT_EQ(health.minimum_hold, absl::ZeroDuration());
  EXPECT_EQ(health.yield_after, absl::ZeroDuration());
  EXPECT_EQ(health.replicas, (std::vector<std::string>{"standby1", "standby2"}));
  EXPECT_EQ(health.ignored_replicas, (std::vector<std::string>{"delayed"}));
  EXPECT_EQ(health.LimitOf(Signal::kReplicaLag), 10);
  EXPECT_EQ(health.LimitOf(Signal::kReplicaLagBytes), 1024.0 * 1024 * 1024);
  EXPECT_EQ(health.LimitOf(Signal::kArchiveBacklog), std::nullopt);
  EXPECT_EQ(health.LimitOf(Signal::kVacuumDebt), 3.5);
  EXPECT_EQ(health.LimitOf(Signal::kWalRate), 50.0 * 1024 * 1024);
  EXPECT_EQ(health.LimitOf(Signal::kXidAge), 1.5) << "the default";
  EXPECT_TRUE(health.Explicit(Signal::kReplicaLag));
  EXPECT_FALSE(health.Explicit(Signal::kArchiveBacklog));
  EXPECT_EQ(parsed.options.targets.at("main").url, "postgresql:///elsewhere") << "a flag changes the URL alone";
  EXPECT_EQ(parsed.options.targets.at("other").health.interval, absl::Seconds(1));

  // What is printed can be read again, and says the same.
  const std::string printed = PrintConfig(parsed.options);
  EXPECT_THAT(printed, AllOf(HasSubstr("replica_lag: 10s"), HasSubstr("replica_lag_bytes: 1GiB"), HasSubstr("archive_backlog: off"),
                             HasSubstr("slot_retention: 10GiB"), HasSubstr("yield_after: off"), HasSubstr("commit_latency: 100ms")));
  const ConfigFile again(printed);
  MD_ASSERT_OK_AND_ASSIGN(const ParsedOptions reread, Parse({"--config", again.path()}));
  EXPECT_EQ(PrintConfig(reread.options), printed);
}

TEST(HealthOptions, WhatIsWrongIsNamedWithItsPlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"health: 3", "targets.main.health: expected a map"},
      {"health: {pace: 1}", "targets.main.health.pace: is not known; expected interval"},
      {"health: {interval: 1ms}", "targets.main.health.interval: expected a duration from 50ms to 1h"},
      {"health: {interval: soon}", "targets.main.health.interval: expected a duration"},
      {"health: {replicas: standby}", "targets.main.health.replicas: expected a list"},
      {"health: {ignore_replicas: [[a]]}", "targets.main.health.ignore_replicas: expected the application_name of a replica"},
      {"health: {limits: {lag: 3s}}", "targets.main.health.limits.lag: is no signal; expected one of replica_lag, "},
      {"health: {limits: {replica_lag: 3}}", "targets.main.health.limits.replica_lag: expected a duration like 30s above 0, or off"},
      {"health: {limits: {replica_lag: -3s}}", "targets.main.health.limits.replica_lag: expected a duration like 30s above 0, or off"},
      {"health: {limits: {slot_retention: 5 apples}}", "expected a size like 256MiB above 0, or off"},
      {"health: {limits: {vacuum_debt: nan}}", "expected a number above 0, or off"},
      {"health: {limits: {vacuum_debt: 0}}", "expected a number above 0, or off"},
  };
  for (const auto& [yaml, message] : cases) {
    const ConfigFile file("control_url: postgresql:///c\ntargets:\n  main:\n    url: postgresql:///m\n    " + yaml + "\n");
    EXPECT_THAT(Parse({"--config", file.path()}), StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(file.path() + ":5:"), HasSubstr(message))))
        << yaml;
  }
}

}  // namespace
}  // namespace migrationd
