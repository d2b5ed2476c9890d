#include "server/health/sampler.h"

#include <stop_token>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "server/observability/log.h"

namespace migrationd {
namespace {

// Looks for sessions that wait for us, for each look at everything.
constexpr int kYieldLooks = 2;
constexpr std::size_t kYieldsKept = 100;
// The looks of several targets, or processes, do not fall together.
constexpr double kJitter = 0.1;

}  // namespace

// One target's thread.
class HealthSampler::Watcher {
 public:
  Watcher(std::string name, Target& target, const HealthLimits& limits, Clock& clock, TargetWork work)
      : name_(std::move(name)),
        target_(target.WithStop(stop_.get_token())),
        limits_(limits),
        clock_(clock),
        monitor_(limits),
        work_(std::move(work)) {
    thread_ = std::thread([this] { Loop(); });
  }
  ~Watcher() {
    Leave();
    thread_.join();
  }

  void Leave() ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      leaving_ = true;
    }
    stop_.request_stop();
  }
  bool ended() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return ended_;
  }
  void SetWork(const TargetWork& work) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    // Told more often than looked at: what was used since the last look is used.
    const bool used = work_.allowance_used || work.allowance_used;
    work_ = work;
    work_.allowance_used = used;
  }
  std::shared_ptr<const HealthVerdict> verdict() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return verdict_;
  }
  std::vector<Yielded> TakeYields() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return std::exchange(yields_, {});
  }

 private:
  TargetWork Work() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return work_;
  }
  bool TakeAllowanceUsed() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return std::exchange(work_.allowance_used, false);
  }

  void Loop() ABSL_LOCKS_EXCLUDED(mutex_) {
    for (int round = 0;; ++round) {
      if (round % kYieldLooks == 0) {
        Look();
      } else {
        LookForWaiters();
      }
      absl::MutexLock lock(&mutex_);
      const absl::Duration pause = limits_.interval / kYieldLooks * absl::Uniform(random_, 1 - kJitter, 1 + kJitter);
      if (mutex_.AwaitWithTimeout(absl::Condition(&leaving_), pause)) break;
    }
    session_.reset();
    absl::MutexLock lock(&mutex_);
    ended_ = true;
  }

  absl::StatusOr<TargetVitals> Read(const TargetWork& work) {
    if (session_ == nullptr) {
      auto session = target_->OpenHealth();
      if (!session.ok()) return session.status();
      session_ = *std::move(session);
    }
    // While nothing is at work, nothing is written either.
    auto vitals = session_->Read({.tables = work.tables, .measure_commit = !work.claims.empty()});
    if (!vitals.ok()) session_.reset();
    return vitals;
  }

  void Look() ABSL_LOCKS_EXCLUDED(mutex_) {
    const TargetWork work = Work();
    const auto vitals = Read(work);
    if (stop_.stop_requested()) return;
    const absl::Time now = clock_.Now();
    const HealthVerdict& verdict = vitals.ok() ? monitor_.Record(now, *vitals, TakeAllowanceUsed())
                                               : monitor_.Miss(now, std::string(vitals.status().message()));
    if (!vitals.ok()) Log(LogLevel::kDebug, "health_unknown", {{"target", name_}, {"status", vitals.status().ToString()}});
    auto shared = std::make_shared<const HealthVerdict>(verdict);
    absl::MutexLock lock(&mutex_);
    verdict_ = std::move(shared);
  }

  void LookForWaiters() ABSL_LOCKS_EXCLUDED(mutex_) {
    const TargetWork work = Work();
    if (session_ == nullptr || work.claims.empty() || limits_.yield_after <= absl::ZeroDuration()) return;
    auto yielded = session_->YieldToWaiters(work.claims, limits_.yield_after);
    if (!yielded.ok()) {
      session_.reset();
      return;
    }
    for (const Yielded& one : *yielded) {
      Log(LogLevel::kInfo, "yielded", {{"migration", one.migration}, {"target", name_}, {"pid", absl::StrCat(one.backend_pid)},
                                       {"waiter", absl::StrCat(one.waiter_pid)}, {"waited", absl::FormatDuration(one.waited)}});
    }
    absl::MutexLock lock(&mutex_);
    yields_.insert(yields_.end(), yielded->begin(), yielded->end());
    if (yields_.size() > kYieldsKept) yields_.erase(yields_.begin(), yields_.end() - kYieldsKept);
  }

  const std::string name_;
  std::stop_source stop_;
  const std::shared_ptr<Target> target_;
  const HealthLimits limits_;
  Clock& clock_;
  // Of the thread.
  std::unique_ptr<HealthSession> session_;
  HealthMonitor monitor_;
  absl::BitGen random_;

  mutable absl::Mutex mutex_;
  bool leaving_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  TargetWork work_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const HealthVerdict> verdict_ ABSL_GUARDED_BY(mutex_);
  std::vector<Yielded> yields_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

