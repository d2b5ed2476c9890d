#include "server/execution/lane_runner.h"

#include <algorithm>
#include <utility>

#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

// A reading pass is limited by time, not by what it writes: it may look at more rows at once. Not at more keys when nobody knows how many
// rows that is.
constexpr std::int32_t kVerifySubBatchMin = 1000;

}  // namespace

LaneRunner::LaneRunner(Options options, Target& target, RunControls& controls, Clock& clock)
    : options_(std::move(options)),
      target_(target),
      controls_(controls),
      clock_(clock),
      range_(options_.lane.range),
      servo_({.initial = options_.first_sub_batch_size, .ceiling = controls.sub_batch_ceiling(), .target = options_.target_time}) {
  if (!options_.adaptive) servo_.Pin(options_.first_sub_batch_size);
  absl::MutexLock lock(&mutex_);
  view_.range = range_;
}

BatchOutcome LaneRunner::RunBatch() {
  Batch batch;
  batch.job.lane = range_.lane;
  batch.job.pass = options_.lane.pass;
  batch.job.lower = range_.cursor.empty() ? Key{} : range_.cursor;
  batch.job.batch_size = controls_.batch_size();
  batch.job.epoch = options_.lane.claim.epoch;
  while (!range_.done()) {
    if (!controls_.may_begin() || controls_.limit_reached()) return Finish(BatchOutcome::Kind::kStopped, std::move(batch));
    absl::Status status = EnsureSession();
    bool stop = false;
    in_work_ = false;
    if (status.ok()) status = skip_.has_value() ? SkipRow(batch, stop) : RunSubBatch(batch);
    if (!status.ok()) {
      failed_bound_ = bound_;
      // What is not known to be whole is not trusted any further: the session goes, and with it the bound looked up ahead.
      if (SqlStateOf(status).empty()) Close();
      bound_.clear();
      BatchOutcome outcome = Finish(BatchOutcome::Kind::kFailed, std::move(batch));
      outcome.failed_sub_batch_size = size_in_use_;
      outcome.in_work = in_work_;
      outcome.error = std::move(status);
      if (outcome.job.has_value()) outcome.job->sqlstate = SqlStateOf(outcome.error);
      return outcome;
    }
    if (stop || batch.covered >= controls_.batch_size()) break;
  }
  return Finish(range_.done() ? BatchOutcome::Kind::kLaneDone : BatchOutcome::Kind::kBatchDone, std::move(batch));
}

absl::Status LaneRunner::EnsureSession() {
  {
    absl::MutexLock lock(&mutex_);
    if (session_ != nullptr) return absl::OkStatus();
  }
  LaneOptions lane = options_.lane;
  lane.range = range_;
  MD_ASSIGN_OR_RETURN(std::shared_ptr<LaneSession> session, target_.OpenLane(lane));
  absl::MutexLock lock(&mutex_);
  session_ = std::move(session);
  view_.backend_pid = session_->backend_pid();
  return absl::OkStatus();
}

std::int32_t LaneRunner::NextSize(std::int64_t covered) const {
  const std::int32_t batch = controls_.batch_size();
  std::int32_t size = servo_.size();
  const bool wide = options_.lane.pass > 1 && options_.adaptive && !options_.rows_share_keys;
  if (wide) {
    size = std::max(size, std::min(batch, kVerifySubBatchMin));
  } else {
    size = std::min(size, controls_.sub_batch_ceiling());
  }
  if (failure_cap_ > 0) size = std::min(size, failure_cap_);
  if (suspects_ > 0) size = std::min(size, std::max(1, suspects_ / 2));
  const std::int64_t left = covered < batch ? batch - covered : batch;
  return static_cast<std::int32_t>(std::max<std::int64_t>(1, std::min<std::int64_t>(size, left)));
}

