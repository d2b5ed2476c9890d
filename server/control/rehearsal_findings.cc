#include "server/control/rehearsal_findings.h"

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/definition/sql_lexer.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/model/failure.h"

namespace migrationd {
namespace {

using migrationcontrol::v1::MigrationDefinition;
using Severity = RehearsalFinding::Severity;

// What the statement needs on the walked table, as far as its words tell.
std::set<std::string> RightsOnTable(const MigrationDefinition& definition) {
  std::set<std::string> rights = {"SELECT"};
  if (definition.has_copy_columns()) {
    rights.insert("UPDATE");
    rights.insert("TRIGGER");
  }
  if (definition.has_delete_rows()) rights.insert("DELETE");
  if (!definition.has_sql_batch()) return rights;
  const auto tokens = LexSql(definition.sql_batch().statement());
  if (!tokens.ok()) return rights;
  for (const SqlToken& token : *tokens) {
    for (const char* word : {"INSERT", "UPDATE", "DELETE"}) {
      if (token.IsWord(word)) rights.insert(word);
    }
  }
  return rights;
}

// An object is missing, which may be one that `prepare` makes.
bool IsMissingObject(const std::string& sqlstate) {
  static const std::set<std::string> kMissing = {"42P01", "42703", "42704", "42883", "3F000"};
  return kMissing.count(sqlstate) != 0;
}

class Judge {
 public:
  Judge(const MigrationDefinition& definition, const MigrationPlan& plan, double estimated_rows, const Rehearsal& rehearsal)
      : definition_(definition), plan_(plan), estimated_rows_(estimated_rows), rehearsal_(rehearsal), table_(QualifiedTable(plan)) {}

  std::vector<RehearsalFinding> Findings() {
    if (rehearsal_.in_recovery) {
      Add(Severity::kError, "STANDBY", "The target is a standby, where nothing can be written: give the service the URL of the primary.");
    }
    if (rehearsal_.frozen.has_value()) {
      Add(Severity::kWarning, "FROZEN", absl::StrCat("The target is frozen (", *rehearsal_.frozen,
                                                     "): no sub-batch was tried, and the migration would wait."));
    }
    Rights();
    Statements();
    Sample();
    Rows();
    if (definition_.prepare_size() > 0) {
      Add(Severity::kInfo, "PREPARE_NOT_REHEARSED",
          absl::StrCat(definition_.prepare_size(), definition_.prepare_size() == 1 ? " statement" : " statements",
                       " of `prepare` would run first; a rehearsal leaves them out."));
    }
    SortFindings(findings_);
    return std::move(findings_);
  }

 private:
  void Add(Severity severity, const char* code, std::string message) { findings_.push_back({severity, code, std::move(message)}); }

  std::string Grant(const std::string& rights, const std::string& on) const {
    return absl::StrCat("GRANT ", rights, " ON ", on, " TO ", QuoteIdentifier(rehearsal_.role));
  }

