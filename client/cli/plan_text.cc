#include "client/cli/plan_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/quantity.h"
#include "client/cli/text.h"

namespace migrationctl {
namespace {

constexpr std::size_t kNameWidth = 10;

void Line(const std::string& name, const std::string& value, std::string& text) {
  absl::StrAppend(&text, PadToWidth(name, kNameWidth), "  ", Printable(value), "\n");
}

std::string HowCounted(const std::string& method) {
  if (method == "COUNT") return "counted";
  if (method == "SAMPLE") return "counted in a sample of the table";
  if (method == "STATISTICS") return "by the table's statistics";
  return "";
}

std::string RowsText(const v1::PlannedRows& rows) {
  const std::string in_table =
      rows.in_table() < 0 ? "the table was never analysed" : absl::StrCat("about ", FormatCount(rows.in_table()), " in the table");
  if (rows.method().empty()) return absl::StrCat("to do: unknown; ", in_table);
  return absl::StrCat(FormatCount(rows.to_do()), " to do, ", HowCounted(rows.method()), "; ", in_table);
}

std::string SampleText(const v1::SampleSubBatch& sample) {
  std::string text = absl::StrCat(FormatCount(sample.rows()), " rows");
  if (sample.matched() >= 0) absl::StrAppend(&text, ", ", FormatCount(sample.matched()), " match `where`");
  return absl::StrCat(text, ", ", FormatCount(sample.affected()), " changed in ",
                      absl::FormatDuration(absl::Trunc(FromProto(sample.took()), absl::Microseconds(100))), ", ",
                      FormatShort(static_cast<double>(sample.wal_bytes())), " bytes of write-ahead log; rolled back");
}

std::string SeverityWord(v1::Finding::Severity severity) {
  switch (severity) {
    case v1::Finding::SEVERITY_ERROR: return "ERROR";
    case v1::Finding::SEVERITY_WARNING: return "WARNING";
    case v1::Finding::SEVERITY_INFO: return "INFO";
    default: return absl::StrCat(static_cast<int>(severity));
  }
}

Style SeverityStyle(v1::Finding::Severity severity) {
  if (severity == v1::Finding::SEVERITY_ERROR) return Style::kBad;
  return severity == v1::Finding::SEVERITY_WARNING ? Style::kWarning : Style::kPlain;
}

}  // namespace

std::string DescribePlan(const v1::PlanResponse& plan, const Terminal& terminal) {
  std::string text = absl::StrCat(Styled(Printable(plan.migration()), Style::kBold, terminal), ": ",
                                  plan.feasible() ? Styled("can be run", Style::kGood, terminal)
                                                  : Styled("will not run like this", Style::kBad, terminal),
                                  "\n");
  if (!plan.table().empty()) {
    text += "\n";
    const std::string order = plan.key().empty() ? "" : absl::StrCat(" in the order of ", absl::StrJoin(plan.key(), ", "));
    Line("Table", absl::StrCat(plan.table(), order), text);
    if (plan.has_rows()) Line("Rows", RowsText(plan.rows()), text);
    const std::string index = plan.bound_index().empty() ? "no index" : absl::StrCat("by index ", plan.bound_index());
    if (!plan.statements().empty()) Line("Bounds", index, text);
    Line("Sample", plan.has_sample() ? SampleText(plan.sample()) : "none", text);
    const bool told = plan.has_estimated_duration();
    Line("Duration", told ? absl::StrCat("about ", HumanDuration(FromProto(plan.estimated_duration()))) : "cannot be told", text);
    if (!plan.estimate().empty()) Line("", plan.estimate(), text);
  }
  if (!plan.findings().empty()) text += "\n";
  for (const v1::Finding& finding : plan.findings()) {
    absl::StrAppend(&text, Styled(PadToWidth(SeverityWord(finding.severity()), 7), SeverityStyle(finding.severity()), terminal), "  ",
                    Printable(finding.code()), ": ", Printable(finding.message()), "\n");
  }
  for (const v1::ExplainedStatement& statement : plan.statements()) {
    if (statement.plan().empty()) continue;
    absl::StrAppend(&text, "\n", Styled(absl::StrCat("EXPLAIN of ", Printable(statement.name())), Style::kBold, terminal), "\n");
    for (const std::string& line : statement.plan()) absl::StrAppend(&text, "  ", Printable(line), "\n");
  }
  return text;
}

}  // namespace migrationctl