absl::Status LaneRunner::RunSubBatch(Batch& batch) {
  std::shared_ptr<LaneSession> session;
  {
    absl::MutexLock lock(&mutex_);
    session = session_;
  }
  if (const std::int32_t ceiling = controls_.sub_batch_ceiling(); ceiling != servo_.ceiling()) {
    servo_.SetCeiling(ceiling);
    // A size that somebody set is the size, until it is set again.
    if (!options_.adaptive || controls_.pinned()) servo_.Pin(ceiling);
  }
  size_in_use_ = NextSize(batch.covered);
  const absl::Time begun = clock_.Now();
  if (bound_.empty() || bound_size_ != size_in_use_) {
    MD_ASSIGN_OR_RETURN(bound_, session->FindBound(range_, size_in_use_));
    // Looked up for a sub-batch that must not begin any more?
    if (!controls_.may_begin()) return absl::OkStatus();
  }
  SubBatchRequest request;
  request.old_cursor = range_.cursor;
  request.new_cursor = bound_;
  request.lane_upper = range_.upper;
  const std::int32_t next_size = NextSize(batch.covered + size_in_use_);
  request.next_size = bound_ == range_.upper ? 0 : next_size;
  // A few rows picked out by a failure may rightly be left as they are.
  request.check_where = options_.has_where && options_.lane.pass <= 1 && !saw_rows_ && suspects_ == 0 && failure_cap_ == 0;
  in_work_ = true;
  MD_ASSIGN_OR_RETURN(const SubBatchResult result, session->RunSubBatch(request));
  in_work_ = false;
  const absl::Duration took = clock_.Now() - begun;

  range_.cursor = std::move(request.new_cursor);
  bound_ = result.next_bound;
  bound_size_ = next_size;
  if (request.check_where && result.matched > 0) saw_rows_ = true;
  Count(batch, result.affected, result.at, took);
  controls_.AddRows(result.affected);
  const bool isolating = suspects_ > 0;
  // It is not among these.
  suspects_ = std::max(0, suspects_ - size_in_use_);
  // A remnant of a batch says nothing about a full one, and neither does what a failure made small.
  if (size_in_use_ >= servo_.size()) servo_.Record({.rows = size_in_use_, .execution = took});
  if (failure_cap_ > 0) failure_cap_ = failure_cap_ * 2 >= servo_.size() ? 0 : failure_cap_ * 2;
  Publish(result, took);
  if (isolating) {
    absl::MutexLock lock(&mutex_);
    ++view_.isolating;
  }
  options_.on_sub_batch(result.affected, took);
  return absl::OkStatus();
}

absl::Status LaneRunner::SkipRow(Batch& batch, bool& stop) {
  std::shared_ptr<LaneSession> session;
  {
    absl::MutexLock lock(&mutex_);
    session = session_;
  }
  size_in_use_ = 1;
  const absl::Time begun = clock_.Now();
  MD_ASSIGN_OR_RETURN(bound_, session->FindBound(range_, 1));
  bound_size_ = 1;
  const Skip skip = *std::exchange(skip_, std::nullopt);
  // Another row came in before it, or it is gone: then there is nothing to leave out yet, and the next sub-batch is of one row again.
  if (bound_ != skip.row) {
    suspects_ = std::max(suspects_, 1);
    return absl::OkStatus();
  }
  if (!controls_.may_begin()) return absl::OkStatus();
  SkipRequest request;
  request.old_cursor = range_.cursor;
  request.new_cursor = bound_;
  request.sqlstate = skip.sqlstate;
  request.message = skip.message;
  MD_ASSIGN_OR_RETURN(const SkipResult result, session->SkipRow(request));
  const absl::Duration took = clock_.Now() - begun;
  range_.cursor = std::move(request.new_cursor);
  bound_.clear();
  suspects_ = 0;
  Count(batch, /*affected=*/0, result.at, took);
  SubBatchResult nothing;
  Publish(nothing, took);
  absl::MutexLock lock(&mutex_);
  view_.failed += result.recorded;
  ++view_.isolating;
  stop = skip.then_stop;
  return absl::OkStatus();
}

void LaneRunner::Count(Batch& batch, std::int64_t affected, absl::Time at, absl::Duration took) {
  range_.rows += affected;
  range_.sub_batches += 1;
  batch.covered += size_in_use_;
  batch.job.rows += affected;
  batch.job.sub_batches += 1;
  batch.job.sub_batch_size = std::max(batch.job.sub_batch_size, size_in_use_);
  batch.job.working += took;
  if (batch.job.sub_batches == 1) batch.job.started_at = at - took;
  batch.job.finished_at = at;
}

void LaneRunner::Publish(const SubBatchResult& result, absl::Duration took) {
  absl::MutexLock lock(&mutex_);
  view_.range = range_;
  view_.affected += result.affected;
  view_.unchanged += result.unchanged;
  view_.sub_batches += 1;
  view_.sub_batch_size = size_in_use_;
  view_.working += took;
}

BatchOutcome LaneRunner::Finish(BatchOutcome::Kind kind, Batch batch) {
  BatchOutcome outcome;
  outcome.kind = kind;
  outcome.rows = batch.job.rows;
  if (batch.job.sub_batches > 0) {
    batch.job.upper = range_.cursor;
    const bool whole = kind == BatchOutcome::Kind::kBatchDone || kind == BatchOutcome::Kind::kLaneDone;
    batch.job.outcome = whole ? "DONE" : "INTERRUPTED";
    outcome.job = std::move(batch.job);
  }
  return outcome;
}

void LaneRunner::ShrinkTo(std::int32_t sub_batch_size) { failure_cap_ = std::max(1, sub_batch_size); }

void LaneRunner::Isolate(std::int32_t failed_size) { suspects_ = std::max(1, failed_size); }

void LaneRunner::SkipFailedRow(std::string sqlstate, std::string message, bool then_stop) {
  skip_ = Skip{failed_bound_, std::move(sqlstate), std::move(message), then_stop};
}

void LaneRunner::Close() {
  std::shared_ptr<LaneSession> dropped;
  absl::MutexLock lock(&mutex_);
  dropped.swap(session_);
  view_.backend_pid = 0;
}

LaneView LaneRunner::View() const {
  absl::MutexLock lock(&mutex_);
  return view_;
}

}  // namespace migrationd
