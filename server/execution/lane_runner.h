// Runs batches of one lane: cuts sub-batches, runs them one transaction each, and stops between two of them when told to.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "migrations/pacing/sub_batch_servo.h"
#include "server/clock.h"
#include "server/targets/target.h"
#include "store/control_store.h"

namespace migrationd {

// What all lanes of a run share, and what other threads may change while they work.
class RunControls {
 public:
  explicit RunControls(Clock& clock) : clock_(clock) {}

  // No new sub-batch begins any more.
  void Stop() { stop_.store(true); }
  // The same until Continue.
  void Interrupt() { interrupted_.store(true); }
  void Continue() { interrupted_.store(false); }

  // The claim is trusted until this time of the process clock; no sub-batch begins after it.
  void TrustUntil(absl::Time until) { trusted_until_.store(absl::ToUnixNanos(until)); }
  bool trusted() const { return absl::ToUnixNanos(clock_.Now()) < trusted_until_.load(); }

  bool may_begin() const { return !stop_.load() && !interrupted_.load() && trusted(); }
  bool stopped() const { return stop_.load(); }

  // Effective from the next sub-batch. `pinned`: somebody set the sub-batch, so the servo does not move it.
  void SetSizes(const Sizes& sizes, bool pinned) {
    batch_size_.store(sizes.batch_size);
    sub_batch_ceiling_.store(sizes.sub_batch_size);
    pinned_.store(pinned);
  }
  bool pinned() const { return pinned_.load(); }
  std::int32_t batch_size() const { return batch_size_.load(); }
  std::int32_t sub_batch_ceiling() const { return sub_batch_ceiling_.load(); }

  // What a sub-batch should take, for lanes that adapt.
  void SetTargetTime(absl::Duration time) { target_time_ns_.store(absl::ToInt64Nanoseconds(time)); }
  absl::Duration target_time() const { return absl::Nanoseconds(target_time_ns_.load()); }
  // Share of the time that a lane may work, above 0 to 1.
  void SetAllowed(double allowed) { allowed_.store(allowed); }
  double allowed() const { return allowed_.load(); }
  // How long a lane rests after it was busy for so long and would rest for `asked`: the load stays in proportion, whatever a batch is.
  absl::Duration RestAfter(absl::Duration busy, absl::Duration asked) {
    const absl::Duration needed = busy * (1 / allowed_.load() - 1);
    allowance_used_.store(needed >= asked);
    return std::max(needed, asked);
  }
  // Something was done that the share is for. Any thread.
  void NoteWork() { worked_.store(true); }
  // Whether it worked since the last call, and what is allowed is what limited the last rest: while nothing works, a target that is well
  // says nothing about how much more it could bear.
  bool TakeAllowanceUsed() { return worked_.exchange(false) && allowance_used_.load(); }

  // Rows were seen to stop matching `where`, in whatever lane: it need not be checked any more.
  void NoteWhereSatisfied() { where_satisfied_.store(true); }
  bool where_satisfied() const { return where_satisfied_.load(); }

  // Canary: no sub-batch begins once so many rows are done (0: no limit).
  void SetRowLimit(std::int64_t rows) { row_limit_.store(rows); }
  bool has_row_limit() const { return row_limit_.load() > 0; }
  bool limit_reached() const {
    const std::int64_t limit = row_limit_.load();
    return limit > 0 && rows_done_.load() >= limit;
  }
  void SetRowsDone(std::int64_t rows) { rows_done_.store(rows); }
  void AddRows(std::int64_t rows) { rows_done_.fetch_add(rows); }
  std::int64_t rows_done() const { return rows_done_.load(); }

 private:
  Clock& clock_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> interrupted_{false};
  std::atomic<std::int64_t> trusted_until_{0};
  std::atomic<std::int32_t> batch_size_{1000};
  std::atomic<std::int32_t> sub_batch_ceiling_{100};
  std::atomic<bool> pinned_{false};
  std::atomic<std::int64_t> target_time_ns_{100'000'000};
  std::atomic<double> allowed_{1};
  std::atomic<bool> allowance_used_{false};
  std::atomic<bool> worked_{false};
  std::atomic<bool> where_satisfied_{false};
  std::atomic<std::int64_t> row_limit_{0};
  std::atomic<std::int64_t> rows_done_{0};
};

// What one call of RunBatch came to.
struct BatchOutcome {
  enum class Kind { kBatchDone, kLaneDone, kStopped, kFailed };
  Kind kind = Kind::kStopped;
  absl::Status error;                    // kFailed
  std::int32_t failed_sub_batch_size = 0;  // kFailed
  bool in_work = false;                    // kFailed: in the sub-batch itself, not in what comes before or after it
  std::int64_t rows = 0;                 // affected
  std::optional<JobRecord> job;          // when any sub-batch committed
};

// Live counters of a lane, for Status while the batch runs.
struct LaneView {
  LaneRange range;
  std::int64_t affected = 0;  // in this pass, by this process
  std::int64_t unchanged = 0;
  std::int64_t failed = 0;  // rows left out
  std::int64_t sub_batches = 0;
  std::int64_t isolating = 0;  // of these, those that only served to find a row at fault, or to leave it out
  std::int32_t sub_batch_size = 0;
  std::int32_t backend_pid = 0;
  absl::Duration working;
};

// For one worker thread at a time, except View, which any thread may call.
class LaneRunner {
 public:
  struct Options {
    LaneOptions lane;
    bool has_where = false;
    // Sizes count keys, of which each may have any number of rows.
    bool rows_share_keys = false;
    // Sub-batch control: where it starts; adaptive (RunControls has the time to aim at) or fixed there, as the definition says.
    std::int32_t first_sub_batch_size = 100;
    bool adaptive = true;
    // Told of each committed sub-batch, on the worker's thread.
    std::function<void(std::int64_t rows, absl::Duration took)> on_sub_batch = [](std::int64_t, absl::Duration) {};
  };

