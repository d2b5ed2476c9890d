// A target that is a PostgreSQL database. See ../target.h for the contract.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "migrations/model/schema_steps.h"
#include "server/targets/postgres/session_settings.h"
#include "server/targets/target.h"

namespace migrationd {

class Connection;  // connection.h; libpq stays behind it

struct PostgresTargetOptions {
  std::string name;
  // Asked again for every connection, so that rotated secrets are picked up.
  std::function<absl::StatusOr<std::string>()> url;
  // For table names without a schema.
  std::vector<std::string> search_path = {"public"};
  absl::Duration connect_timeout = absl::Seconds(5);
  // Of everything except sub-batches and steps, which bring their own.
  absl::Duration statement_timeout = absl::Seconds(5);
  // For RunStep: building an index takes as long as it takes.
  absl::Duration step_timeout = absl::Hours(24);
  // False: the form for poolers, whatever the connection is (for tests).
  bool allow_session_functions = true;
  // Of this program; tests put the next program's here. Outlives the target.
  const SchemaSteps* schema_steps = nullptr;
};

class PostgresTarget : public Target {
 public:
  explicit PostgresTarget(PostgresTargetOptions options, std::stop_token stop = {});

  const std::string& name() const override { return options_.name; }
  std::shared_ptr<Target> WithStop(std::stop_token stop) override;
  absl::StatusOr<TargetIdentity> Open(bool may_create_identity) override;
  // Upgrades the schema migration_control where it is there, with the steps that take away what programs before this one no longer
  // use. False: it is not there. FAILED_PRECONDITION: no right to; a standby.
  absl::StatusOr<bool> ContractSchema();
  absl::StatusOr<TargetHealth> Health() override;
  absl::StatusOr<TableFacts> Inspect(const TableName& table) override;
  absl::Status CheckStatement(const std::string& sql, const std::vector<std::string>& parameter_types,
                              const std::string& search_path) override;
  absl::StatusOr<bool> AskBoolean(const std::string& sql, const std::string& search_path) override;
  absl::StatusOr<Checkpoint> TakeOver(const TakeOverRequest& request) override;
  absl::StatusOr<Checkpoint> Reset(const FenceClaim& claim, Forgetting what) override;
  absl::Status RecordTable(const FenceClaim& claim, std::int64_t table_oid, const std::string& column_digest) override;
  absl::StatusOr<std::vector<LaneRange>> PlanLanes(const MigrationPlan& plan, int lanes) override;
  absl::StatusOr<std::vector<std::optional<double>>> KeyFractions(const MigrationPlan& plan, const std::vector<LaneRange>& ranges) override;
  absl::StatusOr<RowEstimate> EstimateRows(const MigrationPlan& plan, absl::Duration patience) override;
  absl::StatusOr<RangeCount> CountLeft(const RangeCountRequest& request) override;
  absl::StatusOr<Rehearsal> Rehearse(const RehearsalRequest& request) override;
  absl::StatusOr<Checkpoint> BeginPass(const FenceClaim& claim, std::int32_t pass,
                                       const std::vector<LaneRange>& lanes) override;
  absl::StatusOr<Checkpoint> SplitLanes(const FenceClaim& claim, const MigrationPlan& plan, int wanted) override;
  absl::StatusOr<std::unique_ptr<LaneSession>> OpenLane(const LaneOptions& options) override;
  absl::Status RunStep(const FenceClaim& claim, const std::string& step, const std::string& sql,
                       const std::string& search_path, absl::Duration lock_timeout) override;
  absl::Status ForgetSteps(const FenceClaim& claim) override;
  absl::StatusOr<std::int64_t> RetryRow(const RowRetry& retry) override;
  absl::StatusOr<std::vector<RowFailure>> ListFailures(const std::string& migration, const Key& after, int limit) override;
  absl::StatusOr<std::string> FindBlocker(int backend_pid, absl::Duration patience) override;
  absl::Status Barrier(const FenceClaim& claim, bool completed) override;
  absl::StatusOr<QuiesceResult> Revoke(const TakeOverRequest& request, absl::Duration wait) override;
  absl::Status Forget(const std::string& migration, const std::string& control_id) override;
  absl::StatusOr<std::unique_ptr<HealthSession>> OpenHealth() override;
  absl::StatusOr<std::optional<std::string>> FrozenReason() override;

 private:
  using Body = std::function<absl::Status(Connection&)>;

  // A connection of one's own, with nothing set yet.
  absl::StatusOr<std::unique_ptr<Connection>> Connect();
  // Runs `body` in one READ COMMITTED transaction under these settings; commits when it is OK, rolls back otherwise.
  // CommitUnknownError when the connection broke during COMMIT.
  absl::Status Transact(const SessionSettings& settings, const Body& body);
  // The same, always rolled back.
  absl::Status Look(const SessionSettings& settings, const Body& body);
  // For questions that the operator's SQL may ask of any table; gives way to everybody.
  SessionSettings LookSettings(const std::string& search_path) const;

  const PostgresTargetOptions options_;
  const SchemaSteps& schema_steps_;
  const std::stop_token stop_;  // for every connection
};

// What the catalogs say of a table (table_facts.cc).
absl::StatusOr<TableFacts> ReadTableFacts(Connection& connection, const TableName& table);

}  // namespace migrationd