HealthSampler::HealthSampler(const std::map<std::string, std::shared_ptr<Target>>& targets, std::map<std::string, HealthLimits> limits,
                             Clock& clock)
    : targets_(targets), limits_(std::move(limits)), clock_(clock) {}

HealthSampler::~HealthSampler() {
  decltype(watchers_) watchers;
  decltype(leaving_) leaving;
  {
    absl::MutexLock lock(&mutex_);
    watchers.swap(watchers_);
    leaving.swap(leaving_);
  }
  // All are told before the first is waited for.
  for (auto& [name, watcher] : watchers) watcher->Leave();
}

void HealthSampler::Reap() {
  leaving_.remove_if([](const std::unique_ptr<Watcher>& watcher) { return watcher->ended(); });
}

void HealthSampler::Watch(const std::map<std::string, TargetWork>& work) {
  absl::MutexLock lock(&mutex_);
  for (auto it = watchers_.begin(); it != watchers_.end();) {
    if (work.count(it->first) != 0) {
      ++it;
      continue;
    }
    it->second->Leave();
    leaving_.push_back(std::move(it->second));
    it = watchers_.erase(it);
  }
  Reap();
  for (const auto& [name, what] : work) {
    if (const auto known = watchers_.find(name); known != watchers_.end()) {
      known->second->SetWork(what);
      continue;
    }
    const auto target = targets_.find(name);
    if (target == targets_.end()) continue;
    const auto configured = limits_.find(name);
    const HealthLimits limits = configured == limits_.end() ? HealthLimits() : configured->second;
    watchers_[name] = std::make_unique<Watcher>(name, *target->second, limits, clock_, what);
  }
}

void HealthSampler::WarnOfUnreadable(const std::string& target, const HealthVerdict& verdict) {
  std::string text;
  for (const Reading& reading : verdict.readings) {
    if (reading.value.has_value() || !warned_[target].insert(reading.signal).second) continue;
    absl::StrAppend(&text, text.empty() ? "" : "; ", reading.signal, ": ", reading.detail);
  }
  if (text.empty()) return;
  Log(LogLevel::kWarning, "signals_unreadable",
      {{"target", target}, {"signals", text}, {"why", "what cannot be seen is not taken for health; it holds work where it is configured"}});
}

HealthVerdicts HealthSampler::Verdicts() {
  HealthVerdicts verdicts;
  absl::MutexLock lock(&mutex_);
  for (const auto& [name, watcher] : watchers_) {
    auto verdict = watcher->verdict();
    if (verdict == nullptr) continue;
    WarnOfUnreadable(name, *verdict);
    verdicts[name] = std::move(verdict);
  }
  return verdicts;
}

std::vector<YieldNote> HealthSampler::TakeYields() {
  std::vector<YieldNote> notes;
  absl::MutexLock lock(&mutex_);
  for (const auto& [name, watcher] : watchers_) {
    for (Yielded& yielded : watcher->TakeYields()) notes.push_back({name, std::move(yielded)});
  }
  return notes;
}

}  // namespace migrationd
