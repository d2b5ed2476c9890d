#include "tests/benchmarks/engine.h"

#include <thread>
#include <vector>

#include "migrations/definition/definition.h"
#include "migrations/model/status_macros.h"
#include "server/clock.h"

namespace migrationd {
namespace {

constexpr char kControl[] = "11111111-1111-1111-1111-111111111111";
// Larger than what any sub-batch takes here: a variant that is slow is to be measured, not to fail.
constexpr absl::Duration kStatementTimeout = absl::Minutes(1);

absl::StatusOr<std::unique_ptr<PostgresTarget>> OpenTarget(const EngineOptions& engine) {
  PostgresTargetOptions options;
  options.name = "main";
  options.url = [url = engine.url]() -> absl::StatusOr<std::string> { return url; };
  options.allow_session_functions = engine.session_functions;
  auto target = std::make_unique<PostgresTarget>(std::move(options));
  MD_RETURN_IF_ERROR(target->Open(/*may_create_identity=*/true).status());
  return target;
}

absl::StatusOr<MigrationPlan> PlanFor(PostgresTarget& target, const std::string& yaml) {
  const DefinitionResult parsed = ParseDefinition(yaml);
  if (!parsed.ok()) return absl::InternalError(parsed.problems.front().message);
  MD_ASSIGN_OR_RETURN(const TableFacts facts, target.Inspect({"public", parsed.definition.sql_batch().table()}));
  PlanContext context;
  context.name = "m";
  return MakePlan(parsed.definition, facts, context);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Open(EngineOptions options) {
  std::unique_ptr<Engine> engine(new Engine(std::move(options)));
  MD_ASSIGN_OR_RETURN(engine->target_, OpenTarget(engine->options_));
  MD_ASSIGN_OR_RETURN(engine->plan_, PlanFor(*engine->target_, engine->options_.definition));
  MD_RETURN_IF_ERROR(engine->TakeOver());
  return engine;
}

absl::Status Engine::TakeOver() {
  TakeOverRequest request;
  request.migration = "m";
  request.control_id = kControl;
  request.definition_digest = "d";
  request.may_create = true;
  MD_ASSIGN_OR_RETURN(checkpoint_, target_->TakeOver(request));
  return absl::OkStatus();
}

absl::Status Engine::BeginPass() {
  const std::int32_t pass = checkpoint_.pass + 1;
  MD_ASSIGN_OR_RETURN(const auto ranges, target_->PlanLanes(PlanOfPass(plan_, pass), options_.lanes));
  MD_ASSIGN_OR_RETURN(checkpoint_, target_->BeginPass(checkpoint_.claim, pass, ranges));
  return absl::OkStatus();
}

absl::StatusOr<std::int64_t> Engine::RunPass() {
  MD_RETURN_IF_ERROR(BeginPass());
  RunControls controls(Clock::Real());
  controls.TrustUntil(absl::InfiniteFuture());
  controls.SetSizes({.batch_size = options_.batch_size, .sub_batch_size = options_.sub_batch_size}, /*pinned=*/true);
  std::vector<absl::StatusOr<std::int64_t>> rows(checkpoint_.lanes.size(), std::int64_t{0});
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 1; i < rows.size(); ++i) {
      threads.emplace_back([&, i] { rows[i] = RunLane(checkpoint_.lanes[i], controls); });
    }
    if (!rows.empty()) rows[0] = RunLane(checkpoint_.lanes[0], controls);
  }
  std::int64_t total = 0;
  for (const auto& lane : rows) {
    MD_RETURN_IF_ERROR(lane.status());
    total += *lane;
  }
  return total;
}

absl::StatusOr<std::int64_t> Engine::RunLane(const LaneRange& range, RunControls& controls) {
  LaneRunner::Options options;
  options.lane.claim = checkpoint_.claim;
  options.lane.range = range;
  options.lane.pass = checkpoint_.pass;
  options.lane.plan = &plan_;
  options.lane.synchronous_commit = options_.synchronous_commit;
  options.lane.statement_timeout = kStatementTimeout;
  options.has_where = plan_.has_where;
  options.rows_share_keys = plan_.rows_share_keys;
  options.first_sub_batch_size = options_.sub_batch_size;
  options.adaptive = false;
  LaneRunner runner(std::move(options), *target_, controls, Clock::Real());
  std::int64_t rows = 0;
  while (!runner.done()) {
    const BatchOutcome outcome = runner.RunBatch();
    if (outcome.kind == BatchOutcome::Kind::kFailed) return outcome.error;
    rows += outcome.rows;
    options_.on_batch();
  }
  return rows;
}

absl::Status Engine::Finish() { return target_->Barrier(checkpoint_.claim, /*completed=*/true); }

}  // namespace migrationd
