#include "tests/targets/target_fixture.h"

#include "migrations/definition/definition.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"

namespace migrationd {

Sql::Sql(const std::string& url) {
  auto opened = Connection::Open({.url = url, .connect_timeout = absl::Seconds(10), .query_timeout = absl::Seconds(60)});
  EXPECT_THAT(opened, IsOk());
  if (opened.ok()) connection_ = *std::move(opened);
}

void Sql::Run(const std::string& sql) { EXPECT_THAT(connection_->Query(sql), IsOk()) << sql; }

std::string Sql::Value(const std::string& sql) {
  const auto result = connection_->Query(sql);
  EXPECT_THAT(result, IsOk()) << sql;
  if (!result.ok() || result->rows() == 0) return "";
  return result->text(0, 0);
}

std::string Sql::State(const std::string& sql) {
  const auto result = connection_->Query(sql);
  return result.ok() ? "00000" : SqlStateOf(result.status());
}

TargetTest::TargetTest() : url_(FreshDatabase()) {
  PostgresTargetOptions options;
  options.name = "main";
  options.url = [url = url_]() -> absl::StatusOr<std::string> { return url; };
  target_ = std::make_unique<PostgresTarget>(std::move(options));
  EXPECT_THAT(target_->Open(/*may_create_identity=*/true), IsOk());
  sql_ = std::make_unique<Sql>(url_);
}

void TargetTest::UsePooledForm() {
  PostgresTargetOptions options;
  options.name = "main";
  options.url = [url = url_]() -> absl::StatusOr<std::string> { return url; };
  options.allow_session_functions = false;
  target_ = std::make_unique<PostgresTarget>(std::move(options));
}

MigrationPlan TargetTest::PlanOf(const std::string& yaml) {
  const DefinitionResult parsed = ParseDefinition(yaml);
  for (const DefinitionProblem& problem : parsed.problems) ADD_FAILURE() << FormatProblem("test.yaml", problem);
  auto table = ParseTableName(TableOf(parsed.definition));
  EXPECT_THAT(table, IsOk());
  auto facts = target_->Inspect(*table);
  EXPECT_THAT(facts, IsOk());
  PlanContext context;
  context.name = "m";
  auto plan = MakePlan(parsed.definition, *facts, context);
  EXPECT_THAT(plan, IsOk());
  return *plan;
}

TakeOverRequest TargetTest::Request(std::int64_t store_epoch, bool may_create) {
  TakeOverRequest request;
  request.migration = "m";
  request.control_id = kControl;
  request.definition_digest = "digest";
  request.store_epoch = store_epoch;
  request.may_create = may_create;
  return request;
}

Checkpoint TargetTest::Open(const MigrationPlan& plan, int lanes, std::int64_t store_epoch) {
  auto checkpoint = target_->TakeOver(Request(store_epoch));
  EXPECT_THAT(checkpoint, IsOk());
  if (checkpoint->pass > 0) return *checkpoint;
  auto ranges = target_->PlanLanes(plan, lanes);
  EXPECT_THAT(ranges, IsOk());
  auto begun = target_->BeginPass(checkpoint->claim, 1, *ranges);
  EXPECT_THAT(begun, IsOk());
  return *begun;
}

std::unique_ptr<LaneSession> TargetTest::Lane(const MigrationPlan& plan, const Checkpoint& checkpoint, std::size_t lane,
                                              absl::Duration statement_timeout) {
  LaneOptions options;
  options.claim = checkpoint.claim;
  options.range = checkpoint.lanes.at(lane);
  options.pass = checkpoint.pass;
  options.plan = &plan;
  options.statement_timeout = statement_timeout;
  options.lock_timeout = statement_timeout;
  auto session = target_->OpenLane(options);
  EXPECT_THAT(session, IsOk());
  return *std::move(session);
}

absl::StatusOr<SubBatchRequest> TargetTest::First(LaneSession& session, const LaneRange& range, std::int64_t size) {
  SubBatchRequest request;
  request.old_cursor = range.cursor;
  MD_ASSIGN_OR_RETURN(request.new_cursor, session.FindBound(range, size));
  request.lane_upper = range.upper;
  request.next_size = size;
  return request;
}

absl::StatusOr<std::int64_t> TargetTest::Walk(LaneSession& session, LaneRange range, std::int64_t size, bool check_where, int at_most) {
  std::int64_t rows = 0;
  if (range.done()) return rows;
  MD_ASSIGN_OR_RETURN(SubBatchRequest request, First(session, range, size));
  for (int i = 0; i < at_most; ++i) {
    request.check_where = check_where;
    MD_ASSIGN_OR_RETURN(const SubBatchResult result, session.RunSubBatch(request));
    rows += result.affected;
    if (request.new_cursor == range.upper) break;
    request.old_cursor = request.new_cursor;
    request.new_cursor = result.next_bound;
  }
  return rows;
}

}  // namespace migrationd
