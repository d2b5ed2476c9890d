#include "tests/targets/target_fixture.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "migrations/definition/definition.h"
#include "migrations/model/failure.h"
#include "server/targets/postgres/connection.h"
#include "tests/support/native_probe.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_postgres.h"
#include "tests/targets/pgbouncer.h"

namespace migrationd {
namespace {

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "test support: %s\n", what.c_str());
  std::abort();
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) Die(value.status().ToString());
  return *std::move(value);
}

}  // namespace

std::string PathName(Path path) {
  switch (path) {
    case Path::kDirect:
      return "Direct";
    case Path::kPooled:
      return "Pooled";
    case Path::kPgBouncer:
      return "PgBouncer";
    case Path::kNative:
      return "Native";
  }
  return "";
}

void Sql(const std::string& url, const std::string& sql) {
  try {
    pqxx::connection connection(url);
    pqxx::nontransaction work(connection);
    work.exec(sql);
  } catch (const std::exception& error) {
    Die(absl::StrCat(error.what(), " in ", sql));
  }
}

std::string Ask(const std::string& url, const std::string& sql) {
  try {
    pqxx::connection connection(url);
    pqxx::nontransaction work(connection);
    const pqxx::result result = work.exec(sql);
    if (result.empty() || result[0][0].is_null()) return "NULL";
    return result[0][0].as<std::string>();
  } catch (const std::exception& error) {
    Die(absl::StrCat(error.what(), " in ", sql));
  }
}

std::string SqlStateFrom(const std::string& url, const std::string& sql) {
  auto connection = Must(Connection::Open({.url = url}));
  return SqlStateOf(connection->Query(sql).status());
}

bool WaitForTrue(const std::string& url, const std::string& sql) {
  pqxx::connection connection(url);
  pqxx::nontransaction work(connection);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (std::chrono::steady_clock::now() < end) {
    if (work.exec(sql)[0][0].as<bool>()) return true;
    work.exec("SELECT pg_sleep(0.002)");
  }
  return false;
}

std::unique_ptr<PostgresTarget> TargetAt(const std::string& url, Path path) {
  const std::string through = path == Path::kPgBouncer ? SharedPgBouncer().UrlFor(url) : url;
  PostgresTargetOptions options;
  options.name = "main";
  options.url = [through]() -> absl::StatusOr<std::string> { return through; };
  options.allow_session_functions = path != Path::kPooled;
  return std::make_unique<PostgresTarget>(options);
}

MigrationPlan PlanOf(Target& target, const std::string& yaml, const NativeRegistry* natives) {
  const DefinitionResult parsed = ParseDefinition(yaml);
  if (!parsed.ok()) Die(FormatProblem("definition", parsed.problems[0]));
  const TableName table = Must(ParseTableName(TableOf(parsed.definition)));
  PlanContext context;
  context.name = kMigration;
  context.parameters = Must(BindParameters(parsed.definition, {}));
  context.natives = natives;
  return Must(MakePlan(parsed.definition, Must(target.Inspect(table)), context));
}

std::string IncrementDefinition(const std::string& more) {
  return absl::StrCat("sql_batch:\n  table: public.items\n  statement: UPDATE items SET n = n + 1 WHERE {{batch}}\n",
                      more);
}

void MakeItems(const std::string& url, int rows) {
  Sql(url, absl::StrCat("CREATE TABLE items (id bigint PRIMARY KEY, n integer NOT NULL DEFAULT 0); "
                        "INSERT INTO items (id) SELECT generate_series(1, ",
                        rows, ")"));
}

TakeOverRequest Claiming(bool may_create, std::int64_t store_epoch) {
  TakeOverRequest request;
  request.migration = kMigration;
  request.control_id = kControlId;
  request.definition_digest = "digest";
  request.may_create = may_create;
  request.store_epoch = store_epoch;
  return request;
}

LaneOptions LaneOf(const Checkpoint& checkpoint, const MigrationPlan& plan, std::size_t lane) {
  LaneOptions options;
  options.claim = checkpoint.claim;
  options.range = checkpoint.lanes.at(lane);
  options.pass = checkpoint.pass;
  options.plan = &plan;
  options.lock_timeout = absl::Seconds(20);
  options.statement_timeout = absl::Seconds(40);
  return options;
}

