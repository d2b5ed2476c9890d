#include "tests/e2e/end_to_end.h"

#include <iostream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace migrationd {

using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;
using Stub = v1::MigrationControl::Stub;

// States change seldom beside what it costs to ask.
constexpr absl::Duration kStatusInterval = absl::Milliseconds(20);

std::string MigrationdProgram() { return MIGRATIOND_PROGRAM; }
std::string MigrationctlProgram() { return MIGRATIONCTL_PROGRAM; }
std::string CatalogFolder() { return CATALOG_FOLDER; }

std::string PaceYaml(const TestPace& pace) {
  return absl::StrFormat(
      "pace: {batch_size: %d, sub_batch_size: %d, interval: %s, lanes: %d, adaptive: {enabled: false}}\n",
      pace.batch_size, pace.sub_batch_size, pace.interval, pace.lanes);
}

std::string CounterYaml(const TestPace& pace, const std::string& table) {
  return absl::StrFormat(
      "description: Counts each row once.\n"
      "sql_batch:\n"
      "  table: %s\n"
      "  statement: UPDATE %s SET n = n + 1 WHERE {{batch}}\n"
      "%s%s",
      table, table, PaceYaml(pace), kSoonRetryYaml);
}

EndToEnd::EndToEnd() : control_url_(FreshDatabase()), target_url_(FreshDatabase()) {}

void EndToEnd::TearDown() {
  if (HasFailure() && server_ != nullptr) std::cerr << "migrationd logged:\n" << server_->Log() << std::endl;
}

ServerFixtureOptions EndToEnd::Options() const {
  ServerFixtureOptions options;
  options.program = MigrationdProgram();
  options.control_url = control_url_;
  options.targets = {{"main", target_url_}};
  return options;
}

ServerFixture& EndToEnd::MakeServer(ServerFixtureOptions options) {
  server_ = std::make_unique<ServerFixture>(std::move(options));
  return *server_;
}

ServerFixture& EndToEnd::StartServer(ServerFixtureOptions options) {
  MakeServer(std::move(options));
  const absl::Status started = server_->Start();
  if (!started.ok()) ADD_FAILURE() << started;
  return *server_;
}

std::unique_ptr<ServerFixture> EndToEnd::SecondServer() {
  ServerFixtureOptions options = Options();
  options.migrations = server_->migrations();
  auto second = std::make_unique<ServerFixture>(std::move(options));
  const absl::Status started = second->Start();
  if (!started.ok()) ADD_FAILURE() << started;
  return second;
}

Sql& EndToEnd::target() {
  if (target_ == nullptr) target_ = std::make_unique<Sql>(target_url_);
  return *target_;
}

void EndToEnd::MakeCounter(int rows, const std::string& table) {
  target().Run(
      absl::StrFormat("CREATE TABLE %s (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO %s (id) SELECT "
                      "generate_series(1, %d); ANALYZE %s",
                      table, table, rows, table));
}

AssertionResult EndToEnd::EachOnce(std::int64_t rows, const std::string& table) {
  const auto found = target().Rows(
      absl::StrFormat("SELECT count(*), count(*) FILTER (WHERE n < 1), count(*) FILTER (WHERE n > 1) FROM %s", table));
  if (found[0] == std::vector<std::string>{absl::StrCat(rows), "0", "0"}) return AssertionSuccess();
  return AssertionFailure() << "of " << found[0][0] << " rows (" << rows << " expected) " << found[0][1]
                            << " were left out and " << found[0][2] << " done more than once";
}

void EndToEnd::Define(const std::string& name, const std::string& yaml) {
  server_->WriteDefinition(absl::StrCat("20260101000000_", name, ".yaml"), yaml);
}

v1::Migration EndToEnd::Get(ServerFixture& server, const std::string& name) {
  v1::StatusRequest request;
  request.set_migration(name);
  const auto response = Call(server, &Stub::Status, request);
  if (!response.ok()) {
    ADD_FAILURE() << "Status of " << name << ": " << response.status();
    return {};
  }
  return response->migration();
}

AssertionResult EndToEnd::Reaches(ServerFixture& server, const std::string& name, v1::State state,
                                  absl::Duration patience) {
  const auto ends = [](v1::State s) {
    return s == v1::STATE_HALTED || s == v1::STATE_CANCELLED || s == v1::STATE_COMPLETED || s == v1::STATE_PAUSED;
  };
  v1::StatusRequest request;
  request.set_migration(name);
  absl::StatusOr<v1::StatusResponse> seen;
  const bool reached = WaitUntil(
      [&] {
        seen = Call(server, &Stub::Status, request);
        return seen.ok() && (seen->migration().state() == state || ends(seen->migration().state()));
      },
      patience, kStatusInterval);
  if (!seen.ok()) return AssertionFailure() << "Status of " << name << ": " << seen.status();
  if (reached && seen->migration().state() == state) return AssertionSuccess();
  return AssertionFailure() << name << " is not " << v1::State_Name(state) << " but "
                            << seen->migration().ShortDebugString();
}

