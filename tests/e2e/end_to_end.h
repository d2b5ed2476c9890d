// What every end-to-end test stands on: a control store and a target of its own, a migrationd, and words for what tests
// ask of them.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "migrationcontrol/v1/migration_control.pb.h"
#include "tests/e2e/sql.h"
#include "tests/support/process.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/support/tools.h"
#include "tests/support/wait_until.h"

namespace migrationd {

namespace v1 = migrationcontrol::v1;

// The programs that were built.
std::string MigrationdProgram();
std::string MigrationctlProgram();
// The definitions that are shipped.
std::string CatalogFolder();

// How fast a test's migration goes: by default slowly enough that something can happen to it, in sub-batches small
// enough that it happens in the middle of one.
struct TestPace {
  int batch_size = 100;
  int sub_batch_size = 10;
  std::string interval = "10ms";
  int lanes = 1;
};
std::string PaceYaml(const TestPace& pace);
// Errors are retried soon, and few times.
inline constexpr char kSoonRetryYaml[] = "retry: {max_attempts: 2, backoff: 10ms, max_backoff: 100ms}\n";

// UPDATE `table` SET n = n + 1, without `where`: what makes every row that is done twice, or not at all, visible.
std::string CounterYaml(const TestPace& pace = {}, const std::string& table = "counter");

class EndToEnd : public ::testing::Test {
 protected:
  static constexpr absl::Duration kPatience = absl::Seconds(120);

  EndToEnd();
  // Shows what the servers logged when the test failed.
  void TearDown() override;

  // Control store and target `main`, two databases; options given override these.
  ServerFixtureOptions Options() const;
  // Makes server(); starts nothing.
  ServerFixture& MakeServer(ServerFixtureOptions options);
  // Makes and starts it.
  ServerFixture& StartServer(ServerFixtureOptions options);
  ServerFixture& StartServer() { return StartServer(Options()); }
  ServerFixture& server() { return *server_; }
  // A second one on the same control store and targets.
  std::unique_ptr<ServerFixture> SecondServer();

  // A connection to the target; made at first use, again after DropConnections.
  Sql& target();
  void DropConnections() { target_.reset(); }

  // counter(id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0) with ids from 1.
  void MakeCounter(int rows, const std::string& table = "counter");
  // Each row's n is 1, and there are so many rows.
  ::testing::AssertionResult EachOnce(std::int64_t rows, const std::string& table = "counter");

  // Puts `20260101000000_NAME.yaml` into the catalogue.
  void Define(const std::string& name, const std::string& yaml);

  // The migration as Status shows it; a failed test and an empty message when the call fails.
  v1::Migration Get(const std::string& name) { return Get(*server_, name); }
  v1::Migration Get(ServerFixture& server, const std::string& name);
  // Waits for a state. Fails at once, saying why, when the migration is in one that it does not leave by itself.
  ::testing::AssertionResult Reaches(const std::string& name, v1::State state, absl::Duration patience = kPatience) {
    return Reaches(*server_, name, state, patience);
  }
  ::testing::AssertionResult Reaches(ServerFixture& server, const std::string& name, v1::State state,
                                     absl::Duration patience = kPatience);
  ::testing::AssertionResult HaltsWith(const std::string& name, const std::string& code,
                                       absl::Duration patience = kPatience);
  ::testing::AssertionResult HeldBy(const std::string& name, v1::HoldKind kind, absl::Duration patience = kPatience);
  // Waits until more than so many rows are done, as the target itself says.
  ::testing::AssertionResult PassesRows(const std::string& name, std::int64_t rows,
                                        absl::Duration patience = kPatience);

  // Rows done, read from the lanes on the target; 0 before there are any.
  std::int64_t RowsDone(const std::string& name);
  // Backends that run lanes of any migration in the database of the target, whatever they do.
  std::int64_t LaneBackends();
  // Nothing is committed meanwhile: rows done and sum of n stay what they are.
  ::testing::AssertionResult NothingCommits(const std::string& name, absl::Duration duration,
                                            const std::string& table = "counter");

  absl::StatusOr<v1::PauseResponse> Pause(const std::string& name, bool immediate = false);
  absl::StatusOr<v1::ResumeResponse> Resume(const std::string& name);
  absl::StatusOr<v1::RetryResponse> Retry(const std::string& name, v1::RetryFrom from = v1::RETRY_FROM_CONTINUE,
                                          bool acknowledge_repeat = false);
  absl::StatusOr<v1::SetBatchSizeResponse> SetBatchSize(const std::string& name, int batch_size,
                                                        int sub_batch_size = 0);
  // Big steps without rest, when a test has seen what it wanted to see.
  void Hurry(const std::string& name);

  // migrationctl with --server.
  CommandResult Migrationctl(std::vector<std::string> arguments, absl::Duration deadline = absl::Seconds(60));

  std::string control_url_;
  std::string target_url_;

 private:
  std::unique_ptr<ServerFixture> server_;
  std::unique_ptr<Sql> target_;
};

}  // namespace migrationd
