#include "server/scheduler/lease_keeper.h"

#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/observability/log.h"

namespace migrationd {

LeaseKeeper::LeaseKeeper(ControlStore& store, Clock& clock, absl::Duration ttl, OnRenewed on_renewed, OnLost on_lost)
    : store_(store), clock_(clock), ttl_(ttl), on_renewed_(std::move(on_renewed)), on_lost_(std::move(on_lost)) {}

LeaseKeeper::~LeaseKeeper() { Stop(); }

void LeaseKeeper::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void LeaseKeeper::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void LeaseKeeper::Add(const LeaseKey& key) {
  absl::MutexLock lock(&mutex_);
  if (keys_.empty()) renewed_at_ = clock_.Now();
  keys_[key.token] = key;
}

LeaseKeeper::Facts LeaseKeeper::facts() const {
  absl::MutexLock lock(&mutex_);
  return {.claims = static_cast<int>(keys_.size()), .renewed_at = renewed_at_};
}

void LeaseKeeper::Remove(const LeaseKey& key) {
  absl::MutexLock lock(&mutex_);
  keys_.erase(key.token);
}

absl::Status LeaseKeeper::RenewOnce() {
  std::vector<LeaseKey> keys;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [token, key] : keys_) keys.push_back(key);
  }
  if (keys.empty()) return absl::OkStatus();
  const absl::Time sent = clock_.Now();
  const auto renewed = store_.Renew(keys, ttl_);
  if (!renewed.ok()) return renewed.status();
  {
    absl::MutexLock lock(&mutex_);
    renewed_at_ = sent;
  }
  std::set<std::string> held;
  for (const LeaseKey& key : *renewed) {
    held.insert(key.token);
    on_renewed_(key, TrustedUntil(sent, ttl_));
  }
  for (const LeaseKey& key : keys) {
    if (held.count(key.token) != 0) continue;
    Remove(key);
    on_lost_(key);
  }
  return absl::OkStatus();
}

void LeaseKeeper::Loop() {
  bool failed = false;
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      const double jitter = absl::Uniform(random_, 0.8, 1.2);
      // After an error sooner: there is time for several tries before the trust ends.
      mutex_.AwaitWithTimeout(absl::Condition(&stopping_), ttl_ / (failed ? 10 : 3) * jitter);
      if (stopping_) return;
    }
    const absl::Status status = RenewOnce();
    if (!status.ok() && !failed) Log(LogLevel::kWarning, "lease_renewal_failed", {{"status", status.ToString()}});
    failed = !status.ok();
  }
}

}  // namespace migrationd
