#include "server/rpc/reloader.h"

#include <utility>

namespace migrationd {

Reloader::Reloader(std::vector<std::function<void()>> refresh, absl::Duration interval)
    : refresh_(std::move(refresh)), interval_(interval) {
  if (refresh_.empty()) return;
  thread_ = std::thread([this] {
    while (true) {
      {
        absl::MutexLock lock(&mutex_);
        if (mutex_.AwaitWithTimeout(absl::Condition(&stopping_), interval_)) return;
      }
      for (const auto& refresh : refresh_) refresh();
    }
  });
}

Reloader::~Reloader() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

}  // namespace migrationd