AssertionResult EndToEnd::HaltsWith(const std::string& name, const std::string& code, absl::Duration patience) {
  if (AssertionResult halted = Reaches(name, v1::STATE_HALTED, patience); !halted) return halted;
  const v1::Migration migration = Get(name);
  if (migration.halt().code() == code) return AssertionSuccess();
  return AssertionFailure() << name << " is HALTED with " << migration.halt().code() << ": "
                            << migration.halt().message() << ", not " << code;
}

AssertionResult EndToEnd::HeldBy(const std::string& name, v1::HoldKind kind, absl::Duration patience) {
  v1::StatusRequest request;
  request.set_migration(name);
  absl::StatusOr<v1::StatusResponse> seen;
  const bool held = WaitUntil(
      [&] {
        seen = Call(*server_, &Stub::Status, request);
        return seen.ok() && seen->migration().hold().kind() == kind;
      },
      patience, kStatusInterval);
  if (held) return AssertionSuccess();
  if (!seen.ok()) return AssertionFailure() << "Status of " << name << ": " << seen.status();
  return AssertionFailure() << name << " has no hold " << v1::HoldKind_Name(kind) << ": "
                            << seen->migration().ShortDebugString();
}

AssertionResult EndToEnd::PassesRows(const std::string& name, std::int64_t rows, absl::Duration patience) {
  std::int64_t done = 0;
  if (WaitUntil([&] { return (done = RowsDone(name)) > rows; }, patience)) return AssertionSuccess();
  return AssertionFailure() << name << " stays at " << done << " rows: " << Get(name).ShortDebugString();
}

std::int64_t EndToEnd::RowsDone(const std::string& name) {
  if (!target().True("SELECT to_regclass('migration_control.migration') IS NOT NULL")) return 0;
  return target().Number(absl::StrFormat("SELECT rows FROM migration_control.migration WHERE name = '%s'", name));
}

std::int64_t EndToEnd::LaneBackends() {
  return target().Number(
      "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE "
      "'migrationd/%'");
}

AssertionResult EndToEnd::NothingCommits(const std::string& name, absl::Duration duration, const std::string& table) {
  const std::string query = absl::StrFormat(
      "SELECT (SELECT rows FROM migration_control.migration WHERE name = '%s') || ' rows done, sum ' || (SELECT "
      "sum(n) FROM %s)",
      name, table);
  const std::string before = target().Text(query);
  std::string after;
  if (StaysTrue([&] { return (after = target().Text(query)) == before; }, duration)) return AssertionSuccess();
  return AssertionFailure() << "was " << before << ", is " << after;
}

absl::StatusOr<v1::PauseResponse> EndToEnd::Pause(const std::string& name, bool immediate) {
  v1::PauseRequest request;
  request.set_migration(name);
  request.set_immediate(immediate);
  request.set_reason("a test");
  return Call(*server_, &Stub::Pause, request);
}

absl::StatusOr<v1::ResumeResponse> EndToEnd::Resume(const std::string& name) {
  v1::ResumeRequest request;
  request.set_migration(name);
  return Call(*server_, &Stub::Resume, request);
}

absl::StatusOr<v1::RetryResponse> EndToEnd::Retry(const std::string& name, v1::RetryFrom from,
                                                  bool acknowledge_repeat) {
  v1::RetryRequest request;
  request.set_migration(name);
  request.set_from(from);
  request.set_acknowledge_repeat(acknowledge_repeat);
  return Call(*server_, &Stub::Retry, request);
}

absl::StatusOr<v1::SetBatchSizeResponse> EndToEnd::SetBatchSize(const std::string& name, int batch_size,
                                                                int sub_batch_size) {
  v1::SetBatchSizeRequest request;
  request.set_migration(name);
  request.set_batch_size(batch_size);
  request.set_sub_batch_size(sub_batch_size);
  return Call(*server_, &Stub::SetBatchSize, request);
}

void EndToEnd::Hurry(const std::string& name) { MD_EXPECT_OK(SetBatchSize(name, 20000, 5000)); }

CommandResult EndToEnd::Migrationctl(std::vector<std::string> arguments, absl::Duration deadline) {
  std::vector<std::string> command = {MigrationctlProgram(), "--server", server_->address()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  const auto result = RunCommand(command, deadline);
  if (!result.ok()) {
    ADD_FAILURE() << result.status();
    return {.exit_status = -1, .out = "", .err = ""};
  }
  return *result;
}

}  // namespace migrationd