  void Rights() {
    const std::set<std::string> needed = RightsOnTable(definition_);
    std::vector<std::string> missing;
    // A sql_batch may name those words for other tables; then the database refuses it, or not.
    const bool surely = !definition_.has_sql_batch();
    for (const std::string& right : needed) {
      if (rehearsal_.lacking.count(right) != 0 && (surely || right == "SELECT" || WasRefusedRights())) missing.push_back(right);
    }
    if (!missing.empty()) {
      Add(Severity::kError, "PRIVILEGE_MISSING",
          absl::StrCat("The role ", rehearsal_.role, " lacks ", absl::StrJoin(missing, ", "), " on ", table_, ": ",
                       Grant(absl::StrJoin(missing, ", "), table_), ";"));
    } else if (WasRefusedRights() && !IsRowSecurityError(RefusedRights())) {
      Add(Severity::kError, "PRIVILEGE_MISSING",
          absl::StrCat("The role ", rehearsal_.role, " is refused: ", std::string(RefusedRights().message()),
                       ". Grant it what the statement does there, for instance ", Grant("SELECT", "..."), ";"));
    }
    RowSecurity();
    if (!rehearsal_.control_schema && !rehearsal_.may_create_schema) {
      Add(Severity::kError, "PRIVILEGE_MISSING",
          absl::StrCat("There is no schema migration_control, and the role ", rehearsal_.role,
                       " may not create it. A DBA runs `migrationctl target-sql | psql -1` on the target, or allows it: "
                       "GRANT CREATE ON DATABASE ... TO ",
                       QuoteIdentifier(rehearsal_.role), ";"));
    }
    if (!rehearsal_.control_lacking.empty()) {
      Add(Severity::kError, "PRIVILEGE_MISSING",
          absl::StrCat("The role ", rehearsal_.role, " lacks rights on schema migration_control: ",
                       absl::StrJoin(rehearsal_.control_lacking, ", "),
                       ". Roles in PostgreSQL, in the README, has all that it needs."));
    }
    if (definition_.has_copy_columns() && !rehearsal_.owns_table && missing.empty()) {
      Add(Severity::kInfo, "NOT_OWNER",
          absl::StrCat("The role ", rehearsal_.role, " does not own ", table_,
                       ": its trigger can be made, but cleanup waits until the owner drops it."));
    }
    if (!rehearsal_.may_make_temporary && !rehearsal_.role.empty()) {
      Add(Severity::kInfo, "NO_TEMPORARY",
          absl::StrCat("Without TEMPORARY on the database each sub-batch takes several round trips instead of one: GRANT TEMPORARY ON "
                       "DATABASE ... TO ",
                       QuoteIdentifier(rehearsal_.role), ";"));
    }
  }

  // Of the walked table, or of another one that the statement reads.
  void RowSecurity() {
    if (rehearsal_.row_security) {
      Add(Severity::kError, "ROW_SECURITY",
          absl::StrCat("Row-level security of ", table_, " applies to the role ", rehearsal_.role,
                       ": rows that it hides would be left out, so the migration would be HALTED. ALTER ROLE ", QuoteIdentifier(rehearsal_.role),
                       " BYPASSRLS; or make it a member of the table's owner, which helps only without FORCE ROW LEVEL SECURITY."));
    } else if (IsRowSecurityError(RefusedRights())) {
      Add(Severity::kError, "ROW_SECURITY", absl::StrCat("The role ", rehearsal_.role, " is refused: ", std::string(RefusedRights().message()), "."));
    }
  }

  absl::Status RefusedRights() const {
    if (SqlStateOf(rehearsal_.sample_error) == "42501") return rehearsal_.sample_error;
    for (const ExplainedSql& statement : rehearsal_.statements) {
      if (SqlStateOf(statement.error) == "42501") return statement.error;
    }
    return absl::OkStatus();
  }
  bool WasRefusedRights() const { return !RefusedRights().ok(); }

  void Statements() {
    std::set<std::string> named;
    for (const ExplainedSql& statement : rehearsal_.statements) {
      const bool refused = !statement.error.ok() && SqlStateOf(statement.error) != "42501";
      // What fails when it is planned mostly fails when it is run, and is told there.
      if (refused && rehearsal_.sample_error.ok()) Refused("STATEMENT_REFUSED", statement.name, statement.error);
      for (const SequentialScan& scan : statement.scans) {
        if (scan.rows <= kLargeRelationRows || !named.insert(scan.relation).second) continue;
        Add(Severity::kWarning, "SEQUENTIAL_SCAN",
            absl::StrCat("The ", statement.name == "work" ? "statement" : statement.name == "verify" ? "`where`" : "search for bounds",
                         " reads all of ", scan.relation, " (about ", scan.rows,
                         " rows) for each batch: an index on what it is joined or searched by would help; if there is one, ANALYZE ",
                         scan.relation, "."));
      }
    }
    if (!rehearsal_.statements.empty() && rehearsal_.bound_index.empty()) {
      Add(Severity::kWarning, "NO_BOUND_INDEX",
          absl::StrCat("No index gives the rows of ", table_, " in the order of ", absl::StrJoin(plan_.key, ", "),
                       ", so each bound sorts what is left of the table: create one, or cut by another key."));
    }
  }

