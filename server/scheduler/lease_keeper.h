// Renews this process's claims, on a thread and a store connection of its own, so that a long query elsewhere never costs a lease.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/random/random.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/clock.h"
#include "store/control_store.h"

namespace migrationd {

// Thread-safe.
class LeaseKeeper {
 public:
  // Told after each renewal: the claim is trusted until that time of the process clock; or it is lost. Called on the keeper's thread,
  // without a lock.
  using OnRenewed = std::function<void(const LeaseKey& key, absl::Time trusted_until)>;
  using OnLost = std::function<void(const LeaseKey& key)>;

  LeaseKeeper(ControlStore& store, Clock& clock, absl::Duration ttl, OnRenewed on_renewed, OnLost on_lost);
  ~LeaseKeeper();  // joins

  void Start();
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  void Add(const LeaseKey& key) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(const LeaseKey& key) ABSL_LOCKS_EXCLUDED(mutex_);

  struct Facts {
    int claims = 0;
    absl::Time renewed_at = absl::InfinitePast();  // process clock; of a renewal or the first of these claims
  };
  Facts facts() const ABSL_LOCKS_EXCLUDED(mutex_);

  // One renewal of all claims; what the thread does every third of the ttl, with jitter.
  absl::Status RenewOnce() ABSL_LOCKS_EXCLUDED(mutex_);

  // How long a claim whose request was sent at `sent` is to be trusted: a fifth of the ttl short of its end, since two clocks never
  // run quite alike.
  static absl::Time TrustedUntil(absl::Time sent, absl::Duration ttl) { return sent + ttl * 0.8; }

 private:
  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);

  ControlStore& store_;
  Clock& clock_;
  const absl::Duration ttl_;
  const OnRenewed on_renewed_;
  const OnLost on_lost_;
  mutable absl::Mutex mutex_;
  absl::Time renewed_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  std::map<std::string, LeaseKey> keys_ ABSL_GUARDED_BY(mutex_);  // by token
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::BitGen random_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace migrationd
