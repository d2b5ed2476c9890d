#include "tests/support/in_memory_target.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

int KeyOf(const Key& key) {
  int value = 0;
  return key.empty() || !absl::SimpleAtoi(key[0], &value) ? 0 : value;
}
Key KeyOf(int value) { return Key{absl::StrCat(value)}; }

// The keys that a sub-batch covers: above the cursor, or from the lower bound on where there is none yet.
int FirstKey(const LaneRange& range, const Key& cursor) {
  return cursor.empty() ? KeyOf(range.lower) : KeyOf(cursor) + 1;
}

std::string TokenOf(const std::string& migration, std::int64_t epoch) {
  return absl::StrCat("token of ", migration, " ", epoch);
}

ColumnFacts Column(const std::string& name, const std::string& type, bool not_null) {
  ColumnFacts column;
  column.name = name;
  column.type = type;
  column.not_null = not_null;
  return column;
}

}  // namespace

class InMemorySession final : public LaneSession {
 public:
  InMemorySession(std::shared_ptr<InMemoryDatabase> database, LaneOptions options, std::stop_token stop)
      : database_(std::move(database)),
        options_(std::move(options)),
        has_where_(options_.plan->has_where),
        stop_(std::move(stop)) {
    options_.plan = nullptr;  // the caller's
  }

  absl::StatusOr<Key> FindBound(const LaneRange& range, std::int64_t size) override {
    MD_RETURN_IF_ERROR(database_->Enter("FindBound", stop_));
    const Key bound =
        KeyOf(std::min<int>(KeyOf(range.upper), FirstKey(range, range.cursor) + static_cast<int>(size) - 1));
    MD_RETURN_IF_ERROR(database_->Leave("FindBound", stop_));
    return bound;
  }

  int depth() const override { return 2; }

  absl::Status Send(const SubBatchRequest& request) override {
    sent_.push_back(request);
    return absl::OkStatus();
  }

  absl::StatusOr<SubBatchResult> Receive() override {
    const SubBatchRequest request = std::move(sent_.front());
    sent_.pop_front();
    MD_RETURN_IF_ERROR(database_->Enter("RunSubBatch", stop_));
    absl::StatusOr<SubBatchResult> result;
    {
      absl::MutexLock lock(&database_->mutex_);
      if (std::exchange(database_->orphan_next_, false)) {
        database_->orphan_ = InMemoryDatabase::Orphan{options_, has_where_, request};
        return CommitUnknownError("the connection broke during COMMIT");
      }
      result = database_->Commit(options_, has_where_, request);
    }
    MD_RETURN_IF_ERROR(result.status());
    int bound = KeyOf(request.look_from.empty() ? request.new_cursor : request.look_from);
    for (int i = 0; request.next_size > 0 && i < request.next_count && bound < KeyOf(request.lane_upper); ++i) {
      bound = std::min<int>(KeyOf(request.lane_upper), bound + static_cast<int>(request.next_size));
      result->next_bounds.push_back(KeyOf(bound));
    }
    MD_RETURN_IF_ERROR(database_->Leave("RunSubBatch", stop_));
    return result;
  }

  absl::StatusOr<SkipResult> SkipRow(const SkipRequest& request) override {
    MD_RETURN_IF_ERROR(database_->Enter("SkipRow", stop_));
    absl::StatusOr<SkipResult> result = SkipResult{};
    {
      absl::MutexLock lock(&database_->mutex_);
      result = database_->Skip(options_, request);
    }
    MD_RETURN_IF_ERROR(result.status());
    MD_RETURN_IF_ERROR(database_->Leave("SkipRow", stop_));
    return result;
  }

  int backend_pid() const override { return 4711; }

 private:
  const std::shared_ptr<InMemoryDatabase> database_;
  LaneOptions options_;
  const bool has_where_;
  const std::stop_token stop_;
  std::deque<SubBatchRequest> sent_;
};

InMemoryDatabase::InMemoryDatabase(int rows) : rows_(rows), times_(static_cast<std::size_t>(rows), 0) {
  identity_.system_identifier = "1000";
  identity_.database_oid = 5;
  for (int key = 1; key <= rows; ++key) undone_.insert(key);
}

