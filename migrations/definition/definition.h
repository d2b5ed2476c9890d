// From a definition file (or message) to a checked, normalized definition. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "migrationcontrol/v1/definition.pb.h"

namespace migrationd {

// `20261120093000_backfill.yaml` without its folder.
struct DefinitionName {
  std::string version;  // 14 digits, a real date and time
  std::string name;     // [a-z][a-z0-9_]{0,62}
};

// INVALID_ARGUMENT with what a file name looks like.
absl::StatusOr<DefinitionName> ParseFileName(const std::string& file_name);
// The same checks for an inline definition.
absl::Status CheckName(const DefinitionName& name);

// One thing wrong.
struct DefinitionProblem {
  int line = 0;  // from 1; 0: not tied to a place
  int column = 0;
  std::string field;  // `sql_batch.key[1]`
  std::string message;
};

// FILE:LINE:COL: FIELD: what is wrong, what would be right.
std::string FormatProblem(const std::string& file, const DefinitionProblem& problem);

// Either a definition with every default filled in, or at least one problem.
struct DefinitionResult {
  migrationcontrol::v1::MigrationDefinition definition;
  std::vector<DefinitionProblem> problems;
  // Whether `start` was given; where it was not, `definition` says AUTO and a server's own default may replace that.
  bool start_given = false;
  bool ok() const { return problems.empty(); }
};

// Reads YAML. Refused: unknown fields, duplicate keys, a second document, anchors and aliases, more than 256 KiB, nesting deeper
// than 20, values of the wrong form. All problems are reported, not just the first, at most 50.
DefinitionResult ParseDefinition(const std::string& yaml);

// Checks a message and fills in the defaults that need no database.
DefinitionResult CheckDefinition(const migrationcontrol::v1::MigrationDefinition& definition);

// The definition as a YAML file: ParseDefinition(ToYaml(d)) gives d for a normalized d.
std::string ToYaml(const migrationcontrol::v1::MigrationDefinition& definition);

// SHA-256, hex, of the normalized definition: equal exactly when the meaning is.
std::string DefinitionDigest(const migrationcontrol::v1::MigrationDefinition& normalized);

// Checks values given at Enqueue against the declared parameters and returns all of them with defaults. INVALID_ARGUMENT for an
// unknown, missing or ill-typed one.
absl::StatusOr<std::map<std::string, std::string>> BindParameters(
    const migrationcontrol::v1::MigrationDefinition& normalized, const std::map<std::string, std::string>& given);

}  // namespace migrationd
