// Plan: a rehearsal on the target that keeps nothing.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/kinds/plan.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/control/controller.h"

namespace migrationd {
namespace {

using migrationcontrol::v1::MigrationDefinition;
using Severity = RehearsalFinding::Severity;

// Each holds a thread, a connection and row locks.
constexpr int kAtOnce = 2;
// However long the caller would wait.
constexpr absl::Duration kLongest = absl::Seconds(60);
// For the answer, out of the caller's patience.
constexpr absl::Duration kAnswering = absl::Milliseconds(500);

bool IsAway(const absl::Status& status) {
  return status.code() == absl::StatusCode::kUnavailable || status.code() == absl::StatusCode::kDeadlineExceeded;
}

absl::Duration DurationOf(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

RehearsalRequest RequestFor(const MigrationDefinition& definition, const MigrationPlan& plan, const std::string& name,
                            absl::Duration patience) {
  constexpr std::int64_t kFirstSubBatch = 100;
  RehearsalRequest request;
  request.plan = &plan;
  request.migration = name;
  request.batch_size = definition.pace().batch_size();
  const std::int64_t sub_batch = definition.pace().sub_batch_size();
  request.sub_batch_size = sub_batch > 0 ? sub_batch : std::min(kFirstSubBatch, request.batch_size);
  if (definition.has_lock_timeout()) request.lock_timeout = DurationOf(definition.lock_timeout());
  if (definition.has_statement_timeout()) request.statement_timeout = DurationOf(definition.statement_timeout());
  request.patience = patience;
  return request;
}

std::optional<DurationEstimate> Estimate(const MigrationDefinition& definition, const RehearsalReport& report) {
  const std::optional<SampleOutcome>& sample = report.rehearsal.sample;
  if (!sample.has_value() || report.rehearsal.to_do.method.empty()) return std::nullopt;
  DurationInputs inputs;
  inputs.table_rows = static_cast<std::int64_t>(report.estimated_rows);
  inputs.rows_to_do = report.rehearsal.to_do.rows;
  inputs.sample_rows = sample->rows;
  // What another session did meanwhile, or a trigger, must not make it look quicker than one row each.
  inputs.sample_affected = sample->matched >= 0 ? std::min(sample->affected, sample->matched) : sample->affected;
  inputs.took = sample->took;
  inputs.look = sample->look;
  inputs.has_where = sample->matched >= 0;
  inputs.batch_size = definition.pace().batch_size();
  inputs.interval = DurationOf(definition.pace().interval());
  inputs.lanes = std::max(1, definition.pace().lanes());
  inputs.max_rows_per_second = definition.pace().max_rows_per_second();
  return EstimateDuration(inputs);
}

}  // namespace

absl::StatusOr<RehearsalReport> Controller::Rehearse(const RehearsalArguments& arguments, absl::Duration patience) {
  const absl::Time begun = clock_.Now();
  RehearsalReport report;
  std::map<std::string, std::string> parameters;
  if (arguments.name.has_value()) {
    if (!options_.allow_inline_definitions) {
      return absl::PermissionDeniedError(
          "This server takes definitions from its catalogue only; start it with --allow-inline-definitions to allow others.");
    }
    MD_RETURN_IF_ERROR(CheckName(*arguments.name));
    MD_ASSIGN_OR_RETURN(report.target, TargetName(arguments.definition, arguments.visible));
    MD_ASSIGN_OR_RETURN(parameters, BindParameters(arguments.definition, arguments.parameters));
    report.name = arguments.name->name;
    report.definition = arguments.definition;
  } else {
    MD_ASSIGN_OR_RETURN(const BoardEntry entry, Resolve(*board_.Get(), arguments.migration));
    const Migration& m = entry.stored.migration;
    report.target = m.target;
    report.name = m.name;
    report.definition = *entry.stored.definition;
    // Those that it was enqueued with are fixed.
    const bool fixed = !m.parameters.empty() && arguments.parameters.empty();
    MD_ASSIGN_OR_RETURN(parameters, BindParameters(report.definition, fixed ? m.parameters : arguments.parameters));
  }
  MD_ASSIGN_OR_RETURN(const auto configured, FindTarget(report.target));
  {
    absl::MutexLock lock(&rehearsals_mutex_);
    if (rehearsals_ >= kAtOnce) {
      return absl::ResourceExhaustedError(absl::StrCat(kAtOnce, " rehearsals are under way already; call again when they have ended."));
    }
    ++rehearsals_;
  }
  const std::shared_ptr<Target> target = configured->WithStop(rehearsals_stop_.get_token());
  const absl::Status rehearsed = RehearseOn(*target, parameters, begun + std::min(patience - kAnswering, kLongest), report);
  {
    absl::MutexLock lock(&rehearsals_mutex_);
    --rehearsals_;
  }
  if (!rehearsed.ok()) return rehearsed;
  SortFindings(report.findings);
  report.feasible = std::none_of(report.findings.begin(), report.findings.end(),
                                 [](const RehearsalFinding& finding) { return finding.severity == Severity::kError; });
  report.estimate = Estimate(report.definition, report);
  return report;
}

void Controller::StopRehearsals() { rehearsals_stop_.request_stop(); }

absl::Status Controller::RehearseOn(Target& target, const std::map<std::string, std::string>& parameters, absl::Time end,
                                    RehearsalReport& report) const {
  const auto refuse = [&](const absl::Status& status) {
    const bool right = SqlStateOf(status) == "42501";
    report.findings.push_back({Severity::kError, right ? "PRIVILEGE_MISSING" : "DEFINITION_REFUSED", std::string(status.message())});
    return absl::OkStatus();
  };
  const auto table = ParseTableName(TableOf(report.definition));
  if (!table.ok()) return refuse(table.status());
  const auto facts = target.Inspect(*table);
  if (!facts.ok()) return IsAway(facts.status()) ? facts.status() : refuse(facts.status());
  report.schema = facts->schema;
  report.table = facts->name;
  report.estimated_rows = facts->estimated_rows;
  PlanContext context;
  context.name = report.name;
  context.parameters = parameters;
  context.natives = options_.natives;
  if (const auto path = options_.target_search_path.find(report.target); path != options_.target_search_path.end()) {
    context.target_search_path = path->second;
  }
  const auto plan = MakePlan(report.definition, *facts, context);
  if (!plan.ok()) return refuse(plan.status());
  // As EXECUTE walks the table.
  const MigrationPlan& walked = PlanOfPass(*plan, 1);
  report.key = walked.key;
  MD_RETURN_IF_ERROR(AskConditions(target, *plan, report));
  RehearsalRequest request = RequestFor(report.definition, walked, report.name, end - clock_.Now());
  // The same rows in the order of their key, without asking for recorded ones.
  if (&walked != &*plan) request.plan_without_schema = &*plan;
  // Frozen is frozen: nothing of ours takes a lock there.
  const FreezeRecord* frozen = nullptr;
  const auto board = board_.Get();
  for (const FreezeRecord& freeze : board->freezes) {
    if (freeze.target.empty() || freeze.target == report.target) frozen = &freeze;
  }
  request.with_sample = frozen == nullptr;
  if (frozen != nullptr) {
    report.findings.push_back({Severity::kWarning, "FROZEN",
                               absl::StrCat("Frozen by ", frozen->actor, ": no sub-batch was tried, and the migration would wait.")});
  }
  MD_ASSIGN_OR_RETURN(report.rehearsal, target.Rehearse(request));
  for (RehearsalFinding& finding : JudgeRehearsal(report.definition, walked, report.estimated_rows, report.rehearsal)) {
    report.findings.push_back(std::move(finding));
  }
  return absl::OkStatus();
}

// skip_if and the checks, as they are answered now.
absl::Status Controller::AskConditions(Target& target, const MigrationPlan& plan, RehearsalReport& report) const {
  const MigrationDefinition& definition = report.definition;
  const auto ask = [&](const std::string& what, const std::string& sql, bool good, RehearsalFinding otherwise) -> absl::Status {
    const auto answer = target.AskBoolean(sql, plan.search_path);
    if (IsAway(answer.status())) return answer.status();
    if (!answer.ok()) {
      report.findings.push_back({Severity::kError, "CONDITION_REFUSED", absl::StrCat(what, ": ", std::string(answer.status().message()))});
    } else if (*answer != good) {
      report.findings.push_back(std::move(otherwise));
    }
    return absl::OkStatus();
  };
  if (!definition.skip_if().empty()) {
    MD_RETURN_IF_ERROR(ask("skip_if", definition.skip_if(), false,
                           {Severity::kInfo, "SKIPPED", "skip_if is true now: the migration would wait until it is not."}));
  }
  for (const auto& check : definition.preflight().checks()) {
    MD_RETURN_IF_ERROR(ask(absl::StrCat("preflight check \"", check.name(), "\""), check.sql(), true,
                           {Severity::kWarning, "PREFLIGHT",
                            absl::StrCat("Preflight check \"", check.name(),
                                         "\" is not true now: the migration would wait until it is.")}));
  }
  return absl::OkStatus();
}

}  // namespace migrationd