std::vector<int> InMemoryDatabase::Times() const {
  absl::MutexLock lock(&mutex_);
  return times_;
}

void InMemoryDatabase::Undo(int key) {
  absl::MutexLock lock(&mutex_);
  undone_.insert(key);
}

void InMemoryDatabase::MakeStubborn(int key) {
  absl::MutexLock lock(&mutex_);
  stubborn_.insert(key);
}

void InMemoryDatabase::Poison(int key) {
  absl::MutexLock lock(&mutex_);
  poisoned_.insert(key);
}

void InMemoryDatabase::Cure(int key) {
  absl::MutexLock lock(&mutex_);
  poisoned_.erase(key);
}

std::set<int> InMemoryDatabase::Failed(const std::string& migration) const {
  absl::MutexLock lock(&mutex_);
  const auto owner = owners_.find(migration);
  return owner == owners_.end() ? std::set<int>() : owner->second.failed;
}

void InMemoryDatabase::OrphanNextSubBatch() {
  absl::MutexLock lock(&mutex_);
  orphan_next_ = true;
}

bool InMemoryDatabase::HasOrphan() const {
  absl::MutexLock lock(&mutex_);
  return orphan_.has_value();
}

bool InMemoryDatabase::LetOrphanCommit() {
  absl::MutexLock lock(&mutex_);
  const Orphan orphan = *std::exchange(orphan_, std::nullopt);
  return Commit(orphan.options, orphan.has_where, orphan.request).ok();
}

void InMemoryDatabase::ChangeTable(std::function<void(TableFacts&)> change) {
  absl::MutexLock lock(&mutex_);
  change_table_ = std::move(change);
}

void InMemoryDatabase::DropControlSchema() {
  absl::MutexLock lock(&mutex_);
  owners_.clear();
  identity_.uuid.clear();
}

void InMemoryDatabase::DropOwner(const std::string& migration) {
  absl::MutexLock lock(&mutex_);
  owners_.erase(migration);
}

void InMemoryDatabase::Replace() {
  absl::MutexLock lock(&mutex_);
  owners_.clear();
  identity_ = TargetIdentity{"", absl::StrCat(identity_.system_identifier, "1"), 5};
  times_.assign(times_.size(), 0);
  for (int key = 1; key <= rows_; ++key) undone_.insert(key);
}

void InMemoryDatabase::GiveTo(const std::string& migration, const std::string& control_id) {
  absl::MutexLock lock(&mutex_);
  owners_[migration].control_id = control_id;
}

bool InMemoryDatabase::Completed(const std::string& migration) const {
  absl::MutexLock lock(&mutex_);
  const auto owner = owners_.find(migration);
  return owner != owners_.end() && owner->second.checkpoint.completed_at.has_value();
}

int InMemoryDatabase::RowsLeft(const std::string& migration) const {
  absl::MutexLock lock(&mutex_);
  const auto owner = owners_.find(migration);
  return owner == owners_.end() ? 0 : static_cast<int>(owner->second.unchanged.size());
}

std::vector<std::string> InMemoryDatabase::StepsRun() const {
  absl::MutexLock lock(&mutex_);
  return steps_run_;
}

int InMemoryDatabase::Calls(const std::string& call) const {
  absl::MutexLock lock(&mutex_);
  const auto found = calls_.find(call);
  return found == calls_.end() ? 0 : found->second;
}

int InMemoryDatabase::TotalCalls() const {
  absl::MutexLock lock(&mutex_);
  int total = 0;
  for (const auto& [call, times] : calls_) total += times;
  return total;
}

absl::Status InMemoryDatabase::Enter(const std::string& call, const std::stop_token& stop) {
  {
    absl::MutexLock lock(&mutex_);
    ++calls_[call];
  }
  if (stop.stop_requested()) return DatabaseError("", "told to stop");
  return before(call, stop);
}

absl::Status InMemoryDatabase::Leave(const std::string& call, const std::stop_token& stop) { return after(call, stop); }

absl::StatusOr<InMemoryDatabase::Owner*> InMemoryDatabase::Find(const FenceClaim& claim) {
  const auto owner = owners_.find(claim.migration);
  if (owner == owners_.end() || owner->second.checkpoint.claim.epoch != claim.epoch ||
      owner->second.checkpoint.claim.token != claim.token) {
    return DatabaseError(kSqlStateFenced, absl::StrCat("fenced: another owner works on ", claim.migration));
  }
  return &owner->second;
}

