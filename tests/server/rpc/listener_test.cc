// The listener: its limits, what it does without descriptors, and a server behind it.
#include "server/rpc/listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "tests/server/rpc/rpc_world.h"
#include "tests/support/manual_clock.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

// A client's socket.
class Client {
 public:
  Client() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  explicit Client(int port) : Client() { Connect(port); }
  void Connect(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    connected_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    timeval patience{.tv_sec = 30, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;
  bool connected() const { return connected_; }
  // Waits until the other side closes it; false: it said something, or nothing for long.
  bool IsClosed() const {
    char byte = 0;
    const ssize_t got = recv(fd_, &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }

 private:
  const int fd_;
  bool connected_ = false;
};

// What the listener handed over.
class Taken {
 public:
  Listener::Take Function() {
    return [this](int fd) {
      absl::MutexLock lock(&mutex_);
      fds_.push_back(fd);
    };
  }
  ~Taken() { CloseAll(); }
  void CloseAll() {
    absl::MutexLock lock(&mutex_);
    for (const int fd : fds_) close(fd);
    fds_.clear();
  }
  bool WaitFor(std::size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return fds_.size() >= count; };
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(30));
  }
  std::size_t size() {
    absl::MutexLock lock(&mutex_);
    return fds_.size();
  }

 private:
  absl::Mutex mutex_;
  std::vector<int> fds_;
};

std::unique_ptr<Listener> Listening(ListenerOptions options) {
  if (options.address.empty()) options.address = "127.0.0.1:0";
  auto listener = Listener::Bind(options, Clock::Real());
  EXPECT_THAT(listener, IsOk());
  return *std::move(listener);
}

TEST(OpenConnections, AreCountedByHostAndForgottenWhenClosed) {
  OpenConnections open;
  int fds[2] = {};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  open.Add(fds[0], "10.0.0.1");
  open.Add(fds[1], "10.0.0.2");
  open.ForgetClosed();
  EXPECT_EQ(open.size(), 2u);
  EXPECT_EQ(open.CountOf("10.0.0.1"), 1u);
  EXPECT_EQ(open.CountOf("10.0.0.3"), 0u);
  close(fds[0]);
  // The number is used again, by something else.
  ASSERT_EQ(dup2(STDERR_FILENO, fds[0]), fds[0]);
  open.ForgetClosed();
  EXPECT_EQ(open.size(), 1u);
  EXPECT_EQ(open.CountOf("10.0.0.1"), 0u);
  close(fds[0]);
  close(fds[1]);
  // Between two looks closed, and taken by a new connection of another host.
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  open.Add(fds[1], "10.0.0.9");
  EXPECT_EQ(open.CountOf("10.0.0.2"), 0u);
  EXPECT_EQ(open.size(), 1u);
  close(fds[0]);
  close(fds[1]);
}

TEST(Listener, HandsOverWhatConnectsAndNothingAfterItsStop) {
  auto listener = Listening({});
  Taken taken;
  listener->Start(taken.Function());
  const Client first(listener->port());
  ASSERT_TRUE(taken.WaitFor(1));
  MD_EXPECT_OK(listener->CheckAlive());
  listener->Stop();
  listener->Stop();
  const Client late(listener->port());
  EXPECT_FALSE(late.connected());
  EXPECT_EQ(taken.size(), 1u);
}

TEST(Listener, TakesNoMoreThanItsLimitUntilSomeAreClosed) {
  auto listener = Listening({.address = "", .connections_max = 3, .connections_per_host_max = 100});
  Taken taken;
  listener->Start(taken.Function());
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 3; ++i) clients.push_back(std::make_unique<Client>(listener->port()));
  ASSERT_TRUE(taken.WaitFor(3));
  EXPECT_TRUE(Client(listener->port()).IsClosed());
  EXPECT_EQ(listener->counts().refused_limit, 1);
  EXPECT_EQ(listener->counts().refused_host_limit, 0);
  taken.CloseAll();
  const Client next(listener->port());
  EXPECT_TRUE(taken.WaitFor(1));
}

TEST(Listener, LetsOneHostHaveOnlyItsShare) {
  auto listener = Listening({.address = "", .connections_max = 100, .connections_per_host_max = 2});
  Taken taken;
  listener->Start(taken.Function());
  const Client first(listener->port());
  const Client second(listener->port());
  ASSERT_TRUE(taken.WaitFor(2));
  EXPECT_TRUE(Client(listener->port()).IsClosed());
  EXPECT_EQ(listener->counts().refused_host_limit, 1);
}

TEST(Listener, SaysWhenItsThreadStandsStill) {
  ManualClock clock;
  const auto listener = Listener::Bind({.address = "127.0.0.1:0"}, clock);
  ASSERT_THAT(listener, IsOk());
  absl::Mutex standing;
  standing.Lock();
  absl::Notification there;
  (*listener)->Start([&](int fd) {
    close(fd);
    there.Notify();
    absl::MutexLock lock(&standing);
  });
  const Client client((*listener)->port());
  there.WaitForNotification();
  MD_EXPECT_OK((*listener)->CheckAlive());
  clock.Advance(absl::Seconds(16));
  EXPECT_THAT((*listener)->CheckAlive(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stands still")));
  standing.Unlock();
}

TEST(BindSocketsTest, ReplacesTheSocketOfADeadProcessAndNotThatOfALiveOne) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/listener-", getpid(), ".sock");
  {
    auto listener = Listening({.address = "unix:" + path});
    EXPECT_THAT(BindSockets("unix:" + path), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("another process serves there")));
  }
  ASSERT_TRUE(std::filesystem::exists(path)) << "as a killed process leaves it";
  auto again = Listening({.address = "unix:" + path});
  again.reset();
  std::filesystem::remove(path);
}

TEST(BindSocketsTest, RefusesAPortThatIsTaken) {
  auto listener = Listening({});
  const std::string taken = absl::StrCat("127.0.0.1:", listener->port());
  EXPECT_THAT(BindSockets(taken), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("in use")));
}

// Takes all descriptors away, has clients come, gives them back, and says on stderr what became of the server.
[[noreturn]] void ServeWithoutDescriptors() {
  RpcWorld world;
  std::vector<std::unique_ptr<Client>> clients(20);
  for (auto& client : clients) client = std::make_unique<Client>();
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t before = limit.rlim_cur;
  const int next = dup(STDERR_FILENO);
  close(next);
  limit.rlim_cur = static_cast<rlim_t>(next);
  setrlimit(RLIMIT_NOFILE, &limit);
  for (auto& client : clients) client->Connect(world.server.port());
  const absl::Time give_up = absl::Now() + absl::Seconds(30);
  while (world.server.connection_counts().refused_descriptors == 0 && absl::Now() < give_up) std::this_thread::yield();
  clients.clear();
  limit.rlim_cur = before;
  setrlimit(RLIMIT_NOFILE, &limit);
  const auto [status, response] = Call(world, &Stub::List, v1::ListRequest());
  const bool refused = world.server.connection_counts().refused_descriptors > 0;
  std::fprintf(stderr, "refused=%d alive=%d %s\n", refused, world.server.CheckAlive().ok(), status.ok() ? "served" : status.error_message().c_str());
  std::_Exit(0);
}

// In a process of its own, since the limit is the process's. gRPC's own listener does not survive this.
TEST(ServerWithoutDescriptors, ServesAgainWhenThereAreSome) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(ServeWithoutDescriptors(), ::testing::ExitedWithCode(0), "refused=1 alive=1 served");
}

}  // namespace
}  // namespace migrationd
