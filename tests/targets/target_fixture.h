// A database, a table in it, and the pieces of one migration, for tests of the target.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <pqxx/pqxx>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "server/targets/postgres/postgres_target.h"
#include "server/targets/target.h"

namespace migrationd {

inline constexpr char kMigration[] = "fill_items";
inline constexpr char kControlId[] = "6f1d3c1e-0000-4000-8000-000000000001";
inline constexpr char kForeignControlId[] = "6f1d3c1e-0000-4000-8000-000000000002";

// How sub-batches reach the database.
enum class Path {
  kDirect,     // session functions
  kPooled,     // the form for poolers, on a direct connection
  kPgBouncer,  // through PgBouncer in transaction mode
  kNative,     // as a native class that does what IncrementDefinition says; other definitions are as under kDirect
};
std::string PathName(Path path);

// Runs statements one by one, outside any transaction of ours; aborts the test program on an error.
void Sql(const std::string& url, const std::string& sql);
// The one value of a query, as text; "NULL" for none.
std::string Ask(const std::string& url, const std::string& sql);
// The SQLSTATE that a statement fails with; "" when it succeeds.
std::string SqlStateFrom(const std::string& url, const std::string& sql);

// Polls until the query gives "t"; false after 30 s.
bool WaitForTrue(const std::string& url, const std::string& sql);

std::unique_ptr<PostgresTarget> TargetAt(const std::string& url, Path path = Path::kDirect);

// The plan of a definition in YAML, made as the service makes it.
MigrationPlan PlanOf(Target& target, const std::string& yaml, const NativeRegistry* natives = nullptr);

// `UPDATE items SET n = n + 1` over public.items by id: done twice, it shows.
std::string IncrementDefinition(const std::string& more = "");

// public.items(id bigint primary key, n int) with ids 1 to `rows`, all n = 0.
void MakeItems(const std::string& url, int rows);

TakeOverRequest Claiming(bool may_create = true, std::int64_t store_epoch = 0);

// The lane as the runner would open it.
LaneOptions LaneOf(const Checkpoint& checkpoint, const MigrationPlan& plan, std::size_t lane = 0);

// One sub-batch of `size` rows at the lane's cursor.
absl::StatusOr<SubBatchResult> RunNext(LaneSession& session, LaneRange& range, std::int64_t size,
                                       bool check_where = false);

// The whole lane; rows affected.
absl::StatusOr<std::int64_t> RunLane(Target& target, const Checkpoint& checkpoint, const MigrationPlan& plan,
                                     std::size_t lane, std::int64_t size, bool check_where = false);

// How many rows of public.items have each n, such as "0:90 1:10".
std::string CountsAt(const std::string& url);

// A migration of public.items up to its first pass.
class ItemsTest : public ::testing::Test {
 protected:
  // Opens the target, takes the migration over and begins the pass.
  void Begin(int rows, int lanes = 1, const std::string& definition = IncrementDefinition(), Path path = Path::kDirect);
  // A lane's session of the claim in `checkpoint`.
  std::unique_ptr<LaneSession> Lane(const Checkpoint& checkpoint, std::size_t lane = 0);
  std::string Counts() { return CountsAt(url_); }
  // Lane 0's cursor.
  std::string Cursor() { return Ask(url_, "SELECT cursor::text FROM migration_control.lane WHERE lane = 0"); }

  std::string url_;
  std::unique_ptr<PostgresTarget> target_;
  MigrationPlan plan_;
  Checkpoint checkpoint_;
};

// Holds an advisory lock while it lives or until Open(): what waits for it in a trigger stands still exactly there.
class Roadblock {
 public:
  Roadblock(const std::string& url, int number);
  void Open();
  // Until somebody waits at it; false after 30 s.
  bool WaitForSomebody() const;

 private:
  const std::string url_;
  const int number_;
  std::unique_ptr<pqxx::connection> holder_;
};
// Sub-batches stand still after their work, before the check-and-set.
inline constexpr int kAfterWork = 71;
// Sub-batches stand still after the check-and-set, before they commit.
inline constexpr int kAfterSet = 72;
// Makes triggers that wait at roadblocks of these numbers while they stand. After Begin.
void InstallRoadblocks(const std::string& url);

}  // namespace migrationd
