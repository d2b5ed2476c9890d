#include "server/execution/lane_runner.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

// While VERIFY finds nothing to do it only reads, which keeps nobody waiting: it may look at more rows at once. Not at more keys when
// nobody knows how many rows that is.
constexpr std::int32_t kReadingSubBatch = 1000;
// Where only a share of the time is allowed, a batch ends after about so long.
constexpr absl::Duration kBusyMax = absl::Seconds(1);
// After a failure a sub-batch grows again only while it is expected to take less than this share of the statement's time limit.
constexpr double kTimeoutShare = 0.5;
constexpr std::string_view kSqlStateQueryCanceled = "57014";  // statement_timeout, or somebody who waited for it
// While the database works on one sub-batch, the next one is there already.
constexpr int kDepthMax = 2;
// So many bounds at a time, so that there always is one for the next sub-batch.
constexpr std::int32_t kBoundsAhead = 3;

}  // namespace

LaneRunner::LaneRunner(Options options, Target& target, RunControls& controls, Clock& clock)
    : options_(std::move(options)),
      target_(target),
      controls_(controls),
      clock_(clock),
      range_(options_.lane.range),
      servo_({.initial = options_.first_sub_batch_size, .ceiling = controls.sub_batch_ceiling(), .target = controls.target_time()}),
      reading_servo_({.initial = kReadingSubBatch, .ceiling = kReadingSubBatch, .target = controls.target_time()}) {
  FollowControls();
  absl::MutexLock lock(&mutex_);
  view_.range = range_;
}

