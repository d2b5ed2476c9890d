#include "server/rpc/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"
#include "server/observability/log.h"

namespace migrationd {
namespace {

constexpr absl::Duration kRound = absl::Seconds(1);
constexpr absl::Duration kDeadAfter = absl::Seconds(15);
// How long accept() is left alone when the system has no descriptor or memory for it.
constexpr absl::Duration kOutOfDescriptorsPause = absl::Milliseconds(100);
// At one socket before the others, and the stop, have their turn.
constexpr int kAcceptsARound = 64;

int Milliseconds(absl::Duration duration) { return static_cast<int>(absl::ToInt64Milliseconds(duration)); }

// The IP address; empty for a unix socket.
std::string HostOf(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text, sizeof(text));
  } else if (address.ss_family == AF_INET6) {
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text, sizeof(text));
  }
  return text;
}

ino_t InodeOf(int fd) {
  struct stat facts {};
  return fstat(fd, &facts) == 0 && S_ISSOCK(facts.st_mode) ? facts.st_ino : 0;
}

}  // namespace

void OpenConnections::Add(int fd, const std::string& host) {
  // Closed, and its descriptor used again, since the last look.
  if (const auto before = connections_.find(fd); before != connections_.end()) Forget(before);
  connections_[fd] = {.inode = InodeOf(fd), .host = host};
  ++by_host_[host];
}

void OpenConnections::ForgetClosed() {
  for (auto it = connections_.begin(); it != connections_.end();) {
    it = InodeOf(it->first) == it->second.inode ? std::next(it) : Forget(it);
  }
}

std::map<int, OpenConnections::Connection>::iterator OpenConnections::Forget(std::map<int, Connection>::iterator connection) {
  const auto host = by_host_.find(connection->second.host);
  if (--host->second == 0) by_host_.erase(host);
  return connections_.erase(connection);
}

std::size_t OpenConnections::CountOf(const std::string& host) const {
  const auto found = by_host_.find(host);
  return found == by_host_.end() ? 0 : found->second;
}

absl::StatusOr<std::unique_ptr<Listener>> Listener::Bind(ListenerOptions options, Clock& clock) {
  MD_ASSIGN_OR_RETURN(BoundSockets sockets, BindSockets(options.address));
  return std::unique_ptr<Listener>(new Listener(std::move(options), std::move(sockets), clock));
}

Listener::Listener(ListenerOptions options, BoundSockets sockets, Clock& clock)
    : options_(std::move(options)), sockets_(std::move(sockets)), clock_(clock), last_round_(absl::ToUnixNanos(clock.Now())) {}

Listener::~Listener() {
  Stop();
  for (const int fd : {spare_, stop_pipe_[0], stop_pipe_[1]}) {
    if (fd >= 0) close(fd);
  }
}

void Listener::Start(Take take) {
  take_ = std::move(take);
  spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (pipe2(stop_pipe_, O_CLOEXEC | O_NONBLOCK) != 0) {
    Log(LogLevel::kError, "listener_failed", {{"reason", "no pipe can be made: no descriptor is left"}});
    return;
  }
  thread_ = std::thread([this] { Run(); });
}

void Listener::Stop() {
  if (thread_.joinable()) {
    const char stop = 's';
    static_cast<void>(write(stop_pipe_[1], &stop, 1));
    thread_.join();
  }
  for (const int socket : sockets_.descriptors) close(socket);
  sockets_.descriptors.clear();
}

ListenerCounts Listener::counts() const { return {open_, refused_limit_, refused_host_limit_, refused_descriptors_}; }

absl::Status Listener::CheckAlive() const {
  const absl::Duration since = clock_.Now() - absl::FromUnixNanos(last_round_);
  if (since < kDeadAfter) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("no connection has been taken in for ", absl::FormatDuration(absl::Trunc(since, absl::Seconds(1))),
                                             ": the listener stands still."));
}

void Listener::Run() {
  std::vector<pollfd> watched = {{.fd = stop_pipe_[0], .events = POLLIN, .revents = 0}};
  for (const int socket : sockets_.descriptors) watched.push_back({.fd = socket, .events = POLLIN, .revents = 0});
  while (true) {
    poll(watched.data(), watched.size(), Milliseconds(kRound));
    last_round_ = absl::ToUnixNanos(clock_.Now());
    if (watched[0].revents != 0) return;
    connections_.ForgetClosed();
    for (std::size_t i = 1; i < watched.size(); ++i) {
      if (watched[i].revents != 0) AcceptFrom(watched[i].fd);
    }
    open_ = static_cast<std::int64_t>(connections_.size());
  }
}

void Listener::AcceptFrom(int socket) {
  for (int i = 0; i < kAcceptsARound; ++i) {
    sockaddr_storage peer{};
    socklen_t length = sizeof(peer);
    const int fd = accept4(socket, reinterpret_cast<sockaddr*>(&peer), &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) RefuseWithSpare(socket);
      // Anything else is that connection's alone (it is gone already), or there is none.
      return;
    }
    const std::string host = HostOf(peer);
    if (std::atomic<std::int64_t>* refusing = Refusing(host); refusing != nullptr) {
      ++*refusing;
      close(fd);
      Log(LogLevel::kWarning, "connection_refused",
          {{"host", host}, {"open", absl::StrCat(connections_.size())}, {"open_of_host", absl::StrCat(connections_.CountOf(host))}});
      continue;
    }
    const int on = 1;
    if (!host.empty()) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    connections_.Add(fd, host);
    take_(fd);
  }
}

std::atomic<std::int64_t>* Listener::Refusing(const std::string& host) {
  const auto reached = [&]() -> std::atomic<std::int64_t>* {
    if (connections_.size() >= options_.connections_max) return &refused_limit_;
    const bool too_many_of_host = !host.empty() && connections_.CountOf(host) >= options_.connections_per_host_max;
    return too_many_of_host ? &refused_host_limit_ : nullptr;
  };
  if (reached() == nullptr) return nullptr;
  // Some may have been closed since the round began.
  connections_.ForgetClosed();
  return reached();
}

void Listener::RefuseWithSpare(int socket) {
  const std::error_code error(errno, std::generic_category());
  if (spare_ >= 0) {
    close(spare_);
    const int fd = accept4(socket, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) {
      close(fd);
      ++refused_descriptors_;
    }
  }
  spare_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
  Log(LogLevel::kError, "connection_refused", {{"reason", error.message()}, {"open", absl::StrCat(connections_.size())}});
  pollfd stop{.fd = stop_pipe_[0], .events = POLLIN, .revents = 0};
  poll(&stop, 1, Milliseconds(kOutOfDescriptorsPause));
}

}  // namespace migrationd
