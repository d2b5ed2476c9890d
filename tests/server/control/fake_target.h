// A target for tests of what stands above it: answers what it is told to, and remembers what it was asked.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/targets/target.h"

namespace migrationd {

// Thread-safe. The hooks are set before the calls that use them.
class FakeTarget final : public Target, public std::enable_shared_from_this<FakeTarget> {
 public:
  explicit FakeTarget(std::string name) : name_(std::move(name)) {}

  // What each call does besides being remembered.
  std::function<absl::Status()> on_open = [] { return absl::OkStatus(); };
  std::function<absl::Status(const TakeOverRequest&)> on_revoke = [](const TakeOverRequest&) {
    return absl::OkStatus();
  };
  std::function<absl::Status(const TakeOverRequest&)> on_take_over = [](const TakeOverRequest&) {
    return absl::OkStatus();
  };
  std::function<absl::Status(const std::string&)> on_forget = [](const std::string&) { return absl::OkStatus(); };
  std::function<absl::StatusOr<TableFacts>(const TableName&)> on_inspect = [](const TableName& table) {
    return Facts(table);
  };
  std::function<absl::Status(const std::string& sql)> on_check = [](const std::string&) { return absl::OkStatus(); };
  std::function<absl::StatusOr<bool>(const std::string& sql)> on_ask = [](const std::string&) { return false; };
  std::function<absl::StatusOr<Rehearsal>(const RehearsalRequest&)> on_rehearse = [](const RehearsalRequest&) { return Rehearsal{}; };

  static ColumnFacts Column(const std::string& name, const std::string& type, bool not_null) {
    ColumnFacts column;
    column.name = name;
    column.type = type;
    column.not_null = not_null;
    return column;
  }
  // A table with columns id bigint (primary key), done boolean and n integer.
  static absl::StatusOr<TableFacts> Facts(const TableName& table) {
    TableFacts facts;
    facts.schema = table.schema.empty() ? "public" : table.schema;
    facts.name = table.name;
    facts.oid = 4711;
    facts.columns = {Column("id", "bigint", true), Column("done", "boolean", true), Column("n", "integer", false)};
    facts.primary_key = {"id"};
    facts.unique_keys = {{"id"}};
    facts.estimated_rows = 1000;
    return facts;
  }

