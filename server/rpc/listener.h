// Takes connections in and hands them over: so many and no more, of one host too, and going on when the process has no descriptor left.
//
// gRPC's own listener stops for good at the first accept() that fails for want of a descriptor (CVE-2023-4785, open in the gRPC of Debian
// 12 and 13), and it has no limit. So idle connections of a stranger would end the service, with mutual TLS as without.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/clock.h"
#include "server/rpc/listen_address.h"

namespace migrationd {

struct ListenerOptions {
  // See BindSockets.
  std::string address;
  std::size_t connections_max = 1000;
  // Of one IP address; behind a NAT or a proxy there are many callers at one. Unix sockets have no such limit.
  std::size_t connections_per_host_max = 250;
};

// Which connections are open, told by descriptor alone: they belong to somebody else, who does not say when he closes them.
// For one thread at a time.
class OpenConnections {
 public:
  // The connection on `fd`, open at this moment, from `host`.
  void Add(int fd, const std::string& host);
  // Forgets those that were closed since: the descriptor is gone, or is another one's.
  void ForgetClosed();
  std::size_t size() const { return connections_.size(); }
  std::size_t CountOf(const std::string& host) const;

 private:
  struct Connection {
    ino_t inode = 0;  // of the socket; never used again
    std::string host;
  };
  std::map<int, Connection>::iterator Forget(std::map<int, Connection>::iterator connection);

  std::map<int, Connection> connections_;
  std::map<std::string, std::size_t> by_host_;
};

struct ListenerCounts {
  std::int64_t open = 0;  // as of the last second
  // Since the start.
  std::int64_t refused_limit = 0;
  std::int64_t refused_host_limit = 0;
  std::int64_t refused_descriptors = 0;
};

// Bind, Start and Stop from one thread; the rest from any.
class Listener {
 public:
  // Called by the listener's thread; owns the descriptor, which is a connected, non-blocking socket.
  using Take = std::function<void(int fd)>;

  // Binds and listens, but takes nothing in yet. See BindSockets for errors. `clock` outlives it.
  static absl::StatusOr<std::unique_ptr<Listener>> Bind(ListenerOptions options, Clock& clock);
  // Stops.
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int port() const { return sockets_.port; }
  void Start(Take take);
  // Takes nothing in any more; what was handed over stays. Idempotent.
  void Stop();

  ListenerCounts counts() const;
  // UNAVAILABLE when the thread has not come round for so long that it no longer will.
  absl::Status CheckAlive() const;

 private:
  Listener(ListenerOptions options, BoundSockets sockets, Clock& clock);
  void Run();
  void AcceptFrom(int socket);
  // Nullptr, or the counter of the limit that this host has reached.
  std::atomic<std::int64_t>* Refusing(const std::string& host);
  // With no descriptor left, the one that is kept for it takes the connection in and closes it, so that it does not wait for ever.
  void RefuseWithSpare(int socket);

  const ListenerOptions options_;
  BoundSockets sockets_;
  Clock& clock_;
  Take take_;
  OpenConnections connections_;  // of the thread
  int spare_ = -1;               // of the thread
  int stop_pipe_[2] = {-1, -1};
  std::atomic<std::int64_t> open_{0};
  std::atomic<std::int64_t> refused_limit_{0};
  std::atomic<std::int64_t> refused_host_limit_{0};
  std::atomic<std::int64_t> refused_descriptors_{0};
  std::atomic<std::int64_t> last_round_;  // unix nanoseconds of clock_
  std::thread thread_;
};

}  // namespace migrationd