Checkpoint InMemoryDatabase::Read(const Owner& owner) {
  Checkpoint checkpoint = owner.checkpoint;
  for (const LaneRange& lane : checkpoint.lanes) {
    checkpoint.pass_affected += lane.rows;
    checkpoint.sub_batches_total += lane.sub_batches;
  }
  checkpoint.rows_total += checkpoint.pass_affected;
  checkpoint.unchanged_rows = static_cast<std::int64_t>(owner.unchanged.size());
  checkpoint.failed_rows = static_cast<std::int64_t>(owner.failed.size());
  checkpoint.steps_done.assign(owner.steps.begin(), owner.steps.end());
  return checkpoint;
}

absl::StatusOr<Checkpoint> InMemoryDatabase::TakeOver(const TakeOverRequest& request) {
  if (request.may_create && owners_.find(request.migration) == owners_.end()) {
    if (identity_.uuid.empty()) return DatabaseError("42P01", "relation \"migration_control.owner\" does not exist");
    owners_[request.migration].control_id = request.control_id;
  }
  const auto found = owners_.find(request.migration);
  if (found == owners_.end()) return absl::NotFoundError("the checkpoint is missing");
  Owner& owner = found->second;
  if (owner.deleted) return absl::FailedPreconditionError("it was deleted");
  if (owner.control_id != request.control_id && !request.adopt) {
    return absl::PermissionDeniedError("the checkpoint belongs to another control store");
  }
  owner.control_id = request.control_id;
  Checkpoint& checkpoint = owner.checkpoint;
  const std::int64_t epoch = std::max(checkpoint.claim.epoch, request.store_epoch) + 1;
  checkpoint.claim = {request.migration, epoch, TokenOf(request.migration, epoch)};
  return Read(owner);
}