  // `target`, `controls` and the plan in the options outlive the runner.
  LaneRunner(Options options, Target& target, RunControls& controls, Clock& clock);

  // One batch, or the rest of one. Opens the session when there is none. After kFailed the next call begins again at the cursor.
  BatchOutcome RunBatch();

  // Before the next attempt at what failed: not larger than this. Grows back as sub-batches succeed.
  void ShrinkTo(std::int32_t sub_batch_size);
  // After a sub-batch of several rows failed for one of them: looks for it by halves. Ends when the row is found, or gone.
  void Isolate(std::int32_t failed_size);
  // After a sub-batch of one row failed: leaves that row out, if it still is the next one. `then_stop`: the batch ends there.
  void SkipFailedRow(std::string sqlstate, std::string message, bool then_stop);
  // Drops the connection.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_);
  LaneView View() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool done() const { return range_.done(); }
  // A row at fault is being looked for, or left out; or what failed is tried with fewer rows.
  bool in_trouble() const { return suspects_ > 0 || failure_cap_ > 0 || skip_.has_value(); }
  // What ShrinkTo came to; 0: nothing holds it back.
  std::int32_t failure_cap() const { return failure_cap_; }

 private:
  struct Batch {
    JobRecord job;
    std::int64_t covered = 0;  // rows of the key range, affected or not
    std::int64_t sent = 0;     // the same, with what is not answered yet
    absl::Time begun;
  };
  struct InFlight {
    Key new_cursor;
    std::int32_t size = 0;
    bool looks = false;  // for further bounds
    bool check_where = false;
    bool wide = false;
  };
  absl::Status EnsureSession() ABSL_LOCKS_EXCLUDED(mutex_);
  // Size of the next sub-batch, from servo, ceiling and what is left of the batch.
  std::int32_t NextSize(std::int64_t covered) const;
  // Whether the next sub-batch is one that only reads, as far as can be expected, and may be larger for it.
  bool Wide() const;
  // The size that was set, by a person or by the definition; nullopt: the servo finds it.
  std::optional<std::int32_t> FixedSize() const;
  bool ChecksWhere() const;
  // All of it is sent; or it worked long enough where only a share of the time is allowed, so that rests are short and even.
  bool Over(const Batch& batch) const;
  // How many sub-batches may be under way at once: one where the next step depends on what becomes of this one.
  int Depth() const;
  // Sends what may be sent, then takes in one answer. `batch` is over once nothing is in flight and nothing may be sent.
  absl::Status RunSubBatches(Batch& batch);
  absl::Status SendNext(LaneSession& session, int depth, Batch& batch);
  absl::Status TakeAnswer(LaneSession& session, Batch& batch);
  // After an error: what was sent behind it fails too, or is as unknown.
  absl::Status Drain(LaneSession& session, absl::Status error);
  bool SentAll() const;
  // Takes up what was set meanwhile.
  void FollowControls();
  // By a sub-batch that was committed.
  void AdaptSize(const InFlight& done, absl::Duration took);
  // By one that was cancelled for its time: what it took until then was too long.
  void LearnFromTimeout(const absl::Status& error, std::int32_t size, bool wide);
  // `stop`: whether the batch is to end after it.
  absl::Status SkipRow(Batch& batch, bool& stop);
  // What a committed transaction means to the batch.
  void Count(Batch& batch, std::int32_t size, std::int64_t affected, absl::Time at, absl::Duration took);
  void Publish(std::int32_t size, const SubBatchResult& result, absl::Duration took) ABSL_LOCKS_EXCLUDED(mutex_);
  BatchOutcome Finish(BatchOutcome::Kind kind, Batch batch);

  const Options options_;
  Target& target_;
  RunControls& controls_;
  Clock& clock_;
  LaneRange range_;
  SubBatchServo servo_;
  SubBatchServo reading_servo_;    // for those that only read
  bool nothing_matched_ = false;  // in the last sub-batch, in VERIFY
  std::deque<Key> bounds_;       // looked up ahead, each for bounds_size_ rows behind the one before it
  std::int32_t bounds_size_ = 0;
  std::deque<InFlight> in_flight_;  // sent, not answered; in order
  absl::Time answered_at_ = absl::InfinitePast();  // when the database began with the first of these, as far as can be known
  std::int32_t size_in_use_ = 0;  // of the sub-batch that was sent or failed last
  // One of so many rows after the cursor cannot be done; 0: nothing is being looked for.
  std::int32_t suspects_ = 0;
  struct Skip {
    Key row;  // the bound of the sub-batch that failed
    std::string sqlstate;
    std::string message;
    bool then_stop = false;
  };
  std::optional<Skip> skip_;
  Key failed_bound_;              // of the sub-batch that failed last
  bool in_work_ = false;
  std::int32_t failure_cap_ = 0;  // after a failure: not more rows than this; doubles with each success; 0: none

  mutable absl::Mutex mutex_;
  std::shared_ptr<LaneSession> session_ ABSL_GUARDED_BY(mutex_);
  LaneView view_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace migrationd