  // What the database says when it is asked to run or to plan something.
  void Refused(const char* code, const std::string& what, const absl::Status& error) {
    const std::string sqlstate = SqlStateOf(error);
    const std::string told = absl::StrCat(what, ": ", sqlstate.empty() ? "" : absl::StrCat(sqlstate, ", "), std::string(error.message()));
    if (IsMissingObject(sqlstate) && definition_.prepare_size() > 0) {
      return Add(Severity::kWarning, code, absl::StrCat(told, ". Perhaps `prepare` makes it, which a rehearsal leaves out."));
    }
    if (error.code() == absl::StatusCode::kDeadlineExceeded) return Add(Severity::kWarning, code, absl::StrCat(told, "; call again."));
    switch (ClassifyFailure(sqlstate)) {
      case FailureClass::kRetrySmaller:
        return Add(Severity::kWarning, code,
                   absl::StrCat(told, ". The service would try it again with fewer rows; if it takes too long for one row, nothing helps "
                                      "but a better plan."));
      case FailureClass::kRetryNow:
      case FailureClass::kBackOff:
        return Add(Severity::kWarning, code, absl::StrCat(told, ". The service would try it again."));
      case FailureClass::kBadRows:
        return Add(Severity::kError, code,
                   absl::StrCat(told, ". Rows that fail like this are left out and recorded, and it ends HALTED: repair them, or the "
                                      "statement."));
      default:
        return Add(Severity::kError, code, absl::StrCat(told, ". It would be HALTED at once."));
    }
  }

  void Sample() {
    if (!rehearsal_.sample_error.ok()) {
      if (SqlStateOf(rehearsal_.sample_error) != "42501") Refused("SAMPLE_FAILED", "A sub-batch, rolled back", rehearsal_.sample_error);
      return;
    }
    if (!rehearsal_.sample.has_value()) return;
    const SampleOutcome& sample = *rehearsal_.sample;
    if (sample.matched <= 0 || sample.still_matched <= 0) return;
    if (sample.still_matched >= sample.matched) {
      return Add(Severity::kError, "WHERE_NOT_SATISFIED",
                 absl::StrCat("All ", sample.matched, " rows of the sub-batch still match `where` after the statement, "
                              "which must make it false: they would be met again and again."));
    }
    Add(Severity::kWarning, "ROWS_LEFT",
        absl::StrCat(sample.still_matched, " of the ", sample.matched, " rows of the sub-batch that matched `where` still do after the statement. "
                     "Rows like these are recorded as unchanged, and it ends as `on_unchanged` says."));
  }

  void Rows() {
    if (estimated_rows_ < 0 && !rehearsal_.empty) {
      Add(Severity::kInfo, "NOT_ANALYSED", absl::StrCat("The table was never analysed, so plans and numbers are guesses: ANALYZE ", table_,
                                                        ";"));
    }
    if (rehearsal_.empty) {
      Add(Severity::kInfo, "NOTHING_TO_DO", absl::StrCat(table_, " has no row in the range of the migration."));
    } else if (rehearsal_.to_do.method == kEstimatedByCount && rehearsal_.to_do.rows == 0) {
      Add(Severity::kInfo, "NOTHING_TO_DO", "No row matches `where` now.");
    } else if (rehearsal_.sample.has_value() && rehearsal_.sample->matched == 0) {
      Add(Severity::kInfo, "NO_MATCH_SEEN",
          absl::StrCat("None of the first ", rehearsal_.skipped, " rows match `where`, so the sub-batch that was tried changed nothing, "
                                                                 "and says nothing of the time it takes."));
    }
  }

  const MigrationDefinition& definition_;
  const MigrationPlan& plan_;
  const double estimated_rows_;
  const Rehearsal& rehearsal_;
  const std::string table_;
  std::vector<RehearsalFinding> findings_;
};

}  // namespace

std::vector<RehearsalFinding> JudgeRehearsal(const MigrationDefinition& definition, const MigrationPlan& plan, double estimated_rows,
                                             const Rehearsal& rehearsal) {
  return Judge(definition, plan, estimated_rows, rehearsal).Findings();
}

void SortFindings(std::vector<RehearsalFinding>& findings) {
  const auto graver = [](const RehearsalFinding& a, const RehearsalFinding& b) { return a.severity < b.severity; };
  std::stable_sort(findings.begin(), findings.end(), graver);
}

}  // namespace migrationd