BatchOutcome LaneRunner::RunBatch() {
  Batch batch;
  answered_at_ = absl::InfinitePast();
  batch.begun = clock_.Now();
  batch.job.lane = range_.lane;
  batch.job.pass = options_.lane.pass;
  batch.job.lower = range_.cursor.empty() ? Key{} : range_.cursor;
  batch.job.batch_size = controls_.batch_size();
  batch.job.epoch = options_.lane.claim.epoch;
  while (!range_.done()) {
    const bool may_begin = controls_.may_begin() && !controls_.limit_reached();
    if (!may_begin && in_flight_.empty()) return Finish(BatchOutcome::Kind::kStopped, std::move(batch));
    absl::Status status = EnsureSession();
    bool stop = false;
    in_work_ = false;
    if (status.ok()) status = skip_.has_value() ? SkipRow(batch, stop) : RunSubBatches(batch);
    if (!status.ok()) {
      // What is not known to be whole is not trusted any further: the session goes, and with it the bounds looked up ahead.
      if (SqlStateOf(status).empty()) Close();
      bounds_.clear();
      BatchOutcome outcome = Finish(BatchOutcome::Kind::kFailed, std::move(batch));
      outcome.failed_sub_batch_size = size_in_use_;
      outcome.in_work = in_work_;
      outcome.error = std::move(status);
      if (outcome.job.has_value()) outcome.job->sqlstate = SqlStateOf(outcome.error);
      return outcome;
    }
    if (stop || (in_flight_.empty() && Over(batch))) break;
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
  std::int32_t size = Wide() ? reading_servo_.size() : std::min(servo_.size(), controls_.sub_batch_ceiling());
  if (failure_cap_ > 0) size = std::min(size, failure_cap_);
  if (suspects_ > 0) size = std::min(size, std::max(1, suspects_ / 2));
  const std::int64_t left = covered < batch ? batch - covered : batch;
  return static_cast<std::int32_t>(std::max<std::int64_t>(1, std::min<std::int64_t>(size, left)));
}

bool LaneRunner::Wide() const {
  const bool only_reads = options_.lane.pass > 1 && nothing_matched_ && suspects_ == 0 && failure_cap_ == 0;
  return only_reads && !options_.rows_share_keys && !FixedSize().has_value() &&
         reading_servo_.size() > std::min(servo_.size(), controls_.sub_batch_ceiling());
}

std::optional<std::int32_t> LaneRunner::FixedSize() const {
  const std::int32_t ceiling = controls_.sub_batch_ceiling();
  if (controls_.pinned()) return ceiling;
  if (!options_.adaptive) return std::min(options_.first_sub_batch_size, ceiling);
  return std::nullopt;
}

void LaneRunner::FollowControls() {
  if (const absl::Duration target = controls_.target_time(); target != servo_.target()) {
    servo_.SetTarget(target);
    reading_servo_.SetTarget(target);
  }
  if (const std::int32_t ceiling = controls_.sub_batch_ceiling(); ceiling != servo_.ceiling()) servo_.SetCeiling(ceiling);
  // A size that somebody set is the size for as long as it is set; afterwards the servo goes on from there.
  if (const auto fixed = FixedSize(); !fixed.has_value()) {
    if (servo_.pinned()) servo_.Unpin();
  } else if (!servo_.pinned() || servo_.size() != *fixed) {
    servo_.Pin(*fixed);
  }
}

bool LaneRunner::ChecksWhere() const { return options_.has_where && options_.lane.pass <= 1 && !controls_.where_satisfied(); }

bool LaneRunner::Over(const Batch& batch) const {
  if (batch.sent >= controls_.batch_size()) return true;
  return batch.job.sub_batches > 0 && controls_.allowed() < 1 && clock_.Now() - batch.begun > kBusyMax;
}

int LaneRunner::Depth() const {
  const bool looking_for_a_row = suspects_ > 0 || failure_cap_ > 0;
  return looking_for_a_row || ChecksWhere() || controls_.has_row_limit() ? 1 : kDepthMax;
}

bool LaneRunner::SentAll() const { return !in_flight_.empty() && in_flight_.back().new_cursor == range_.upper; }

absl::Status LaneRunner::RunSubBatches(Batch& batch) {
  std::shared_ptr<LaneSession> session;
  {
    absl::MutexLock lock(&mutex_);
    session = session_;
  }
  const int depth = std::min(Depth(), session->depth());
  while (static_cast<int>(in_flight_.size()) < depth && !SentAll() && !Over(batch) && controls_.may_begin() && !controls_.limit_reached()) {
    FollowControls();
    const std::int32_t size = NextSize(batch.sent);
    if (bounds_.empty() || bounds_size_ != size) {
      // The session is busy, and where the next range begins is known: as soon as it is free.
      if (!in_flight_.empty()) break;
      size_in_use_ = size;
      answered_at_ = clock_.Now();
      absl::StatusOr<Key> bound = session->FindBound(range_, size);
      if (!bound.ok()) {
        LearnFromTimeout(bound.status(), size, Wide());
        return bound.status();
      }
      bounds_.assign(1, *std::move(bound));
      bounds_size_ = size;
      continue;  // looked up for a sub-batch that must not begin any more?
    }
    const absl::Status sent = SendNext(*session, depth, batch);
    if (!sent.ok()) return Drain(*session, sent);
  }
  return in_flight_.empty() ? absl::OkStatus() : TakeAnswer(*session, batch);
}

absl::Status LaneRunner::SendNext(LaneSession& session, int depth, Batch& batch) {
  size_in_use_ = bounds_size_;
  SubBatchRequest request;
  request.old_cursor = in_flight_.empty() ? range_.cursor : in_flight_.back().new_cursor;
  request.new_cursor = std::move(bounds_.front());
  bounds_.pop_front();
  request.lane_upper = range_.upper;
  // A few rows picked out by a failure may rightly be left as they are.
  request.check_where = ChecksWhere() && suspects_ == 0 && failure_cap_ == 0;
  // What the bounds behind the last known one are for.
  const std::int64_t ahead = batch.sent + size_in_use_ + static_cast<std::int64_t>(bounds_.size()) * bounds_size_;
  const std::int32_t next_size = NextSize(ahead);
  const Key& last_known = bounds_.empty() ? request.new_cursor : bounds_.back();
  // One look-up at a time, since each begins where the one before it ended. Bounds for another size are of no use.
  const bool looking = std::any_of(in_flight_.begin(), in_flight_.end(), [](const InFlight& one) { return one.looks; });
  const bool looks = !looking && last_known != range_.upper && static_cast<int>(bounds_.size()) < kDepthMax &&
                     (bounds_.empty() || next_size == bounds_size_);
  if (looks) {
    request.next_size = next_size;
    // Not beyond the batch, whose last sub-batch may be a smaller one.
    const std::int64_t left = controls_.batch_size() - ahead;
    request.next_count = depth == 1 ? 1 : static_cast<std::int32_t>(std::clamp<std::int64_t>(left / next_size, 1, kBoundsAhead));
    request.look_from = last_known;
  }
  if (answered_at_ == absl::InfinitePast()) answered_at_ = clock_.Now();
  in_work_ = true;
  failed_bound_ = request.new_cursor;
  MD_RETURN_IF_ERROR(session.Send(request));
  in_flight_.push_back({std::move(request.new_cursor), size_in_use_, looks, request.check_where, Wide()});
  if (looks) bounds_size_ = next_size;
  batch.sent += size_in_use_;
  return absl::OkStatus();
}

absl::Status LaneRunner::TakeAnswer(LaneSession& session, Batch& batch) {
  size_in_use_ = in_flight_.front().size;
  failed_bound_ = in_flight_.front().new_cursor;
  in_work_ = true;
  absl::StatusOr<SubBatchResult> result = session.Receive();
  if (!result.ok()) {
    LearnFromTimeout(result.status(), size_in_use_, in_flight_.front().wide);
    in_flight_.pop_front();
    return Drain(session, result.status());
  }
  in_work_ = false;
  const InFlight done = std::move(in_flight_.front());
  in_flight_.pop_front();
  const absl::Time now = clock_.Now();
  const absl::Duration took = now - answered_at_;
  // The database went on with the next one at once.
  answered_at_ = in_flight_.empty() ? absl::InfinitePast() : now;

  range_.cursor = done.new_cursor;
  for (Key& bound : result->next_bounds) bounds_.push_back(std::move(bound));
  if (done.check_where && result->matched > 0) controls_.NoteWhereSatisfied();
  nothing_matched_ = options_.lane.pass > 1 && result->matched == 0;
  Count(batch, done.size, result->affected, result->at, took);
  controls_.AddRows(result->affected);
  const bool isolating = suspects_ > 0;
  // It is not among these.
  suspects_ = std::max(0, suspects_ - done.size);
  AdaptSize(done, took);
  Publish(done.size, *result, took);
  if (isolating) {
    absl::MutexLock lock(&mutex_);
    ++view_.isolating;
  }
  options_.on_sub_batch(result->affected, took);
  return absl::OkStatus();
}

void LaneRunner::AdaptSize(const InFlight& done, absl::Duration took) {
  SubBatchServo& servo = done.wide ? reading_servo_ : servo_;
  // A remnant of a batch says nothing about a full one. What a failure made small and is slow nevertheless does.
  if (done.size >= servo.size()) {
    servo.Record({.rows = done.size, .execution = took});
  } else if (failure_cap_ > 0) {
    servo.LowerToFit({.rows = done.size, .execution = took});
  }
  if (failure_cap_ == 0) return;
  // The servo has learnt: it is not held back by the failure any more.
  if (failure_cap_ >= servo_.size()) {
    failure_cap_ = 0;
    return;
  }
  const std::int32_t next = std::min(2 * failure_cap_, servo_.size());
  // A size that somebody set does not follow the servo, and the time to aim at may be longer than the database allows.
  const absl::Duration limit = options_.lane.statement_timeout;
  const absl::Duration expected = took * (static_cast<double>(next) / done.size);
  if (limit > absl::ZeroDuration() && expected > kTimeoutShare * limit) return;
  failure_cap_ = next == servo_.size() ? 0 : next;
}

void LaneRunner::LearnFromTimeout(const absl::Status& error, std::int32_t size, bool wide) {
  if (SqlStateOf(error) != kSqlStateQueryCanceled || answered_at_ == absl::InfinitePast()) return;
  SubBatchServo& servo = wide ? reading_servo_ : servo_;
  servo.LowerToFit({.rows = size, .execution = clock_.Now() - answered_at_});
}

absl::Status LaneRunner::Drain(LaneSession& session, absl::Status error) {
  answered_at_ = absl::InfinitePast();
  for (; !in_flight_.empty(); in_flight_.pop_front()) {
    const auto answer = session.Receive();
    // It was refused, as it should be: its old cursor never came about.
    if (!answer.ok() && !IsCommitUnknown(answer.status())) continue;
    if (!IsCommitUnknown(error)) error = CommitUnknownError(absl::StrCat("a sub-batch may have been committed besides: ", std::string(error.message())));
  }
  return error;
}

absl::Status LaneRunner::SkipRow(Batch& batch, bool& stop) {
  std::shared_ptr<LaneSession> session;
  {
    absl::MutexLock lock(&mutex_);
    session = session_;
  }
  size_in_use_ = 1;
  const absl::Time begun = clock_.Now();
  MD_ASSIGN_OR_RETURN(Key bound, session->FindBound(range_, 1));
  bounds_.assign(1, bound);
  bounds_size_ = 1;
  const Skip skip = *std::exchange(skip_, std::nullopt);
  // Another row came in before it, or it is gone: then there is nothing to leave out yet, and the next sub-batch is of one row again.
  if (bound != skip.row) {
    suspects_ = std::max(suspects_, 1);
    return absl::OkStatus();
  }
  if (!controls_.may_begin()) return absl::OkStatus();
  SkipRequest request;
  request.old_cursor = range_.cursor;
  request.new_cursor = bound;
  request.sqlstate = skip.sqlstate;
  request.message = skip.message;
  MD_ASSIGN_OR_RETURN(const SkipResult result, session->SkipRow(request));
  const absl::Duration took = clock_.Now() - begun;
  range_.cursor = std::move(request.new_cursor);
  bounds_.clear();
  suspects_ = 0;
  batch.sent += 1;
  Count(batch, /*size=*/1, /*affected=*/0, result.at, took);
  SubBatchResult nothing;
  Publish(/*size=*/1, nothing, took);
  absl::MutexLock lock(&mutex_);
  view_.failed += result.recorded;
  ++view_.isolating;
  stop = skip.then_stop;
  return absl::OkStatus();
}

void LaneRunner::Count(Batch& batch, std::int32_t size, std::int64_t affected, absl::Time at, absl::Duration took) {
  controls_.NoteWork();
  range_.rows += affected;
  range_.sub_batches += 1;
  batch.covered += size;
  batch.job.rows += affected;
  batch.job.sub_batches += 1;
  batch.job.sub_batch_size = std::max(batch.job.sub_batch_size, size);
  batch.job.working += took;
  if (batch.job.sub_batches == 1) batch.job.started_at = at - took;
  batch.job.finished_at = at;
}

void LaneRunner::Publish(std::int32_t size, const SubBatchResult& result, absl::Duration took) {
  absl::MutexLock lock(&mutex_);
  view_.range = range_;
  view_.affected += result.affected;
  view_.unchanged += result.unchanged;
  view_.sub_batches += 1;
  view_.sub_batch_size = size;
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
