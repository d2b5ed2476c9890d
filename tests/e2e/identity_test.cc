// Who may do what, through the real programs: mutual TLS, tokens, certificates that are replaced under a running Watch, and what a start with
// wrong files exits with.
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "migrationcontrol/client.h"
#include "tests/e2e/end_to_end.h"
#include "tests/support/certificates.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kExitBadConfiguration = 78;

// Each token is the name of its entry.
constexpr char kTokens[] =
    "sha256:3c01eba119e00d79c82b6f65d70bc5f1044d568618bf41377e6d1432023fc2b8 look viewer\n"
    "sha256:00e13ed7af55b27622f1d6eab5bec0147e68efe28dc2b12461117afa1a5ed40e work operator\n";

class IdentityEndToEnd : public EndToEnd {
 protected:
  // Whole at once, as whoever rotates files should do it.
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = absl::StrCat(folder_.path(), "/", name);
    std::ofstream(path + ".part") << text;
    std::filesystem::rename(path + ".part", path);
    return path;
  }
  // The certificate and key of somebody.
  void WritePair(const std::string& name, const IssuedCertificate& issued) {
    Write(name + ".key", issued.key);
    Write(name + ".crt", issued.certificate);
  }
  std::string Path(const std::string& name) const { return absl::StrCat(folder_.path(), "/", name); }

  ServerFixtureOptions MutualTls() {
    WritePair("server", first_.Issue("server", "IP:127.0.0.1"));
    WritePair("client", first_.Issue("client", "DNS:client.example.org"));
    Write("ca.crt", first_.certificate());
    Write("tokens", kTokens);
    for (const char* token : {"look", "work"}) Write(token, token);
    ServerFixtureOptions options = Options();
    options.tcp = true;
    options.more_flags = {"--tls-cert", Path("server.crt"), "--tls-key", Path("server.key"), "--tls-client-ca", Path("ca.crt"),
                          "--tokens", Path("tokens"), "--anonymous-role", "none"};
    return options;
  }
  // migrationctl, showing the client's certificate and that token.
  CommandResult Ctl(const std::string& token, std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--ca", Path("ca.crt"), "--cert", Path("client.crt"), "--key", Path("client.key")});
    if (!token.empty()) arguments.insert(arguments.end(), {"--token-file", Path(token)});
    return Migrationctl(std::move(arguments));
  }
  void StartMutual() {
    MakeServer(MutualTls());
    ASSERT_THAT(server().Launch(), IsOk());
    // Its health cannot be asked for in plain text.
    ASSERT_TRUE(WaitUntil([&] { return !server().Running() || Ctl("look", {"list"}).exit_status == 0; })) << server().Log();
    ASSERT_TRUE(server().Running()) << server().Log();
  }

  TempFolder folder_;
  const TestAuthority first_{"first"};
  const TestAuthority second_{"second"};
};

TEST_F(IdentityEndToEnd, AnOperatorMigratesOverMutualTlsWhileAViewerMayOnlyLook) {
  constexpr int kRows = 50000;  // most of a minute, if nobody hurried it
  MakeCounter(kRows);
  StartMutual();
  Define("count_rows", CounterYaml({.interval = "100ms"}));
  ASSERT_TRUE(PassesRows("count_rows", 100)) << server().Log();

  const CommandResult refused = Ctl("look", {"pause", "count_rows"});
  EXPECT_EQ(refused.exit_status, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("Pause needs the role operator"), HasSubstr("look@ipv4:127.0.0.1 has viewer")));
  EXPECT_EQ(Ctl("look", {"status", "count_rows"}).exit_status, 0);
  EXPECT_THAT(Ctl("", {"pause", "count_rows"}).err, HasSubstr("Bearer")) << "a certificate that no entry names";
  migrationcontrol::ClientOptions options;
  options.address = server().address();
  options.ca_file = Path("ca.crt");
  options.certificate_file = Path("client.crt");
  options.key_file = Path("client.key");
  options.token_file = Path("look");
  EXPECT_THAT(migrationcontrol::Client(options).Pause("count_rows"), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("operator")));

  EXPECT_EQ(Ctl("work", {"pause", "count_rows", "--reason", "a look"}).exit_status, 0);
  EXPECT_EQ(Ctl("work", {"set-batch-size", "count_rows", "10000"}).exit_status, 0);
  EXPECT_EQ(Ctl("work", {"resume", "count_rows"}).exit_status, 0);
  const CommandResult waited = Ctl("work", {"wait", "count_rows", "--timeout", "2m"});
  EXPECT_EQ(waited.exit_status, 0) << waited.err << server().Log();
  EXPECT_THAT(waited.out, HasSubstr("COMPLETED"));
  EXPECT_TRUE(EachOnce(kRows));
  EXPECT_EQ(Migrationctl({"list"}).exit_status, 4) << "in plain text";
  EXPECT_THAT(Ctl("look", {"events", "count_rows"}).out, AllOf(HasSubstr("work@ipv4:127.0.0.1"), Not(HasSubstr("look@"))));
}