absl::StatusOr<SubBatchResult> InMemoryDatabase::Commit(const LaneOptions& options, bool has_where,
                                                        const SubBatchRequest& request) {
  MD_ASSIGN_OR_RETURN(Owner* const owner, Find(options.claim));
  MD_ASSIGN_OR_RETURN(LaneRange* const lane, FindLane(options, request.old_cursor));
  SubBatchResult result;
  result.matched = 0;
  const int first = FirstKey(*lane, lane->cursor);
  const int last = KeyOf(request.new_cursor);
  int yielding = 0;
  for (int key = first; key <= last; ++key) {
    if (!Matches(key, *owner, has_where, options.pass)) continue;
    if (poisoned_.count(key) != 0) return DatabaseError("22012", "division by zero");
    ++result.matched;
    yielding += stubborn_.count(key) == 0 ? 1 : 0;
  }
  MD_RETURN_IF_ERROR(statement(last - first + 1, static_cast<int>(result.matched)));
  if (request.check_where && has_where && result.matched > 0 && yielding == 0) {
    return DatabaseError(kSqlStateWhereNotSatisfied, "every row of the first sub-batch still matches `where`");
  }
  for (int key = first; key <= last; ++key) {
    if (!Matches(key, *owner, has_where, options.pass)) continue;
    if (stubborn_.count(key) != 0) {
      if (options.pass > 1 && owner->unchanged.insert(key).second) ++result.unchanged;
      continue;
    }
    undone_.erase(key);
    ++times_[static_cast<std::size_t>(key - 1)];
    ++result.affected;
  }
  lane->cursor = request.new_cursor;
  lane->rows += result.affected;
  lane->sub_batches += 1;
  result.at = absl::FromUnixSeconds(1'800'000'000);
  return result;
}

bool InMemoryDatabase::Matches(int key, const Owner& owner, bool has_where, std::int32_t pass) const {
  if (has_where && undone_.count(key) == 0) return false;
  return pass <= 1 || owner.failed.count(key) == 0;
}

absl::StatusOr<LaneRange*> InMemoryDatabase::FindLane(const LaneOptions& options, const Key& cursor) {
  MD_ASSIGN_OR_RETURN(Owner* const owner, Find(options.claim));
  const auto lane = std::find_if(owner->checkpoint.lanes.begin(), owner->checkpoint.lanes.end(),
                                 [&](const LaneRange& known) { return known.lane == options.range.lane; });
  if (lane == owner->checkpoint.lanes.end() || lane->cursor != cursor) {
    return DatabaseError(kSqlStateFenced, "fenced: the cursor is not where it was");
  }
  return &*lane;
}

absl::StatusOr<SkipResult> InMemoryDatabase::Skip(const LaneOptions& options, const SkipRequest& request) {
  MD_ASSIGN_OR_RETURN(Owner* const owner, Find(options.claim));
  MD_ASSIGN_OR_RETURN(LaneRange* const lane, FindLane(options, request.old_cursor));
  SkipResult result;
  for (int key = FirstKey(*lane, lane->cursor); key <= KeyOf(request.new_cursor); ++key) {
    if (owner->failed.insert(key).second) ++result.recorded;
  }
  lane->cursor = request.new_cursor;
  lane->sub_batches += 1;
  result.at = absl::FromUnixSeconds(1'800'000'000);
  return result;
}

absl::StatusOr<TargetIdentity> InMemoryTarget::Open(bool may_create_identity) {
  MD_RETURN_IF_ERROR(database_->Enter("Open", stop_));
  TargetIdentity identity;
  {
    absl::MutexLock lock(&database_->mutex_);
    if (database_->identity_.uuid.empty() && may_create_identity) {
      database_->identity_.uuid = absl::StrCat("identity ", ++database_->identities_made_);
    }
    identity = database_->identity_;
  }
  MD_RETURN_IF_ERROR(database_->Leave("Open", stop_));
  return identity;
}

absl::StatusOr<TableFacts> InMemoryTarget::Inspect(const TableName& table) {
  MD_RETURN_IF_ERROR(database_->Enter("Inspect", stop_));
  TableFacts facts;
  facts.schema = table.schema.empty() ? "public" : table.schema;
  facts.name = table.name;
  facts.oid = 4711;
  facts.columns = {Column("id", "bigint", true), Column("done", "boolean", true), Column("n", "integer", false),
                   Column("m", "integer", false)};
  facts.primary_key = {"id"};
  facts.unique_keys = {{"id"}};
  facts.estimated_rows = database_->rows_;
  absl::MutexLock lock(&database_->mutex_);
  if (database_->change_table_ != nullptr) database_->change_table_(facts);
  return facts;
}

absl::Status InMemoryTarget::CheckStatement(const std::string&, const std::vector<std::string>&, const std::string&) {
  return database_->Enter("CheckStatement", stop_);
}

absl::StatusOr<bool> InMemoryTarget::AskBoolean(const std::string& sql, const std::string&) {
  MD_RETURN_IF_ERROR(database_->Enter("AskBoolean", stop_));
  return sql == "SELECT true";
}

absl::StatusOr<Checkpoint> InMemoryTarget::TakeOver(const TakeOverRequest& request) {
  MD_RETURN_IF_ERROR(database_->Enter("TakeOver", stop_));
  Checkpoint checkpoint;
  {
    absl::MutexLock lock(&database_->mutex_);
    MD_ASSIGN_OR_RETURN(checkpoint, database_->TakeOver(request));
  }
  MD_RETURN_IF_ERROR(database_->Leave("TakeOver", stop_));
  return checkpoint;
}

absl::StatusOr<Checkpoint> InMemoryTarget::Reset(const FenceClaim& claim, Forgetting what) {
  MD_RETURN_IF_ERROR(database_->Enter("Reset", stop_));
  Checkpoint left;
  {
    absl::MutexLock lock(&database_->mutex_);
    MD_ASSIGN_OR_RETURN(auto* const owner, database_->Find(claim));
    if (what == Forgetting::kProgress) owner->checkpoint = Checkpoint{};
    owner->checkpoint.claim = claim;
    owner->checkpoint.completed_at.reset();
    owner->unchanged.clear();
    if (what == Forgetting::kProgress) owner->failed.clear();
    left = InMemoryDatabase::Read(*owner);
  }
  MD_RETURN_IF_ERROR(database_->Leave("Reset", stop_));
  return left;
}

absl::Status InMemoryTarget::RecordTable(const FenceClaim& claim, std::int64_t table_oid,
                                         const std::string& column_digest) {
  MD_RETURN_IF_ERROR(database_->Enter("RecordTable", stop_));
  {
    absl::MutexLock lock(&database_->mutex_);
    MD_ASSIGN_OR_RETURN(auto* const owner, database_->Find(claim));
    owner->checkpoint.table_oid = table_oid;
    owner->checkpoint.column_digest = column_digest;
  }
  return database_->Leave("RecordTable", stop_);
}

absl::StatusOr<std::vector<LaneRange>> InMemoryTarget::PlanLanes(const MigrationPlan&, int lanes) {
  MD_RETURN_IF_ERROR(database_->Enter("PlanLanes", stop_));
  std::vector<LaneRange> ranges;
  const int wanted = std::max(1, lanes);
  for (int i = 0; i < wanted; ++i) {
    LaneRange range;
    range.lane = i;
    range.lower = KeyOf(1 + database_->rows_ * i / wanted);
    range.upper = KeyOf(database_->rows_ * (i + 1) / wanted);
    ranges.push_back(range);
  }
  return ranges;
}

absl::StatusOr<RowEstimate> InMemoryTarget::EstimateRows(const MigrationPlan& plan, absl::Duration) {
  MD_RETURN_IF_ERROR(database_->Enter("EstimateRows", stop_));
  absl::MutexLock lock(&database_->mutex_);
  if (!plan.has_where) return RowEstimate{database_->rows_, kEstimatedByStatistics};
  return RowEstimate{static_cast<std::int64_t>(database_->undone_.size()), kEstimatedByCount};
}

absl::StatusOr<RangeCount> InMemoryTarget::CountLeft(const RangeCountRequest& request) {
  MD_RETURN_IF_ERROR(database_->Enter("CountLeft", stop_));
  RangeCount counted;
  {
    absl::MutexLock lock(&database_->mutex_);
    const int first = FirstKey(request.range, request.range.cursor);
    const int last = std::min<int>(KeyOf(request.range.upper), first + static_cast<int>(request.size) - 1);
    for (int key = first; key <= last; ++key) {
      bool recorded = false;
      for (const auto& [name, owner] : database_->owners_) {
        recorded = recorded || owner.failed.count(key) != 0 || owner.unchanged.count(key) != 0;
      }
      if (!recorded && database_->undone_.count(key) != 0) ++counted.matching;
    }
    counted.upper = KeyOf(last);
    // Longer than it should: the next step is not larger.
    counted.took = absl::Milliseconds(200);
  }
  MD_RETURN_IF_ERROR(database_->Leave("CountLeft", stop_));
  return counted;
}

absl::StatusOr<Checkpoint> InMemoryTarget::BeginPass(const FenceClaim& claim, std::int32_t pass,
                                                     const std::vector<LaneRange>& lanes) {
  MD_RETURN_IF_ERROR(database_->Enter("BeginPass", stop_));
  Checkpoint begun;
  {
    absl::MutexLock lock(&database_->mutex_);
    MD_ASSIGN_OR_RETURN(auto* const owner, database_->Find(claim));
    Checkpoint& checkpoint = owner->checkpoint;
    if (checkpoint.pass != pass - 1) return DatabaseError(kSqlStateFenced, "the pass was begun already");
    const Checkpoint before = InMemoryDatabase::Read(*owner);
    checkpoint.rows_total = before.rows_total;
    checkpoint.sub_batches_total = before.sub_batches_total;
    checkpoint.pass = pass;
    checkpoint.lanes = lanes;
    ++checkpoint.claim.epoch;
    checkpoint.claim.token = TokenOf(claim.migration, checkpoint.claim.epoch);
    begun = InMemoryDatabase::Read(*owner);
  }
  MD_RETURN_IF_ERROR(database_->Leave("BeginPass", stop_));
  return begun;
}

absl::StatusOr<Checkpoint> InMemoryTarget::SplitLanes(const FenceClaim& claim, const MigrationPlan&, int wanted) {
  MD_RETURN_IF_ERROR(database_->Enter("SplitLanes", stop_));
  Checkpoint split;
  {
    absl::MutexLock lock(&database_->mutex_);
    MD_ASSIGN_OR_RETURN(auto* const owner, database_->Find(claim));
    Checkpoint& checkpoint = owner->checkpoint;
    std::vector<LaneRange> lanes;
    int undone = static_cast<int>(std::count_if(checkpoint.lanes.begin(), checkpoint.lanes.end(), [](const LaneRange& one) { return !one.done(); }));
    for (const LaneRange& lane : checkpoint.lanes) {
      lanes.push_back(lane);
      lanes.back().lane = static_cast<std::int32_t>(lanes.size()) - 1;
      const int first = FirstKey(lane, lane.cursor);
      if (lane.done() || undone >= wanted || KeyOf(lane.upper) - first < 2) continue;
      // Halves.
      const Key middle = KeyOf((first + KeyOf(lane.upper)) / 2);
      lanes.back().upper = middle;
      LaneRange rest;
      rest.lane = static_cast<std::int32_t>(lanes.size());
      rest.lower = middle;
      rest.cursor = middle;
      rest.upper = lane.upper;
      lanes.push_back(rest);
      ++undone;
    }
    checkpoint.lanes = lanes;
    ++checkpoint.claim.epoch;
    checkpoint.claim.token = TokenOf(claim.migration, checkpoint.claim.epoch);
    split = InMemoryDatabase::Read(*owner);
  }
  MD_RETURN_IF_ERROR(database_->Leave("SplitLanes", stop_));
  return split;
}

absl::StatusOr<std::unique_ptr<LaneSession>> InMemoryTarget::OpenLane(const LaneOptions& options) {
  MD_RETURN_IF_ERROR(database_->Enter("OpenLane", stop_));
  return std::make_unique<InMemorySession>(database_, options, stop_);
}

absl::Status InMemoryTarget::RunStep(const FenceClaim& claim, const std::string& step, const std::string&,
                                     const std::string&, absl::Duration) {
  MD_RETURN_IF_ERROR(database_->Enter("RunStep", stop_));
  {
    absl::MutexLock lock(&database_->mutex_);
    MD_ASSIGN_OR_RETURN(auto* const owner, database_->Find(claim));
    if (owner->steps.insert(step).second) database_->steps_run_.push_back(step);
  }
  return database_->Leave("RunStep", stop_);
}

absl::Status InMemoryTarget::ForgetSteps(const FenceClaim& claim) {
  MD_RETURN_IF_ERROR(database_->Enter("ForgetSteps", stop_));
  {
    absl::MutexLock lock(&database_->mutex_);
    MD_ASSIGN_OR_RETURN(auto* const owner, database_->Find(claim));
    owner->steps.clear();
  }
  return database_->Leave("ForgetSteps", stop_);
}

absl::StatusOr<std::int64_t> InMemoryTarget::RetryRow(const RowRetry& retry) {
  MD_RETURN_IF_ERROR(database_->Enter("RetryRow", stop_));
  std::int64_t affected = 0;
  {
    absl::MutexLock lock(&database_->mutex_);
    MD_ASSIGN_OR_RETURN(auto* const owner, database_->Find(retry.claim));
    const int key = KeyOf(retry.key);
    if (owner->failed.count(key) != 0) {
      if (database_->poisoned_.count(key) != 0) return DatabaseError("22012", "division by zero");
      owner->failed.erase(key);
      if (!retry.plan->has_where || database_->undone_.erase(key) != 0) {
        ++database_->times_[static_cast<std::size_t>(key - 1)];
        affected = 1;
      }
      owner->checkpoint.rows_total += affected;
    }
  }
  MD_RETURN_IF_ERROR(database_->Leave("RetryRow", stop_));
  return affected;
}

absl::StatusOr<std::vector<RowFailure>> InMemoryTarget::ListFailures(const std::string& migration, const Key& after, int limit) {
  MD_RETURN_IF_ERROR(database_->Enter("ListFailures", stop_));
  absl::MutexLock lock(&database_->mutex_);
  std::vector<RowFailure> failures;
  const auto owner = database_->owners_.find(migration);
  if (owner == database_->owners_.end()) return failures;
  for (const int key : owner->second.failed) {
    if (!after.empty() && key <= KeyOf(after)) continue;
    if (static_cast<int>(failures.size()) == limit) break;
    RowFailure failure;
    failure.key = KeyOf(key);
    failure.pass = 1;
    failure.sqlstate = "22012";
    failure.message = "division by zero";
    failure.at = absl::FromUnixSeconds(1'800'000'000);
    failures.push_back(failure);
  }
  return failures;
}

absl::Status InMemoryTarget::Barrier(const FenceClaim& claim, bool completed) {
  const std::string call = completed ? "Barrier(completed)" : "Barrier";
  MD_RETURN_IF_ERROR(database_->Enter(call, stop_));
  {
    absl::MutexLock lock(&database_->mutex_);
    MD_ASSIGN_OR_RETURN(auto* const owner, database_->Find(claim));
    if (completed) owner->checkpoint.completed_at = absl::FromUnixSeconds(1'800'000'000);
  }
  return database_->Leave(call, stop_);
}

absl::StatusOr<QuiesceResult> InMemoryTarget::Revoke(const TakeOverRequest& request, absl::Duration) {
  MD_RETURN_IF_ERROR(database_->Enter("Revoke", stop_));
  QuiesceResult result;
  {
    absl::MutexLock lock(&database_->mutex_);
    MD_ASSIGN_OR_RETURN(result.checkpoint, database_->TakeOver(request));
  }
  result.quiesced_at = absl::FromUnixSeconds(1'800'000'000);
  MD_RETURN_IF_ERROR(database_->Leave("Revoke", stop_));
  return result;
}

absl::Status InMemoryTarget::Forget(const std::string& migration, const std::string& control_id) {
  MD_RETURN_IF_ERROR(database_->Enter("Forget", stop_));
  {
    absl::MutexLock lock(&database_->mutex_);
    InMemoryDatabase::Owner& owner = database_->owners_[migration];
    owner.control_id = control_id;
    owner.deleted = true;
  }
  return database_->Leave("Forget", stop_);
}

void InMemoryDatabase::SetVitals(const TargetVitals& vitals) {
  absl::MutexLock lock(&mutex_);
  vitals_ = vitals;
}

void InMemoryDatabase::MakeSomebodyWait(const std::string& migration) {
  absl::MutexLock lock(&mutex_);
  waited_for_.insert(migration);
}

class InMemoryHealthSession final : public HealthSession {
 public:
  InMemoryHealthSession(std::shared_ptr<InMemoryDatabase> database, std::stop_token stop)
      : database_(std::move(database)), stop_(std::move(stop)) {}

  absl::StatusOr<TargetVitals> Read(const VitalsRequest&) override {
    MD_RETURN_IF_ERROR(database_->Enter("ReadHealth", stop_));
    TargetVitals vitals;
    {
      absl::MutexLock lock(&database_->mutex_);
      vitals = database_->vitals_;
      vitals.at = absl::FromUnixSeconds(1'800'000'000) + absl::Milliseconds(++looks_);
    }
    MD_RETURN_IF_ERROR(database_->Leave("ReadHealth", stop_));
    return vitals;
  }

  absl::StatusOr<std::vector<Yielded>> YieldToWaiters(const std::vector<FenceClaim>& claims, absl::Duration patience) override {
    MD_RETURN_IF_ERROR(database_->Enter("YieldToWaiters", stop_));
    std::vector<Yielded> yielded;
    absl::MutexLock lock(&database_->mutex_);
    for (const FenceClaim& claim : claims) {
      if (database_->waited_for_.erase(claim.migration) == 0) continue;
      yielded.push_back({.migration = claim.migration, .backend_pid = 7, .waiter_pid = 99, .waiter = "psql", .waited = patience});
    }
    return yielded;
  }

 private:
  const std::shared_ptr<InMemoryDatabase> database_;
  const std::stop_token stop_;
  int looks_ = 0;
};

absl::StatusOr<std::unique_ptr<HealthSession>> InMemoryTarget::OpenHealth() {
  MD_RETURN_IF_ERROR(database_->Enter("OpenHealth", stop_));
  return std::make_unique<InMemoryHealthSession>(database_, stop_);
}

}  // namespace migrationd
