#include "server/rpc/plan_response.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace migrationd {
namespace {

namespace v1 = migrationcontrol::v1;

v1::Finding::Severity ToProto(RehearsalFinding::Severity severity) {
  switch (severity) {
    case RehearsalFinding::Severity::kError: return v1::Finding::SEVERITY_ERROR;
    case RehearsalFinding::Severity::kWarning: return v1::Finding::SEVERITY_WARNING;
    case RehearsalFinding::Severity::kInfo: return v1::Finding::SEVERITY_INFO;
  }
  return v1::Finding::SEVERITY_UNSPECIFIED;
}

void SetDuration(absl::Duration duration, google::protobuf::Duration& out) {
  const std::int64_t seconds = absl::IDivDuration(duration, absl::Seconds(1), &duration);
  out.set_seconds(seconds);
  out.set_nanos(static_cast<std::int32_t>(absl::ToInt64Nanoseconds(duration)));
}

}  // namespace

v1::PlanResponse ToProto(const RehearsalReport& report) {
  v1::PlanResponse out;
  out.set_feasible(report.feasible);
  for (const RehearsalFinding& finding : report.findings) {
    v1::Finding& added = *out.add_findings();
    added.set_severity(ToProto(finding.severity));
    added.set_code(finding.code);
    added.set_message(finding.message);
  }
  out.set_migration(absl::StrCat(report.target, "/", report.name));
  *out.mutable_definition() = report.definition;
  if (report.table.empty()) return out;
  out.set_table(absl::StrCat(report.schema, ".", report.table));
  out.mutable_key()->Assign(report.key.begin(), report.key.end());
  const Rehearsal& rehearsal = report.rehearsal;
  out.mutable_rows()->set_in_table(std::llround(report.estimated_rows));
  out.mutable_rows()->set_to_do(rehearsal.to_do.rows);
  out.mutable_rows()->set_method(rehearsal.to_do.method);
  out.set_bound_index(rehearsal.bound_index);
  for (const ExplainedSql& statement : rehearsal.statements) {
    v1::ExplainedStatement& added = *out.add_statements();
    added.set_name(statement.name);
    added.set_sql(statement.sql);
    added.mutable_plan()->Assign(statement.plan.begin(), statement.plan.end());
  }
  if (rehearsal.sample.has_value()) {
    v1::SampleSubBatch& sample = *out.mutable_sample();
    sample.set_rows(rehearsal.sample->rows);
    sample.set_matched(rehearsal.sample->matched);
    sample.set_affected(rehearsal.sample->affected);
    SetDuration(rehearsal.sample->took, *sample.mutable_took());
    sample.set_wal_bytes(rehearsal.sample->wal_bytes);
  }
  if (report.estimate.has_value()) {
    SetDuration(report.estimate->duration, *out.mutable_estimated_duration());
    out.set_estimate(report.estimate->explanation);
  }
  return out;
}

}  // namespace migrationd
