#include "store/postgres/connection_watchdog.h"

#include <sys/socket.h>

namespace migrationd {
namespace {

// Limits are counted in ticks, so no clock is read. A tick's length is the inaccuracy of a limit.
constexpr absl::Duration kTick = absl::Milliseconds(500);

}  // namespace

ConnectionWatchdog::ConnectionWatchdog() : thread_([this] { Run(); }) {}

ConnectionWatchdog::~ConnectionWatchdog() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void ConnectionWatchdog::Run() {
  absl::MutexLock lock(&mutex_);
  while (true) {
    mutex_.Await(absl::Condition(
        +[](ConnectionWatchdog* self) ABSL_NO_THREAD_SAFETY_ANALYSIS { return self->StoppingOrWatching(); }, this));
    if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), kTick)) return;
    Tick();
  }
}

void ConnectionWatchdog::Tick() {
  for (auto& [number, watched] : watched_) {
    // Once is enough; the entry stays until the waiting call has returned.
    if (--watched.ticks_left == 0) shutdown(watched.socket, SHUT_RDWR);
  }
}

ConnectionWatchdog::Watch::Watch(ConnectionWatchdog& watchdog, int socket, absl::Duration limit) : watchdog_(watchdog) {
  absl::MutexLock lock(&watchdog_.mutex_);
  number_ = watchdog_.next_number_++;
  // One more, since the first tick may come at once.
  watchdog_.watched_[number_] = {.socket = socket, .ticks_left = limit / kTick + 1};
}

ConnectionWatchdog::Watch::~Watch() {
  absl::MutexLock lock(&watchdog_.mutex_);
  watchdog_.watched_.erase(number_);
}

}  // namespace migrationd