  std::vector<std::string> calls() const {
    absl::MutexLock lock(&mutex_);
    return calls_;
  }
  std::vector<TakeOverRequest> revokes() const {
    absl::MutexLock lock(&mutex_);
    return revokes_;
  }
  static constexpr std::int64_t kEpoch = 7;
  static absl::Time QuiescedAt() { return absl::FromUnixSeconds(1'800'000'100); }

  const std::string& name() const override { return name_; }
  std::shared_ptr<Target> WithStop(std::stop_token) override { return shared_from_this(); }
  absl::StatusOr<TargetIdentity> Open(bool may_create_identity) override {
    Remember(may_create_identity ? "Open(create)" : "Open");
    const absl::Status status = on_open();
    if (!status.ok()) return status;
    return TargetIdentity{"11111111-1111-1111-1111-111111111111", "1", 1};
  }
  absl::StatusOr<TargetHealth> Health() override { return TargetHealth{}; }
  absl::StatusOr<TableFacts> Inspect(const TableName& table) override {
    Remember("Inspect");
    return on_inspect(table);
  }
  absl::Status CheckStatement(const std::string& sql, const std::vector<std::string>&, const std::string&) override {
    return on_check(sql);
  }
  absl::StatusOr<QuiesceResult> Revoke(const TakeOverRequest& request, absl::Duration) override {
    Remember("Revoke");
    {
      absl::MutexLock lock(&mutex_);
      revokes_.push_back(request);
    }
    const absl::Status status = on_revoke(request);
    if (!status.ok()) return status;
    QuiesceResult result;
    result.quiesced_at = QuiescedAt();
    result.checkpoint.claim = {request.migration, kEpoch, "token"};
    return result;
  }
  absl::StatusOr<Checkpoint> TakeOver(const TakeOverRequest& request) override {
    Remember("TakeOver");
    const absl::Status status = on_take_over(request);
    if (!status.ok()) return status;
    Checkpoint checkpoint;
    checkpoint.claim = {request.migration, kEpoch, "token"};
    return checkpoint;
  }
  absl::StatusOr<std::int64_t> RetryRow(const RowRetry&) override { return 0; }
  absl::StatusOr<std::vector<RowFailure>> ListFailures(const std::string&, const Key&, int) override {
    Remember("ListFailures");
    return std::vector<RowFailure>();
  }
  absl::StatusOr<std::string> FindBlocker(int, absl::Duration) override { return std::string(); }
  absl::StatusOr<std::vector<std::optional<double>>> KeyFractions(const MigrationPlan&, const std::vector<LaneRange>& ranges) override {
    return std::vector<std::optional<double>>(ranges.size());
  }
  absl::Status Barrier(const FenceClaim&, bool completed) override {
    Remember(completed ? "Barrier(completed)" : "Barrier");
    return absl::OkStatus();
  }
  absl::Status Forget(const std::string& migration, const std::string&) override {
    Remember("Forget");
    return on_forget(migration);
  }

  absl::StatusOr<bool> AskBoolean(const std::string& sql, const std::string&) override {
    Remember("AskBoolean");
    return on_ask(sql);
  }
  absl::StatusOr<RowEstimate> EstimateRows(const MigrationPlan&, absl::Duration) override { return RowEstimate{}; }
  absl::StatusOr<RangeCount> CountLeft(const RangeCountRequest&) override { return Unexpected("CountLeft"); }
  absl::StatusOr<Rehearsal> Rehearse(const RehearsalRequest& request) override {
    Remember("Rehearse");
    return on_rehearse(request);
  }

  // Not for what stands above.
  absl::StatusOr<Checkpoint> Reset(const FenceClaim& claim, Forgetting) override {
    Checkpoint checkpoint;
    checkpoint.claim = claim;
    return checkpoint;
  }
  absl::Status RecordTable(const FenceClaim&, std::int64_t, const std::string&) override {
    return Unexpected("RecordTable");
  }
  absl::StatusOr<std::vector<LaneRange>> PlanLanes(const MigrationPlan&, int) override {
    return Unexpected("PlanLanes");
  }
  absl::StatusOr<Checkpoint> SplitLanes(const FenceClaim&, const MigrationPlan&, int) override { return Unexpected("SplitLanes"); }
  absl::StatusOr<Checkpoint> BeginPass(const FenceClaim&, std::int32_t, const std::vector<LaneRange>&) override {
    return Unexpected("BeginPass");
  }
  absl::StatusOr<std::unique_ptr<LaneSession>> OpenLane(const LaneOptions&) override { return Unexpected("OpenLane"); }
  absl::Status RunStep(const FenceClaim&, const std::string&, const std::string&, const std::string&,
                       absl::Duration) override {
    return Unexpected("RunStep");
  }
  absl::Status ForgetSteps(const FenceClaim&) override { return Unexpected("ForgetSteps"); }
  absl::StatusOr<std::unique_ptr<HealthSession>> OpenHealth() override { return Unexpected("OpenHealth"); }
  absl::StatusOr<std::optional<std::string>> FrozenReason() override { return Unexpected("FrozenReason"); }

 private:
  absl::Status Unexpected(const std::string& call) {
    Remember(call);
    return absl::UnimplementedError(call);
  }
  void Remember(const std::string& call) {
    absl::MutexLock lock(&mutex_);
    calls_.push_back(call);
  }

  const std::string name_;
  mutable absl::Mutex mutex_;
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mutex_);
  std::vector<TakeOverRequest> revokes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace migrationd
