// Where calls that must wait for a database do so: a fixed number of threads behind a bounded queue. Refuses at once
// when the queue is full, so that an overloaded server answers instead of piling up work that nobody waits for any
// more.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace migrationd {

// Thread-safe.
class Executor {
 public:
  // Runs a task on a thread of the executor; `proceed` is false when the executor stopped before its turn came: then
  // the task only gives its answer. Called exactly once for each task that was accepted.
  using Task = std::function<void(bool proceed)>;

  Executor(int threads, std::size_t queue_limit);
  // Stops.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Never blocks. RESOURCE_EXHAUSTED: the queue is full. UNAVAILABLE: stopped. The task is not called in either case.
  absl::Status Submit(Task task) ABSL_LOCKS_EXCLUDED(mutex_);

  // Takes no more tasks and calls the queued ones with proceed = false; does not wait for those that run. Idempotent.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_);
  // Close, then waits for the tasks that run. Idempotent, but for one thread.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Work() ABSL_LOCKS_EXCLUDED(mutex_);

  const std::size_t queue_limit_;
  absl::Mutex mutex_;
  std::deque<Task> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace migrationd