absl::StatusOr<SubBatchResult> RunNext(LaneSession& session, LaneRange& range, std::int64_t size, bool check_where) {
  auto bound = session.FindBound(range, size);
  if (!bound.ok()) return bound.status();
  SubBatchRequest request;
  request.old_cursor = range.cursor;
  request.new_cursor = *bound;
  request.lane_upper = range.upper;
  request.check_where = check_where;
  auto result = session.RunSubBatch(request);
  if (result.ok()) range.cursor = *bound;
  return result;
}

absl::StatusOr<std::int64_t> RunLane(Target& target, const Checkpoint& checkpoint, const MigrationPlan& plan,
                                     std::size_t lane, std::int64_t size, bool check_where) {
  LaneRange range = checkpoint.lanes.at(lane);
  if (range.done()) return 0;
  auto session = target.OpenLane(LaneOf(checkpoint, plan, lane));
  if (!session.ok()) return session.status();
  auto bound = (*session)->FindBound(range, size);
  if (!bound.ok()) return bound.status();
  Key next = *bound;
  std::int64_t affected = 0;
  while (!range.done()) {
    SubBatchRequest request;
    request.old_cursor = range.cursor;
    request.new_cursor = next;
    request.lane_upper = range.upper;
    request.next_size = next == range.upper ? 0 : size;
    request.check_where = check_where;
    auto result = (*session)->RunSubBatch(request);
    if (!result.ok()) return result.status();
    affected += result->affected;
    range.cursor = next;
    next = result->next_bounds.empty() ? Key{} : result->next_bounds.front();
  }
  return affected;
}

void ItemsTest::Begin(int rows, int lanes, const std::string& definition, Path path) {
  url_ = FreshDatabase();
  MakeItems(url_, rows);
  target_ = TargetAt(url_, path);
  MD_ASSERT_OK(target_->Open(/*may_create_identity=*/true));
  const bool native = path == Path::kNative && definition == IncrementDefinition();
  plan_ = native ? PlanOf(*target_, ProbeDefinition("public.items"), ProbeRegistry(IncrementN).get()) : PlanOf(*target_, definition);
  MD_ASSERT_OK_AND_ASSIGN(const Checkpoint taken, target_->TakeOver(Claiming()));
  MD_ASSERT_OK_AND_ASSIGN(const auto ranges, target_->PlanLanes(PlanOfPass(plan_, 1), lanes));
  MD_ASSERT_OK_AND_ASSIGN(checkpoint_, target_->BeginPass(taken.claim, 1, ranges));
}

std::unique_ptr<LaneSession> ItemsTest::Lane(const Checkpoint& checkpoint, std::size_t lane) {
  return Must(target_->OpenLane(LaneOf(checkpoint, plan_, lane)));
}

std::string CountsAt(const std::string& url) {
  return Ask(url,
             "SELECT coalesce(string_agg(n || ':' || c, ' ' ORDER BY n), '') "
             "FROM (SELECT n, count(*) AS c FROM items GROUP BY n) AS t");
}

Roadblock::Roadblock(const std::string& url, int number) : url_(url), number_(number) {
  holder_ = std::make_unique<pqxx::connection>(url);
  pqxx::nontransaction work(*holder_);
  work.exec(absl::StrCat("SELECT pg_advisory_lock(", number, ")"));
}

void Roadblock::Open() { holder_.reset(); }

bool Roadblock::WaitForSomebody() const {
  return WaitForTrue(
      url_, absl::StrCat("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = ", number_,
                         " AND NOT granted AND database = (SELECT oid FROM pg_database WHERE "
                         "datname = current_database()))"));
}

void InstallRoadblocks(const std::string& url) {
  Sql(url,
      absl::StrCat(R"sql(
CREATE FUNCTION public.wait_at_roadblock() RETURNS trigger LANGUAGE plpgsql AS $f$
BEGIN
  PERFORM pg_advisory_xact_lock_shared(tg_argv[0]::bigint);
  RETURN NULL;
END $f$;
CREATE TRIGGER after_work AFTER UPDATE ON public.items FOR EACH STATEMENT EXECUTE FUNCTION public.wait_at_roadblock)sql",
                   "(", kAfterWork, "); CREATE TRIGGER after_set AFTER UPDATE OF cursor ON migration_control.lane ",
                   "FOR EACH STATEMENT EXECUTE FUNCTION public.wait_at_roadblock(", kAfterSet, ")"));
}

}  // namespace migrationd