TEST_F(IdentityEndToEnd, CertificatesAreReplacedUnderARunningWatchWithoutAFailedCall) {
  StartMutual();
  const std::string both = absl::StrCat(first_.certificate(), second_.certificate());
  const auto options_of = [&](const std::string& client) {
    migrationcontrol::ClientOptions options;
    options.address = server().address();
    options.ca_file = Path("trusted.crt");
    options.certificate_file = Path(client + ".crt");
    options.key_file = Path(client + ".key");
    options.token_file = Path("look");
    options.max_attempts = 1;
    return options;
  };
  Write("trusted.crt", both);
  WritePair("renewed", second_.Issue("client", "DNS:client.example.org"));

  const IssuedCertificate own = first_.Issue("client", "DNS:client.example.org");
  const auto stub = v1::MigrationControl::NewStub(
      grpc::CreateChannel(server().address(), grpc::SslCredentials({first_.certificate(), own.key, own.certificate})));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  context.AddMetadata("authorization", "Bearer look");
  const auto reader = stub->Watch(&context, v1::WatchRequest());
  std::atomic<int> heard{0};
  std::atomic<bool> watch_over{false};
  std::thread watching([&] {
    v1::WatchResponse response;
    while (reader->Read(&response)) ++heard;
    watch_over = true;
  });
  // Each call on a connection of its own.
  std::atomic<bool> renewed{false};
  std::atomic<bool> stop{false};
  std::atomic<int> calls{0};
  std::vector<std::string> failures;
  std::thread calling([&] {
    while (!stop) {
      const auto listed = migrationcontrol::Client(options_of(renewed ? "renewed" : "client")).List();
      if (!listed.ok()) failures.push_back(listed.status().ToString());
      ++calls;
    }
  });
  const auto go_on = [&] {
    const int before = calls;
    return WaitUntil([&] { return calls > before + 3; });
  };
  int replaced = 0;
  const auto taken_over = [&] {
    ++replaced;
    const bool logged = WaitUntil([&] {
      const std::vector<std::string> pieces = absl::StrSplit(server().Log(), "certificate_read");
      return static_cast<int>(pieces.size()) > replaced;
    });
    return logged && go_on();
  };
  EXPECT_TRUE(go_on());
  Write("ca.crt", both);
  EXPECT_TRUE(taken_over()) << "clients of both authorities";
  WritePair("server", second_.Issue("server", "IP:127.0.0.1"));
  EXPECT_TRUE(taken_over()) << "a server of the second";
  renewed = true;
  EXPECT_TRUE(go_on());
  Write("ca.crt", second_.certificate());
  EXPECT_TRUE(taken_over()) << "clients of the second alone";
  const int before = heard;
  EXPECT_TRUE(WaitUntil([&] { return heard > before || watch_over; }));
  EXPECT_FALSE(watch_over) << "the stream of the first authority goes on";
  stop = true;
  calling.join();
  EXPECT_THAT(failures, ::testing::IsEmpty());
  EXPECT_FALSE(migrationcontrol::Client(options_of("client")).List().ok()) << "the first authority is over";
  context.TryCancel();
  watching.join();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

class ConfigurationTest : public IdentityEndToEnd {
 protected:
  CommandResult Migrationd(std::vector<std::string> flags) {
    flags.insert(flags.begin(), MigrationdProgram());
    const auto result = RunCommand(flags, absl::Seconds(60));
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : CommandResult{};
  }
};

TEST_F(ConfigurationTest, WhatTheOptionsNameIsCheckedToo) {
  MutualTls();
  const std::string url = Write("url", "postgresql://migr:s3cret@db1/shop\n");
  const std::string bad_url = Write("bad-url", "postgresql://migr:s3cret/XyZ@db1/shop\n");
  const std::string empty = Write("empty", "");
  const std::vector<std::string> good = {"--control-url-file", url, "--target", "main=@" + url, "--migrations", folder_.path(),
                                         "--tls-cert", Path("server.crt"), "--tls-key", Path("server.key"), "--tls-client-ca", Path("ca.crt"),
                                         "--tokens", Path("tokens"), "--check-config"};
  const CommandResult right = Migrationd(good);
  EXPECT_EQ(right.exit_status, 0) << right.err;
  EXPECT_THAT(right.out, HasSubstr("valid"));
  struct Row {
    std::string option;
    std::string value;
    std::string message;
  };
  for (const Row& row : std::vector<Row>{{"--control-url-file", Path("absent"), "No such file"},
                                         {"--control-url-file", empty, "is empty"},
                                         {"--control-url-file", bad_url, "percent-encoded"},
                                         {"--target", "main=@" + Path("absent"), "No such file"},
                                         {"--target", "main=@" + bad_url, "percent-encoded"},
                                         {"--migrations", Path("absent"), "No such file"},
                                         {"--migrations", url, "Not a directory"},
                                         {"--tls-cert", Path("tokens"), "no certificate"},
                                         {"--tls-key", Path("client.key"), "is not the key"},
                                         {"--tls-client-ca", Path("absent"), "No such file"},
                                         {"--tokens", Path("look"), "CREDENTIAL NAME ROLE"}}) {
    std::vector<std::string> flags = good;
    for (std::size_t i = 0; i + 1 < flags.size(); ++i) {
      if (flags[i] == row.option) flags[i + 1] = row.value;
    }
    const CommandResult refused = Migrationd(flags);
    EXPECT_EQ(refused.exit_status, kExitBadConfiguration) << row.option << " " << row.value;
    EXPECT_THAT(refused.err, AllOf(HasSubstr(row.message), Not(HasSubstr("s3cret")), Not(HasSubstr("XyZ")))) << row.option;
    EXPECT_EQ(refused.out, "") << row.option;
  }
}

TEST_F(ConfigurationTest, AStartWithFilesOfIdentityThatAreWrongIsNotTriedAgain) {
  const std::string url = Write("url", "postgresql://u@db1/shop\n");
  for (const std::string& tokens : {Path("absent"), Write("cut", "cert:a a admin")}) {
    EXPECT_EQ(Migrationd({"--control-url-file", url, "--target", "main=@" + url, "--tokens", tokens}).exit_status, kExitBadConfiguration) << tokens;
  }
}

}  // namespace
}  // namespace migrationd
