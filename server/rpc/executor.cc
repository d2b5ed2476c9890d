#include "server/rpc/executor.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/grpc_status.h"

namespace migrationd {

Executor::Executor(int threads, std::size_t queue_limit) : queue_limit_(queue_limit) {
  threads_.reserve(static_cast<std::size_t>(threads));
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

Executor::~Executor() { Stop(); }

absl::Status Executor::Submit(Task task) {
  absl::MutexLock lock(&mutex_);
  if (stopping_) {
    return WithReason(absl::UnavailableError("The server is stopping; call again, it or another one will answer."),
                      kReasonStopping);
  }
  if (queue_.size() >= queue_limit_) {
    return WithReason(
        absl::ResourceExhaustedError(absl::StrCat("The server is overloaded: ", queue_.size(),
                                                  " calls are waiting already. Nothing was done; try again later.")),
        kReasonOverloaded);
  }
  queue_.push_back(std::move(task));
  return absl::OkStatus();
}

void Executor::Close() {
  std::deque<Task> dropped;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    dropped.swap(queue_);
  }
  for (const Task& task : dropped) task(/*proceed=*/false);
}

void Executor::Stop() {
  Close();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void Executor::Work() {
  const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !queue_.empty(); };
  while (true) {
    Task task;
    {
      absl::MutexLock lock(&mutex_, absl::Condition(&ready));
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task(/*proceed=*/true);
  }
}

}  // namespace migrationd
