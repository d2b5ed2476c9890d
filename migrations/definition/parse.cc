#include <algorithm>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "migrations/definition/check.h"
#include "migrations/definition/definition.h"
#include "migrations/definition/yaml_reader.h"
#include "migrations/definition/yaml_tree.h"

namespace migrationd {
namespace {

constexpr std::size_t kMostProblems = 50;

// The field, or the nearest message around it that the file has.
YamlPlace PlaceOf(const YamlPlaces& places, std::string path) {
  while (true) {
    const auto found = places.find(path);
    if (found != places.end()) return found->second;
    const std::size_t cut = path.find_last_of(".[");
    if (cut == std::string::npos) return {1, 1};
    path.resize(cut);
  }
}

bool IsWithin(const std::string& path, const std::string& outer) {
  return outer.empty() || path == outer || absl::StartsWith(path, outer + ".") || absl::StartsWith(path, outer + "[");
}

// A field that could not be read looks missing to the checks: one problem is enough for it.
bool IsReported(const std::vector<DefinitionProblem>& reported, const DefinitionProblem& problem) {
  return std::any_of(reported.begin(), reported.end(),
                     [&](const DefinitionProblem& earlier) { return IsWithin(problem.field, earlier.field); });
}

}  // namespace

std::string FormatProblem(const std::string& file, const DefinitionProblem& problem) {
  std::string text = file;
  if (problem.line > 0) absl::StrAppend(&text, ":", problem.line, ":", problem.column);
  absl::StrAppend(&text, ": ");
  if (!problem.field.empty()) absl::StrAppend(&text, problem.field, ": ");
  return text + problem.message;
}

DefinitionResult ParseDefinition(const std::string& yaml) {
  std::vector<DefinitionProblem> problems;
  YamlPlaces places;
  migrationcontrol::v1::MigrationDefinition read;
  ReadYamlMessage(ReadYamlTree(yaml, problems), read, places, problems);

  DefinitionResult result =
      CheckWrittenDefinition(read, [&](const std::string& path) { return places.count(path) > 0; });
  for (DefinitionProblem& problem : result.problems) {
    if (IsReported(problems, problem)) continue;
    const YamlPlace place = PlaceOf(places, problem.field);
    problems.push_back({place.line, place.column, std::move(problem.field), std::move(problem.message)});
  }
  std::stable_sort(problems.begin(), problems.end(), [](const DefinitionProblem& a, const DefinitionProblem& b) {
    return std::tie(a.line, a.column) < std::tie(b.line, b.column);
  });
  if (problems.size() > kMostProblems) problems.resize(kMostProblems);
  result.problems = std::move(problems);
  return result;
}

}  // namespace migrationd
