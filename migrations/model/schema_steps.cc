#include "migrations/model/schema_steps.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

constexpr char kContracting[] = "-- contracting:";

absl::Status Invalid(const std::string& name, const std::string& what) {
  return absl::InternalError(absl::StrCat("schema step ", name, ": ", what));
}

// What the first line says; 0 for a step that adds.
absl::StatusOr<int> OldestProgram(const std::string& name, const std::string& sql) {
  const std::string first = sql.substr(0, sql.find('\n'));
  absl::string_view line = first;
  if (!absl::ConsumePrefix(&line, kContracting)) return 0;
  line = absl::StripAsciiWhitespace(line);
  int oldest_program = 0;
  if (!absl::ConsumePrefix(&line, "oldest_program ") || !absl::SimpleAtoi(line, &oldest_program) ||
      oldest_program < 1) {
    return Invalid(name, absl::StrCat("the first line must be `", kContracting, " oldest_program N`"));
  }
  return oldest_program;
}

}  // namespace

absl::StatusOr<SchemaSteps> SchemaSteps::Read(const std::vector<std::pair<std::string, std::string>>& files) {
  SchemaSteps read;
  int highest = 0;  // of the oldest_programs so far
  for (const auto& [name, sql] : files) {
    SchemaStep step{.name = name, .sql = sql};
    const auto expected = static_cast<int>(read.steps_.size()) + 1;
    if (!absl::SimpleAtoi(name.substr(0, name.find('_')), &step.number) || step.number != expected) {
      return Invalid(name, absl::StrCat("its number must be ", expected));
    }
    MD_ASSIGN_OR_RETURN(step.oldest_program, OldestProgram(name, sql));
    if (step.contracting()) {
      const bool known = step.oldest_program < step.number && !read.steps_[step.oldest_program - 1].contracting();
      if (!known) return Invalid(name, "oldest_program must be an earlier step that adds");
      if (step.oldest_program <= highest) return Invalid(name, "oldest_program must be higher than that of the steps before");
      highest = step.oldest_program;
    } else if (absl::StrContains(sql, kContracting)) {
      return Invalid(name, absl::StrCat("`", kContracting, "` must be its first line"));
    } else {
      read.program_version_ = step.number;
    }
    read.steps_.push_back(step);
  }
  if (read.steps_.empty() || read.steps_.front().contracting()) return absl::InternalError("the first schema step must add");
  return read;
}

absl::Status SchemaSteps::CheckProgram(const SchemaVersion& there, const std::string& what) const {
  if (program_version_ >= there.oldest_program) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(what, " has schema version ", there.version, ", which needs a program that knows version ",
                                                    there.oldest_program, " at least; this program knows version ", program_version_,
                                                    ". Run a newer migrationd."));
}

std::vector<SchemaStep> SchemaSteps::Due(const SchemaVersion& there, Contracting contracting) const {
  std::vector<SchemaStep> due;
  for (const SchemaStep& step : steps_) {
    if (!step.contracting() && step.number > there.version) due.push_back(step);
  }
  if (contracting == Contracting::kLeave) return due;
  for (const SchemaStep& step : steps_) {
    if (step.contracting() && step.oldest_program > there.oldest_program) due.push_back(step);
  }
  return due;
}

}  // namespace migrationd
