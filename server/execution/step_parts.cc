#include "server/execution/step_parts.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "migrations/kinds/native.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

constexpr absl::Duration kPrepareLockTimeout = absl::Milliseconds(500);

// The same error, saying at which statement.
absl::Status Naming(const std::string& step, const absl::Status& status) {
  absl::Status named(status.code(), absl::StrCat(step, ": ", std::string(status.message())));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { named.SetPayload(url, payload); });
  return named;
}

}  // namespace

MutationContext Guarded(const StepContext& context, std::string call) {
  MutationContext mutation;
  mutation.caller.actor = context.actor;
  mutation.call = std::move(call);
  mutation.lease_token = context.lease.token;
  return mutation;
}

bool IsRefusal(const absl::Status& status) {
  return status.code() != absl::StatusCode::kUnavailable && status.code() != absl::StatusCode::kDeadlineExceeded &&
         ClassifyFailure(SqlStateOf(status).empty() ? "42000" : SqlStateOf(status)) == FailureClass::kHalt;
}

bool IsCheckpointLost(const absl::Status& status) {
  const bool deleted = status.code() == absl::StatusCode::kFailedPrecondition && SqlStateOf(status).empty();
  return deleted || status.code() == absl::StatusCode::kNotFound || status.code() == absl::StatusCode::kPermissionDenied;
}

absl::Status UnlessRefused(const absl::Status& stored) {
  switch (stored.code()) {
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition: return absl::OkStatus();
    default: return stored;
  }
}

absl::StatusOr<MigrationPlan> PlanFor(const StepContext& context, const StoredMigration& stored, const TableFacts& facts) {
  return MakePlan(*stored.definition, facts,
                  {.name = stored.migration.name,
                   .parameters = stored.migration.parameters,
                   .target_search_path = context.target_search_path,
                   .natives = context.natives});
}

absl::StatusOr<MigrationPlan> PlanOnTarget(const StepContext& context, const StoredMigration& stored) {
  MD_ASSIGN_OR_RETURN(const TableName table, ParseTableName(TableOf(*stored.definition)));
  MD_ASSIGN_OR_RETURN(const TableFacts facts, context.target.Inspect(table));
  return PlanFor(context, stored, facts);
}

std::string KeyChangedMessage(const MigrationPlan& plan) {
  return absl::StrCat(
      "The key by which rows are walked was changed since work began (its columns, their order, or a collation), so what is recorded as done says "
      "nothing any more. Change it back, then Retry; or begin again, with migrationctl retry --from start: ",
      plan.has_where ? "`where` tells which rows still are to be done." : "without a `where`, rows that were done are done a second time.");
}

absl::StatusOr<VerbEffect> WithCounters(const StepContext& context, absl::Time now, absl::StatusOr<VerbEffect> effect) {
  if (!effect.ok() || !effect->changed || !context.counters.has_value()) return effect;
  ProgressCounters& progress = effect->after.progress;
  progress = *context.counters;
  if (progress.last_error.has_value() && progress.last_error->at == absl::InfinitePast()) progress.last_error->at = now;
  return effect;
}

absl::Status RecordCompletion(const StepContext& context, const std::string& how, std::int64_t accepted_rows) {
  return context.store
      .Mutate(context.id, Guarded(context, "Complete"),
              [&](const StoredMigration& current, absl::Time now) {
                return WithCounters(context, now,
                                    CompleteMigration(current.migration, {context.actor, how}, now, accepted_rows,
                                                      CleansUpByItself(*current.definition)));
              })
      .status();
}

absl::Status RunSteps(const StepContext& context, const char* prefix, std::vector<std::string> statements,
                      const google::protobuf::RepeatedPtrField<std::string>& more, const std::string& search_path, const FenceClaim& claim) {
  statements.insert(statements.end(), more.begin(), more.end());
  for (std::size_t i = 0; i < statements.size(); ++i) {
    const std::string step = absl::StrCat(prefix, i);
    const absl::Status done = context.target.RunStep(claim, step, statements[i], search_path, kPrepareLockTimeout);
    if (!done.ok()) return Naming(step, done);
  }
  return absl::OkStatus();
}

absl::Status RunCleanupSteps(const StepContext& context, const StoredMigration& stored, const MigrationPlan& plan, const FenceClaim& claim) {
  return RunSteps(context, kCleanupPrefix, plan.cleanup, stored.definition->cleanup().statements(), plan.search_path, claim);
}

}  // namespace migrationd
