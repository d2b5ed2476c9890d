// The steps of a schema that we keep in a database, from release to release: pure, for the control store's and the targets' alike.
//
// Every release may be next to the one before it, and be rolled back to it. So a step either adds (a column with a default, a table, an
// index, a function with another signature) and leaves to older programs all that they use: those are applied at start. Or it
// takes away what the programs of the last release no longer use: those are applied when somebody asks for it, by
// `migrationd upgrade --contract`, and lock the programs out that still use it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace migrationd {

struct SchemaStep {
  int number = 0;         // 1, 2, ... without gaps; the order of release
  std::string name;       // of its file, "0006_example"
  std::string sql;
  // 0: it adds. Otherwise it takes away, and programs that know this step, or a later one, can do without. Written as the first line of
  // the file: `-- contracting: oldest_program 6`.
  int oldest_program = 0;
  bool contracting() const { return oldest_program > 0; }
};

// How far a schema is.
struct SchemaVersion {
  int version = 0;         // newest step applied; 0: the schema is not there
  int oldest_program = 0;  // programs that know this step, or a later one, may use it
};

// Whether steps that take away are due too.
enum class Contracting { kLeave, kApply };

// Thread-safe: nothing changes after it was made.
class SchemaSteps {
 public:
  // `files` are pairs of name and text, in the order of their names. INTERNAL, for a test to find: a name without the
  // next number, a first step that takes away, or an oldest_program that is not an earlier step that adds, higher than the one before: by it
  // a schema tells which of those steps it has.
  static absl::StatusOr<SchemaSteps> Read(const std::vector<std::pair<std::string, std::string>>& files);

  // Newest step that adds; what this program is measured by.
  int program_version() const { return program_version_; }

  // FAILED_PRECONDITION, naming both versions, when a schema that is `there` needs a newer program. `what`: "The control store".
  absl::Status CheckProgram(const SchemaVersion& there, const std::string& what) const;

  // What has to be applied to a schema that is `there`, in order. Steps that take away come after all that add, and each may meet
  // a schema to which later steps were added before.
  std::vector<SchemaStep> Due(const SchemaVersion& there, Contracting contracting) const;

 private:
  std::vector<SchemaStep> steps_;
  int program_version_ = 0;
};

// The steps in the header that migrationd_embed_sql generates.
template <typename SqlFiles>
absl::StatusOr<SchemaSteps> ReadSchemaSteps(const SqlFiles& files) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const auto& file : files) pairs.emplace_back(file.name, file.text);
  return SchemaSteps::Read(pairs);
}

}  // namespace migrationd
