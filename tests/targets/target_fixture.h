// A target on a fresh database, with shortcuts to walk a table as the service does.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "migrations/kinds/plan.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/postgres/postgres_target.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"

namespace migrationd {

// A user's own connection to the database.
class Sql {
 public:
  explicit Sql(const std::string& url);
  // Fails the test on an error.
  void Run(const std::string& sql);
  std::string Value(const std::string& sql);
  // The SQLSTATE of an error; "00000" without one.
  std::string State(const std::string& sql);
  Connection& connection() { return *connection_; }

 private:
  std::unique_ptr<Connection> connection_;
};

// In a process, a control store of its own.
inline constexpr char kControl[] = "11111111-1111-1111-1111-111111111111";

class TargetTest : public ::testing::Test {
 protected:
  TargetTest();

  // The plan of a definition in YAML without `sql_batch:`'s siblings.
  MigrationPlan PlanOf(const std::string& yaml);
  static TakeOverRequest Request(std::int64_t store_epoch = 0, bool may_create = true);
  // Takes over and, when no pass has begun, begins one.
  Checkpoint Open(const MigrationPlan& plan, int lanes = 1, std::int64_t store_epoch = 0);
  std::unique_ptr<LaneSession> Lane(const MigrationPlan& plan, const Checkpoint& checkpoint, std::size_t lane = 0,
                                    absl::Duration statement_timeout = absl::Seconds(20));
  // Runs sub-batches until the lane ends; returns the rows affected.
  absl::StatusOr<std::int64_t> Walk(LaneSession& session, LaneRange range, std::int64_t size, bool check_where = false,
                                    int at_most = 1'000'000);
  // The request of the first sub-batch of `range`.
  absl::StatusOr<SubBatchRequest> First(LaneSession& session, const LaneRange& range, std::int64_t size);

  // Starts the target anew with other options, on the same database.
  void UsePooledForm();

  std::string url_;
  std::unique_ptr<PostgresTarget> target_;
  std::unique_ptr<Sql> sql_;
};

}  // namespace migrationd
