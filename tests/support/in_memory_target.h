// A target for tests of what drives one: the protocol of server/targets/target.h in memory, on a table of whole numbers, with a hook
// before and after each call, so that anything can happen exactly there.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/targets/target.h"

namespace migrationd {

// The database. Thread-safe; the hooks are set while nothing runs.
class InMemoryDatabase {
 public:
  // A table with the keys 1 to `rows`, columns id, done and n. Every row matches `where` until it is done.
  explicit InMemoryDatabase(int rows);

  // Called with the name of a method of Target or LaneSession before it does anything, and after it has done it, without a lock. What
  // they return unless OK is the method's answer.
  using Hook = std::function<absl::Status(const std::string& call, const std::stop_token& stop)>;
  Hook before = [](const std::string&, const std::stop_token&) { return absl::OkStatus(); };
  Hook after = [](const std::string&, const std::stop_token&) { return absl::OkStatus(); };

  // The statement of a sub-batch over so many keys, of which so many rows match: its error, unless OK. May let time go by. Called under
  // the database's lock, as if the rows were locked.
  using Statement = std::function<absl::Status(int keys, int matching)>;
  Statement statement = [](int, int) { return absl::OkStatus(); };

  // How often each row was done; the first is that of key 1.
  std::vector<int> Times() const;
  // The row matches `where` again, as if the application had changed it.
  void Undo(int key);
  // The statement leaves this row as it is.
  void MakeStubborn(int key);

  // The statement fails for this row (22012), until it is cured.
  void Poison(int key);
  void Cure(int key);
  // Keys recorded as failed.
  std::set<int> Failed(const std::string& migration) const;

  // The next sub-batch is sent and its connection breaks: the answer is that its commit is unknown. It has not ended yet.
  void OrphanNextSubBatch();
  bool HasOrphan() const;
  // The orphan's backend gets to its check-and-set now. True when it committed.
  bool LetOrphanCommit();

  // What looks at its health find from now on; the time is that of the look.
  void SetVitals(const TargetVitals& vitals);
  // The next look for sessions that wait finds that this claim's sub-batch was in the way.
  void MakeSomebodyWait(const std::string& migration);

  // The table is found like that from now on; its rows stay what they are.
  void ChangeTable(std::function<void(TableFacts&)> change);

  void DropControlSchema();
  void DropOwner(const std::string& migration);
  // Another, empty one stands behind the name.
  void Replace();
  // Of that control store now.
  void GiveTo(const std::string& migration, const std::string& control_id);

  bool Completed(const std::string& migration) const;
  // Rows recorded as left as they are.
  int RowsLeft(const std::string& migration) const;
  // Statements of prepare and cleanup in the order in which they ran: "prepare/0" ...
  std::vector<std::string> StepsRun() const;
  // How often a method was called.
  int Calls(const std::string& call) const;
  int TotalCalls() const;

 private:
  friend class InMemoryTarget;
  friend class InMemorySession;
  friend class InMemoryHealthSession;

  struct Owner {
    std::string control_id;
    Checkpoint checkpoint;  // lanes of the pass; the totals are those of the passes before
    std::set<std::string> steps;
    std::set<int> unchanged;
    std::set<int> failed;
    bool deleted = false;
  };
  struct Orphan {
    LaneOptions options;
    bool has_where = false;
    SubBatchRequest request;
  };

