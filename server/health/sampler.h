// Looks at the health of each target on which this process works, about once a second, on a thread of its own: a target that hangs keeps
// nobody else waiting. While nothing works there, nothing is looked at.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "migrations/pacing/signals.h"
#include "server/clock.h"
#include "server/health/health_source.h"

namespace migrationd {

// Thread-safe.
class HealthSampler final : public HealthSource {
 public:
  // `limits`: those of a target that is left out are the defaults. The targets and the clock outlive the sampler.
  HealthSampler(const std::map<std::string, std::shared_ptr<Target>>& targets, std::map<std::string, HealthLimits> limits, Clock& clock);
  // Ends what is under way; does not wait for databases.
  ~HealthSampler() override;

  void Watch(const std::map<std::string, TargetWork>& work) override ABSL_LOCKS_EXCLUDED(mutex_);
  HealthVerdicts Verdicts() override ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<YieldNote> TakeYields() override ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class Watcher;

  // Says which signals of the target cannot be read, those that were not said before.
  void WarnOfUnreadable(const std::string& target, const HealthVerdict& verdict) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What is no longer wanted and has ended.
  void Reap() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::map<std::string, std::shared_ptr<Target>>& targets_;
  const std::map<std::string, HealthLimits> limits_;
  Clock& clock_;

  absl::Mutex mutex_;
  std::map<std::string, std::unique_ptr<Watcher>> watchers_ ABSL_GUARDED_BY(mutex_);
  std::list<std::unique_ptr<Watcher>> leaving_ ABSL_GUARDED_BY(mutex_);
  // Signals that cannot be read, by target, as far as that was logged: said once, not with each migration.
  std::map<std::string, std::set<std::string>> warned_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace migrationd
