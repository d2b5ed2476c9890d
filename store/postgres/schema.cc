#include "store/postgres/schema.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/model/status_macros.h"
#include "store/postgres/queries.h"
#include "store/postgres/schema_steps.h"

namespace migrationd {
namespace {

// Held while one step is applied; the number is "migratd" in ASCII, and means the same in every version of this
// program.
constexpr char kLock[] = "SELECT pg_advisory_xact_lock(30796665482998884)";
constexpr absl::Duration kUpgradeTimeout = absl::Minutes(1);
constexpr char kWhat[] = "The control store";

SchemaVersion ReadVersion(Transaction& transaction) {
  if (!transaction.Execute(queries::kSchemaExists)[0][0].as<bool>()) return {};
  const pqxx::result rows = transaction.Execute(queries::kReadVersion);
  return {.version = rows.at(0)[0].as<int>(), .oldest_program = rows.at(0)[1].as<int>()};
}

absl::Status RefuseOlderServers(Transaction& transaction, const SchemaStep& step) {
  const pqxx::result rows = transaction.Execute(queries::kReadOlderPrograms, {std::to_string(step.oldest_program)});
  if (rows.empty()) return absl::OkStatus();
  std::vector<std::string> servers;
  for (const auto& row : rows) servers.push_back(row[0].as<std::string>());
  return absl::FailedPreconditionError(
      absl::StrCat("schema step ", step.name, " takes away what programs before version ", step.oldest_program,
                   " use, and such servers are connected: ", absl::StrJoin(servers, ", "), ". Upgrade or stop them first."));
}

// The first step that is due, in the transaction's view; nothing when there is none.
absl::Status ApplyNext(Transaction& transaction, const SchemaSteps& steps, Contracting contracting, bool& applied) {
  applied = false;
  transaction.ExecuteScript(kLock);
  const SchemaVersion there = ReadVersion(transaction);
  MD_RETURN_IF_ERROR(steps.CheckProgram(there, kWhat));
  const std::vector<SchemaStep> due = steps.Due(there, contracting);
  if (due.empty()) return absl::OkStatus();
  const SchemaStep& step = due.front();
  if (step.contracting()) MD_RETURN_IF_ERROR(RefuseOlderServers(transaction, step));
  transaction.ExecuteScript(step.sql);
  transaction.Execute(queries::kRecordVersion, {std::to_string(step.number), step.name});
  if (step.contracting()) transaction.Execute(queries::kSetOldestProgram, {std::to_string(step.oldest_program)});
  applied = true;
  return absl::OkStatus();
}

}  // namespace

const SchemaSteps& ControlSchemaSteps() {
  static const SchemaSteps steps = ReadSchemaSteps(schema_steps::kSqlFiles).value();
  return steps;
}

std::string NameWithVersion(const std::string& name, const SchemaSteps& steps) {
  return absl::StrCat(name, " schema ", steps.program_version());
}

absl::Status UpgradeSchema(const TransactionRunner& transactions, const SchemaSteps& steps, Contracting contracting) {
  bool applied = true;
  while (applied) {
    MD_RETURN_IF_ERROR(
        transactions.Run(Access::kReadWrite, "applying a step of the schema", kUpgradeTimeout,
                         [&](Transaction& transaction) { return ApplyNext(transaction, steps, contracting, applied); }));
  }
  return absl::OkStatus();
}

absl::Status CheckSchemaVersion(const TransactionRunner& transactions, const SchemaSteps& steps) {
  SchemaVersion there;
  MD_RETURN_IF_ERROR(transactions.Run(Access::kSnapshot, "reading the schema's version", [&](Transaction& transaction) {
    there = ReadVersion(transaction);
    return absl::OkStatus();
  }));
  MD_RETURN_IF_ERROR(steps.CheckProgram(there, kWhat));
  if (steps.Due(there, Contracting::kLeave).empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(kWhat, " has schema version ", there.version, "; this program needs version ",
                                                    steps.program_version(),
                                                    ". Run `migrationd upgrade`, or start without --no-auto-upgrade."));
}

}  // namespace migrationd