  absl::Status Enter(const std::string& call, const std::stop_token& stop) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status Leave(const std::string& call, const std::stop_token& stop) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Owner*> Find(const FenceClaim& claim) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Checkpoint> TakeOver(const TakeOverRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<SubBatchResult> Commit(const LaneOptions& options, bool has_where, const SubBatchRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the sub-batch has to do with that row.
  bool Matches(int key, const Owner& owner, bool has_where, std::int32_t pass) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<SkipResult> Skip(const LaneOptions& options, const SkipRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<LaneRange*> FindLane(const LaneOptions& options, const Key& cursor) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static Checkpoint Read(const Owner& owner);

  const int rows_;
  mutable absl::Mutex mutex_;
  TargetIdentity identity_ ABSL_GUARDED_BY(mutex_);
  std::int64_t identities_made_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, Owner> owners_ ABSL_GUARDED_BY(mutex_);
  std::vector<int> times_ ABSL_GUARDED_BY(mutex_);
  std::set<int> undone_ ABSL_GUARDED_BY(mutex_);
  std::set<int> stubborn_ ABSL_GUARDED_BY(mutex_);
  std::set<int> poisoned_ ABSL_GUARDED_BY(mutex_);
  bool orphan_next_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<Orphan> orphan_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> steps_run_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int> calls_ ABSL_GUARDED_BY(mutex_);
  std::function<void(TableFacts&)> change_table_ ABSL_GUARDED_BY(mutex_);
  TargetVitals vitals_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> waited_for_ ABSL_GUARDED_BY(mutex_);
};

class InMemoryTarget final : public Target {
 public:
  InMemoryTarget(std::string name, std::shared_ptr<InMemoryDatabase> database, std::stop_token stop = {})
      : name_(std::move(name)), database_(std::move(database)), stop_(std::move(stop)) {}

  const std::string& name() const override { return name_; }
  std::shared_ptr<Target> WithStop(std::stop_token stop) override {
    return std::make_shared<InMemoryTarget>(name_, database_, std::move(stop));
  }
  absl::StatusOr<TargetIdentity> Open(bool may_create_identity) override;
  absl::StatusOr<TargetHealth> Health() override { return TargetHealth{}; }
  absl::StatusOr<TableFacts> Inspect(const TableName& table) override;
  absl::Status CheckStatement(const std::string& sql, const std::vector<std::string>& parameter_types,
                              const std::string& search_path) override;
  absl::StatusOr<bool> AskBoolean(const std::string& sql, const std::string& search_path) override;
  absl::StatusOr<Checkpoint> TakeOver(const TakeOverRequest& request) override;
  absl::StatusOr<Checkpoint> Reset(const FenceClaim& claim, Forgetting what) override;
  absl::Status RecordTable(const FenceClaim& claim, std::int64_t table_oid, const std::string& column_digest) override;
  absl::StatusOr<std::vector<LaneRange>> PlanLanes(const MigrationPlan& plan, int lanes) override;
  absl::StatusOr<std::vector<std::optional<double>>> KeyFractions(const MigrationPlan&, const std::vector<LaneRange>& ranges) override {
    return std::vector<std::optional<double>>(ranges.size());
  }
  // Counts the rows that are to be done.
  absl::StatusOr<RowEstimate> EstimateRows(const MigrationPlan& plan, absl::Duration patience) override;
  absl::StatusOr<RangeCount> CountLeft(const RangeCountRequest& request) override;
  absl::StatusOr<Rehearsal> Rehearse(const RehearsalRequest&) override { return Rehearsal{}; }
  absl::StatusOr<Checkpoint> BeginPass(const FenceClaim& claim, std::int32_t pass,
                                       const std::vector<LaneRange>& lanes) override;
  absl::StatusOr<Checkpoint> SplitLanes(const FenceClaim& claim, const MigrationPlan& plan, int wanted) override;
  absl::StatusOr<std::unique_ptr<LaneSession>> OpenLane(const LaneOptions& options) override;
  absl::Status RunStep(const FenceClaim& claim, const std::string& step, const std::string& sql,
                       const std::string& search_path, absl::Duration lock_timeout) override;
  absl::Status ForgetSteps(const FenceClaim& claim) override;
  absl::StatusOr<std::int64_t> RetryRow(const RowRetry& retry) override;
  absl::StatusOr<std::vector<RowFailure>> ListFailures(const std::string& migration, const Key& after, int limit) override;
  absl::StatusOr<std::string> FindBlocker(int, absl::Duration) override { return "pid 99 (psql, idle in transaction for 12s)"; }
  absl::Status Barrier(const FenceClaim& claim, bool completed) override;
  absl::StatusOr<QuiesceResult> Revoke(const TakeOverRequest& request, absl::Duration wait) override;
  absl::Status Forget(const std::string& migration, const std::string& control_id) override;
  absl::StatusOr<std::unique_ptr<HealthSession>> OpenHealth() override;
  absl::StatusOr<std::optional<std::string>> FrozenReason() override { return std::optional<std::string>(); }

 private:
  const std::string name_;
  const std::shared_ptr<InMemoryDatabase> database_;
  const std::stop_token stop_;
};

}  // namespace migrationd
