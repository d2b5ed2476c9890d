// Breaks connections that do not answer.
//
// The server ends a statement that takes too long; a server that is stopped, or a network that swallows packets, ends
// nothing, and libpq would wait for ever. So whoever waits is watched: when the limit is over, the socket is shut down,
// and the waiting call returns as from any connection that broke.
#pragma once

#include <cstdint>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace migrationd {

// Thread-safe. Destroy after all watches.
class ConnectionWatchdog {
 public:
  ConnectionWatchdog();
  ~ConnectionWatchdog();
  ConnectionWatchdog(const ConnectionWatchdog&) = delete;
  ConnectionWatchdog& operator=(const ConnectionWatchdog&) = delete;

  // Watches `socket` while it lives, which must be shorter than the socket is open.
  class Watch {
   public:
    Watch(ConnectionWatchdog& watchdog, int socket, absl::Duration limit);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

   private:
    ConnectionWatchdog& watchdog_;
    std::uint64_t number_ = 0;
  };

 private:
  struct Watched {
    int socket = -1;
    std::int64_t ticks_left = 0;
  };

  void Run();
  void Tick() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool StoppingOrWatching() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stopping_ || !watched_.empty(); }

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::uint64_t next_number_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::uint64_t, Watched> watched_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace migrationd
