// The client library against a service in this process.
#include "migrationcontrol/client.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/backoff.h"
#include "client/request_id.h"
#include "client/status_conversion.h"
#include "client/transport.h"
#include "tests/client/fake_service.h"
#include "tests/support/certificates.h"
#include "tests/support/status_matchers.h"

namespace migrationcontrol {
namespace {

using ::migrationd::IsOk;
using ::migrationd::StatusIs;
using ::testing::_;
using ::testing::AllOf;
using ::testing::AllOfArray;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

const grpc::Status kUnavailable(grpc::StatusCode::UNAVAILABLE, "the control store is away");

class ClientTest : public ::testing::Test {
 protected:
  ClientTest() {
    server_.service().SetMigration(MakeMigration("known", v1::STATE_RUNNING));
    options_.address = server_.address();
    options_.timeout = absl::Seconds(20);
    options_.initial_backoff = absl::Milliseconds(5);
    options_.max_backoff = absl::Milliseconds(50);
  }

  FakeService& service() { return server_.service(); }
  Client MakeClient() { return Client(options_); }

  FakeServer server_;
  ClientOptions options_;
};

TEST_F(ClientTest, ReadsAreAnsweredWithTheServersMessage) {
  Client client = MakeClient();
  MD_ASSERT_OK_AND_ASSIGN(const v1::StatusResponse response, client.Status("known"));
  EXPECT_EQ(response.migration().name(), "known");
  MD_ASSERT_OK_AND_ASSIGN(const v1::Progress progress, client.Progress("known"));
  EXPECT_EQ(progress.rows_done(), 632000);
}

TEST_F(ClientTest, IsCompletedIsTrueOnlyInTheStateCompleted) {
  Client client = MakeClient();
  for (const v1::State state : {v1::STATE_PENDING, v1::STATE_RUNNING, v1::STATE_PAUSING, v1::STATE_PAUSED,
                                v1::STATE_HALTED, v1::STATE_CANCELLING, v1::STATE_CANCELLED, v1::STATE_COMPLETED}) {
    service().SetMigration(MakeMigration("known", state));
    MD_ASSERT_OK_AND_ASSIGN(const bool completed, client.IsCompleted("known"));
    EXPECT_EQ(completed, state == v1::STATE_COMPLETED) << v1::State_Name(state);
  }
  EXPECT_THAT(client.IsCompleted("other"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("did you mean")));
}

TEST_F(ClientTest, UnavailableIsTriedAgainUntilItWorks) {
  service().FailNext(kUnavailable);
  service().FailNext(kUnavailable);
  EXPECT_THAT(MakeClient().Status("known"), IsOk());
  EXPECT_THAT(service().calls(), SizeIs(3));
}

TEST_F(ClientTest, UnavailableIsReturnedWhenAttemptsAreUsedUp) {
  for (int i = 0; i < 10; ++i) service().FailNext(kUnavailable);
  options_.max_attempts = 4;
  EXPECT_THAT(MakeClient().Status("known"), StatusIs(absl::StatusCode::kUnavailable, "the control store is away"));
  EXPECT_THAT(service().calls(), SizeIs(4));
}

TEST_F(ClientTest, EveryCodeArrivesWithItsMessageAndOnlyUnavailableIsTriedAgain) {
  for (int code = 1; code <= 16; ++code) {
    if (code == static_cast<int>(absl::StatusCode::kUnavailable)) continue;
    const std::size_t before = service().calls().size();
    service().FailNext(grpc::Status(static_cast<grpc::StatusCode>(code), "as it is"));
    EXPECT_THAT(MakeClient().Status("known"), StatusIs(static_cast<absl::StatusCode>(code), "as it is"));
    EXPECT_EQ(service().calls().size(), before + 1) << code;
  }
}

TEST_F(ClientTest, AMutationKeepsItsRequestIdOverRetriesAndTheNextOneHasAnother) {
  service().FailNext(kUnavailable);
  service().FailNext(kUnavailable);
  Client client = MakeClient();
  MD_EXPECT_OK(client.Pause("known"));
  MD_EXPECT_OK(client.Pause("known"));
  const std::vector<std::string> ids = service().request_ids();
  ASSERT_THAT(ids, SizeIs(4));
  EXPECT_THAT(ids[0], MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_EQ(ids[0], ids[1]);
  EXPECT_EQ(ids[0], ids[2]);
  EXPECT_NE(ids[0], ids[3]);
}

TEST_F(ClientTest, EveryMutationCarriesARequestIdAndWhatTheCallerSays) {
  Client client = MakeClient();
  const CallOptions options{.reason = "why", .request_id = "", .expected_revision = 7, .validate_only = true};
  MD_EXPECT_OK(client.Start("known", options));
  MD_EXPECT_OK(client.Pause("known", options));
  MD_EXPECT_OK(client.Resume("known", options));
  MD_EXPECT_OK(client.Retry("known", options));
  MD_EXPECT_OK(client.Accept("known", options));
  MD_EXPECT_OK(client.Cancel("known", options));
  MD_EXPECT_OK(client.Cleanup("known", options));
  MD_EXPECT_OK(client.Delete("known", options));
  for (const std::string& call : service().calls()) {
    EXPECT_THAT(
        call, AllOf(HasSubstr("reason: \"why\""), HasSubstr("expected_revision: 7"), HasSubstr("validate_only: true")));
  }
  v1::SetBatchSizeRequest size;
  size.set_migration("known");
  size.set_batch_size(10);
  MD_EXPECT_OK(client.SetBatchSize(size));
  MD_EXPECT_OK(client.Enqueue("known", {{"tenant", "1"}}));
  MD_EXPECT_OK(client.Freeze(v1::FreezeRequest()));
  MD_EXPECT_OK(client.Unfreeze(v1::UnfreezeRequest()));
  const std::vector<std::string> ids = service().request_ids();
  EXPECT_THAT(ids, SizeIs(12));
  EXPECT_THAT(std::set<std::string>(ids.begin(), ids.end()), AllOf(SizeIs(12), Not(testing::Contains(""))));
}

TEST_F(ClientTest, ARequestIdOfTheCallerIsKept) {
  MD_EXPECT_OK(MakeClient().Cancel(
      "known", {.reason = "", .request_id = "mine", .expected_revision = 0, .validate_only = false}));
  EXPECT_THAT(service().request_ids(), ElementsAre("mine"));
}

TEST_F(ClientTest, EnqueueRefusesAnExpectedRevisionThatTheServerWouldNotSee) {
  EXPECT_THAT(MakeClient().Enqueue("known", {},
                                   {.reason = "", .request_id = "", .expected_revision = 3, .validate_only = false}),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(service().calls(), IsEmpty());
}

TEST_F(ClientTest, TheServersRetryInfoIsWaitedFor) {
  service().FailNext(UnavailableWithRetryInfo("later", 300));
  const absl::Time before = absl::Now();
  MD_EXPECT_OK(MakeClient().Status("known"));
  EXPECT_GE(absl::Now() - before, absl::Milliseconds(300));
}

TEST_F(ClientTest, ARetryThatWouldOutlastTheTimeoutIsNotWaitedFor) {
  service().FailNext(UnavailableWithRetryInfo("in an hour", 3'600'000));
  const absl::Time before = absl::Now();
  EXPECT_THAT(MakeClient().Status("known"), StatusIs(absl::StatusCode::kUnavailable, "in an hour"));
  EXPECT_LT(absl::Now() - before, options_.timeout);
  EXPECT_THAT(service().calls(), SizeIs(1));
}

TEST_F(ClientTest, ErrorDetailsBecomePayloads) {
  options_.max_attempts = 1;
  service().FailNext(UnavailableWithRetryInfo("later", 300));
  const absl::Status status = MakeClient().Status("known").status();
  EXPECT_TRUE(status.GetPayload("type.googleapis.com/google.rpc.RetryInfo").has_value());
  EXPECT_EQ(RetryDelay(status), absl::Milliseconds(300));
}

// A service whose Status never answers.
class SilentService : public v1::MigrationControl::Service {
  grpc::Status Status(grpc::ServerContext* context, const v1::StatusRequest*, v1::StatusResponse*) override {
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::CANCELLED;
  }
};

TEST(ClientFilesTest, AFileThatCannotBeReadIsNamedByEachCall) {
  ClientOptions options;
  options.address = "127.0.0.1:1";
  options.max_attempts = 1;
  options.ca_file = "/nonexistent/ca.crt";
  EXPECT_THAT(std::string(Client(options).Status("one").status().message()), ::testing::HasSubstr("/nonexistent/ca.crt"));
  options.ca_file.clear();
  options.token_file = "/nonexistent/token";
  const absl::Status without_token = Client(options).Status("one").status();
  EXPECT_EQ(without_token.code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(std::string(without_token.message()), ::testing::HasSubstr("/nonexistent/token"));
}

// A file of its own in /tmp.
class TestFile {
 public:
  explicit TestFile(const std::string& text) {
    char pattern[] = "/tmp/migrationcontrol-XXXXXX";
    close(mkstemp(pattern));
    path_ = pattern;
    Write(text);
  }
  ~TestFile() { std::remove(path_.c_str()); }
  void Write(const std::string& text) { std::ofstream(path_) << text; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(ClientTokenTest, IsNotSentInPlainTextToOtherMachinesUnlessThatIsAllowed) {
  const TestFile token("secret");
  ClientOptions options;
  options.address = "192.0.2.1:50051";  // of nobody
  options.timeout = absl::Milliseconds(50);
  options.max_attempts = 1;
  options.token_file = token.path();
  Client refused(options);
  const auto is_refusal = StatusIs(absl::StatusCode::kFailedPrecondition,
                                   AllOf(HasSubstr("plain text"), HasSubstr("allow_token_without_tls"), Not(HasSubstr("secret"))));
  EXPECT_THAT(refused.Status("one"), is_refusal);
  EXPECT_THAT(refused.Watch({}, absl::Minutes(5), [](const v1::WatchResponse&) { return true; }), is_refusal);
  EXPECT_THAT(refused.WaitUntilCompleted("one", absl::Minutes(5)), is_refusal);
  options.allow_token_without_tls = true;
  EXPECT_THAT(Client(options).Status("one"), Not(is_refusal));
  options.allow_token_without_tls = false;
  options.tls = true;
  EXPECT_THAT(Client(options).Status("one"), Not(is_refusal));
  FakeServer server;
  server.service().SetMigration(MakeMigration("one", v1::STATE_RUNNING));
  options.tls = false;
  options.timeout = absl::Seconds(20);
  options.address = server.address();
  EXPECT_THAT(Client(options).Status("one"), IsOk()) << options.address;
}

TEST(ClientTokenTest, KnowsWhatStaysOnThisMachine) {
  for (const char* address : {"127.0.0.1:50051", "localhost:1", "LOCALHOST:1", "[::1]:50051", "unix:/run/x", "unix:///run/x", "unix-abstract:x",
                              "dns:///localhost:1",
                              "dns:127.0.0.1", "ipv4:127.0.0.1:1,127.0.0.2:1", "ipv6:[::1]:1", "localhost"}) {
    EXPECT_TRUE(StaysOnThisMachine(address)) << address;
  }
  for (const char* address : {"127.example.org:1", "localhost.example.org:1", "10.0.0.1:1", "dns:///migrationd.infra:1",
                              "ipv4:127.0.0.1:1,10.0.0.1:1", "dns://127.0.0.1/db:1",
                              "[::2]:1", "[2001:db8::1]:1", "xds:///localhost", ""}) {
    EXPECT_FALSE(StaysOnThisMachine(address)) << address;
  }
}

TEST(ClientFilesTest, AClientOutlivesItsCertificates) {
  const migrationd::TestAuthority first("first");
  const migrationd::TestAuthority second("second");
  // Mutual TLS with that authority alone.
  const auto serve = [](const migrationd::TestAuthority& authority, grpc::Service& service, int& port) {
    const migrationd::IssuedCertificate own = authority.Issue("server", "IP:127.0.0.1");
    grpc::SslServerCredentialsOptions tls(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    tls.pem_root_certs = authority.certificate();
    tls.pem_key_cert_pairs = {{own.key, own.certificate}};
    grpc::ServerBuilder builder;
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::SslServerCredentials(tls), &port);
    builder.RegisterService(&service);
    return builder.BuildAndStart();
  };
  FakeService service;
  service.SetMigration(MakeMigration("one", v1::STATE_RUNNING));
  int port = 0;
  std::unique_ptr<grpc::Server> server = serve(first, service, port);
  ASSERT_NE(server, nullptr);
  const migrationd::IssuedCertificate old = first.Issue("client", "DNS:client");
  TestFile ca(first.certificate());
  TestFile certificate(old.certificate);
  TestFile key(old.key);
  ClientOptions options;
  options.address = absl::StrCat("127.0.0.1:", port);
  options.ca_file = ca.path();
  options.certificate_file = certificate.path();
  options.key_file = key.path();
  options.files_check_interval = absl::ZeroDuration();
  options.timeout = absl::Seconds(20);
  options.initial_backoff = absl::Milliseconds(20);
  Client client(options);
  options.files_check_interval = absl::Hours(1);
  options.max_attempts = 1;
  Client forgetful(options);
  ASSERT_THAT(client.Status("one"), IsOk());
  ASSERT_THAT(forgetful.Status("one"), IsOk());

  server->Shutdown(std::chrono::system_clock::now());
  server.reset();
  server = serve(second, service, port);
  ASSERT_NE(server, nullptr);
  const migrationd::IssuedCertificate renewed = second.Issue("client", "DNS:client");
  certificate.Write(renewed.certificate.substr(0, 100));  // as a reader may find it
  EXPECT_THAT(forgetful.Status("one"), StatusIs(absl::StatusCode::kUnavailable, _));
  ca.Write(second.certificate());
  certificate.Write(renewed.certificate);
  key.Write(renewed.key);
  EXPECT_THAT(client.Status("one"), IsOk());
  EXPECT_THAT(forgetful.Status("one"), StatusIs(absl::StatusCode::kUnavailable, _)) << "it has not looked yet";
}

TEST(SilentServer, ACallEndsAtItsDeadline) {
  SilentService service;
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ClientOptions options;
  options.timeout = absl::Milliseconds(200);
  // Over a stub of the test's own: no port is involved.
  Client client(options, v1::MigrationControl::NewStub(server->InProcessChannel({})));
  EXPECT_THAT(client.Status("known"), StatusIs(absl::StatusCode::kDeadlineExceeded, _));
}

TEST(UnreachableServer, IsUnavailableAfterTheAttempts) {
  FakeServer server;
  ClientOptions options;
  options.address = server.address();
  options.initial_backoff = absl::Milliseconds(5);
  server.Stop();
  EXPECT_THAT(Client(options).Status("known"), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(Client(options).WaitUntilCompleted("known", absl::Minutes(5)),
              StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(Client(options).Watch({}, absl::Minutes(5), [](const v1::WatchResponse&) { return true; }),
              StatusIs(absl::StatusCode::kUnavailable, _));
}

TEST_F(ClientTest, OneClientServesManyThreads) {
  Client client = MakeClient();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&client] {
      for (int j = 0; j < 50; ++j) EXPECT_THAT(client.Pause("known"), IsOk());
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> ids = service().request_ids();
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), 400u);
}

// Sends one state, then says goodbye the way a stopping server does.
FakeService::WatchHandler SendThenEnd(v1::State state, const std::string& token, grpc::Status end) {
  return [=](grpc::ServerContext&, const v1::WatchRequest&, grpc::ServerWriter<v1::WatchResponse>& writer) {
    v1::WatchResponse response;
    *response.add_migrations() = MakeMigration("known", state);
    response.set_resume_token(token);
    writer.Write(response);
    return end;
  };
}

TEST_F(ClientTest, WatchGoesOnWithTheResumeTokenAfterTheStreamBroke) {
  std::atomic<int> streams = 0;
  service().SetWatch(
      [&](grpc::ServerContext&, const v1::WatchRequest& request, grpc::ServerWriter<v1::WatchResponse>& writer) {
        v1::WatchResponse response;
        const int stream = ++streams;
        response.set_resume_token("token" + std::to_string(stream));
        EXPECT_EQ(request.resume_token(), stream == 1 ? "" : "token" + std::to_string(stream - 1));
        writer.Write(response);
        return stream == 2 ? grpc::Status::OK : kUnavailable;
      });
  int updates = 0;
  MD_EXPECT_OK(MakeClient().Watch({}, absl::Minutes(1), [&](const v1::WatchResponse&) { return ++updates < 3; }));
  EXPECT_EQ(updates, 3);
}

TEST_F(ClientTest, WatchBeginsAnewWhenItsResumeTokenIsRefused) {
  std::vector<std::string> tokens;
  service().SetWatch(
      [&](grpc::ServerContext&, const v1::WatchRequest& request, grpc::ServerWriter<v1::WatchResponse>& writer) {
        tokens.push_back(request.resume_token());
        if (!request.resume_token().empty())
          return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "token of another server");
        v1::WatchResponse response;
        response.set_resume_token("old");
        writer.Write(response);
        return kUnavailable;
      });
  int updates = 0;
  MD_EXPECT_OK(MakeClient().Watch({}, absl::Minutes(1), [&](const v1::WatchResponse&) { return ++updates < 2; }));
  EXPECT_THAT(tokens, ElementsAre("", "old", ""));
}

TEST_F(ClientTest, WatchEndsAtItsTimeout) {
  const absl::Time before = absl::Now();
  EXPECT_THAT(MakeClient().Watch({}, absl::Milliseconds(300), [](const v1::WatchResponse&) { return true; }),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("300ms")));
  EXPECT_GE(absl::Now() - before, absl::Milliseconds(300));
}

TEST_F(ClientTest, WatchReturnsARefusalAtOnce) {
  service().SetWatch([](grpc::ServerContext&, const v1::WatchRequest&, grpc::ServerWriter<v1::WatchResponse>&) {
    return grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "no");
  });
  EXPECT_THAT(MakeClient().Watch({}, absl::Minutes(1), [](const v1::WatchResponse&) { return true; }),
              StatusIs(absl::StatusCode::kPermissionDenied, "no"));
}

TEST_F(ClientTest, WaitIsOverAtOnceWhenItIsCompleted) {
  service().SetMigration(MakeMigration("known", v1::STATE_COMPLETED));
  MD_EXPECT_OK(MakeClient().WaitUntilCompleted("known", absl::Minutes(1)));
  EXPECT_THAT(service().calls(), ElementsAre(StartsWith("Status")));
}

TEST_F(ClientTest, WaitEndsWithTheUpdateThatSaysCompleted) {
  service().SetWatch(SendThenEnd(v1::STATE_COMPLETED, "", grpc::Status::OK));
  MD_EXPECT_OK(MakeClient().WaitUntilCompleted("known", absl::Minutes(1)));
}

TEST_F(ClientTest, WaitSurvivesARestartOfTheServer) {
  absl::Notification watched;
  service().SetWatch(
      [&](grpc::ServerContext& context, const v1::WatchRequest&, grpc::ServerWriter<v1::WatchResponse>& writer) {
        v1::WatchResponse response;
        *response.add_migrations() = MakeMigration("known", v1::STATE_RUNNING);
        writer.Write(response);
        if (!watched.HasBeenNotified()) watched.Notify();
        while (!context.IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
        return kUnavailable;
      });
  std::thread restart([&] {
    watched.WaitForNotification();
    server_.Stop();
    service().SetWatch(SendThenEnd(v1::STATE_COMPLETED, "", grpc::Status::OK));
    // Longer than all attempts of an ordinary call would last.
    absl::SleepFor(absl::Milliseconds(500));
    server_.Start();
  });
  EXPECT_THAT(MakeClient().WaitUntilCompleted("known", absl::Minutes(1)), IsOk());
  restart.join();
}

TEST_F(ClientTest, WaitForAHaltedMigrationFailsWithItsReason) {
  v1::Migration halted = MakeMigration("known", v1::STATE_HALTED);
  halted.mutable_halt()->set_code("ROWS_LEFT");
  halted.mutable_halt()->set_message("17 rows were left as they are");
  halted.set_hint("migrationctl accept known");
  service().SetMigration(halted);
  EXPECT_THAT(MakeClient().WaitUntilCompleted("known", absl::Minutes(1)),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("main/known is HALTED"), HasSubstr("ROWS_LEFT: 17 rows"), HasSubstr("accept"))));
}

TEST_F(ClientTest, WaitFailsWhenTheMigrationHaltsMeanwhile) {
  service().SetWatch(SendThenEnd(v1::STATE_HALTED, "", grpc::Status::OK));
  EXPECT_THAT(MakeClient().WaitUntilCompleted("known", absl::Minutes(1)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("HALTED")));
}

TEST_F(ClientTest, APausedMigrationIsWaitedForOnlyWhenItResumesByItself) {
  v1::Migration paused = MakeMigration("known", v1::STATE_PAUSED);
  service().SetMigration(paused);
  EXPECT_THAT(MakeClient().WaitUntilCompleted("known", absl::Minutes(1)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("PAUSED")));
  paused.mutable_intent()->mutable_until()->set_seconds(2'000'000'000);
  service().SetMigration(paused);
  service().SetWatch(SendThenEnd(v1::STATE_COMPLETED, "", grpc::Status::OK));
  MD_EXPECT_OK(MakeClient().WaitUntilCompleted("known", absl::Minutes(1)));
}

TEST_F(ClientTest, WaitForAnyStateReturnsIt) {
  service().SetWatch(SendThenEnd(v1::STATE_PAUSED, "", grpc::Status::OK));
  MD_ASSERT_OK_AND_ASSIGN(const v1::Migration paused,
                          MakeClient().WaitFor("known", absl::Minutes(1), [](const v1::Migration& now) {
                            return now.state() == v1::STATE_PAUSED;
                          }));
  EXPECT_EQ(paused.state(), v1::STATE_PAUSED);
}

TEST_F(ClientTest, WaitSaysWhatIsStillGoingOnWhenItsTimeIsOver) {
  EXPECT_THAT(MakeClient().WaitUntilCompleted("known", absl::Milliseconds(200)),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       AllOf(HasSubstr("main/known is still RUNNING"), HasSubstr("a summary"))));
}

TEST_F(ClientTest, WaitEndsWhenTheMigrationIsDeleted) {
  service().SetWatch([](grpc::ServerContext&, const v1::WatchRequest&, grpc::ServerWriter<v1::WatchResponse>& writer) {
    v1::WatchResponse response;
    response.add_deleted("main/known");
    writer.Write(response);
    return grpc::Status::OK;
  });
  EXPECT_THAT(MakeClient().WaitUntilCompleted("known", absl::Minutes(1)),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("deleted")));
}

TEST_F(ClientTest, WaitAsksAgainAndAgainWhereWatchIsNotServed) {
  service().SetWatch([this](grpc::ServerContext&, const v1::WatchRequest&, grpc::ServerWriter<v1::WatchResponse>&) {
    service().SetMigration(MakeMigration("known", v1::STATE_COMPLETED));
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many watches");
  });
  MD_EXPECT_OK(MakeClient().WaitUntilCompleted("known", absl::Minutes(1)));
  EXPECT_THAT(service().calls(), ElementsAre(StartsWith("Status"), StartsWith("Watch"), StartsWith("Status")));
}

TEST_F(ClientTest, WaitForAnUnknownMigrationIsNotFound) {
  EXPECT_THAT(MakeClient().WaitUntilCompleted("other", absl::Minutes(1)),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("other")));
}

TEST(Backoff, DoublesUpToItsLimitAndJitterTakesAtMostHalfAway) {
  ClientOptions options;
  options.initial_backoff = absl::Milliseconds(100);
  options.max_backoff = absl::Seconds(2);
  EXPECT_EQ(BackoffDelay(options, 1, 0, std::nullopt), absl::Milliseconds(100));
  EXPECT_EQ(BackoffDelay(options, 2, 0, std::nullopt), absl::Milliseconds(200));
  EXPECT_EQ(BackoffDelay(options, 5, 0, std::nullopt), absl::Milliseconds(1600));
  EXPECT_EQ(BackoffDelay(options, 6, 0, std::nullopt), absl::Seconds(2));
  EXPECT_EQ(BackoffDelay(options, 1'000'000'000, 0, std::nullopt), absl::Seconds(2));
  EXPECT_EQ(BackoffDelay(options, 1, 0.5, std::nullopt), absl::Milliseconds(75));
}

TEST(Backoff, IsNeverSoonerThanTheServerAsks) {
  const ClientOptions options;
  EXPECT_EQ(BackoffDelay(options, 1, 0, absl::Seconds(10)), absl::Seconds(10));
  EXPECT_EQ(BackoffDelay(options, 1, 0.5, absl::Seconds(10)), absl::Seconds(10.5));
  EXPECT_EQ(BackoffDelay(options, 1, 0, absl::ZeroDuration()), options.initial_backoff);
}

TEST(Backoff, OptionsOfZeroStillRest) {
  ClientOptions options;
  options.initial_backoff = absl::ZeroDuration();
  options.max_backoff = absl::ZeroDuration();
  EXPECT_GT(BackoffDelay(options, 3, 0.9, std::nullopt), absl::ZeroDuration());
}

TEST(StatusConversion, MalformedDetailsAreIgnored) {
  const absl::Status status = ToAbslStatus(grpc::Status(grpc::StatusCode::UNAVAILABLE, "m", "\x1a\x7fnot that long"));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, "m"));
  EXPECT_EQ(RetryDelay(status), std::nullopt);
}

TEST(StatusConversion, ACodeThatGrpcDoesNotDefineIsUnknown) {
  EXPECT_THAT(ToAbslStatus(grpc::Status(static_cast<grpc::StatusCode>(77), "m")),
              StatusIs(absl::StatusCode::kUnknown, "m"));
}

}  // namespace
}  // namespace migrationcontrol
