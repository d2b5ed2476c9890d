// Looks at files that may be replaced (certificates, credentials) once a second.
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace migrationd {

class Reloader {
 public:
  // Calls each of `refresh` every `interval`, on a thread of its own, until it is destroyed. Without any there is no thread.
  explicit Reloader(std::vector<std::function<void()>> refresh, absl::Duration interval = absl::Seconds(1));
  ~Reloader();
  Reloader(const Reloader&) = delete;
  Reloader& operator=(const Reloader&) = delete;

 private:
  const std::vector<std::function<void()>> refresh_;
  const absl::Duration interval_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace migrationd
