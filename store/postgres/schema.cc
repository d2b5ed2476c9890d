#include "store/postgres/schema.h"

#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"
#include "store/postgres/queries.h"
#include "store/postgres/schema_steps.h"

namespace migrationd {
namespace {

// Held while one step is applied; the number is "migratd" in ASCII, and means the same in every version of this
// program.
constexpr char kLock[] = "SELECT pg_advisory_xact_lock(30796665482998884)";
constexpr absl::Duration kUpgradeTimeout = absl::Minutes(1);

struct SchemaVersion {
  int version = 0;  // 0: nothing there
  int oldest_program = 0;
};

// The number in 0003_lease.
int StepNumber(const schema_steps::SqlFile& step) {
  int number = 0;
  const std::string name(step.name);
  if (!absl::SimpleAtoi(name.substr(0, name.find('_')), &number)) return 0;
  return number;
}

int ProgramVersion() { return StepNumber(schema_steps::kSqlFiles[std::size(schema_steps::kSqlFiles) - 1]); }

SchemaVersion ReadVersion(Transaction& transaction) {
  if (!transaction.Execute(queries::kSchemaExists)[0][0].as<bool>()) return {};
  const pqxx::result rows = transaction.Execute(queries::kReadVersion);
  return {.version = rows.at(0)[0].as<int>(), .oldest_program = rows.at(0)[1].as<int>()};
}

absl::Status CheckProgram(const SchemaVersion& schema) {
  if (ProgramVersion() >= schema.oldest_program) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "The control store has schema version ", schema.version, ", which needs a program that knows version ",
      schema.oldest_program, " at least; this program knows version ", ProgramVersion(), ". Run a newer migrationd."));
}

}  // namespace

absl::Status UpgradeSchema(const TransactionRunner& transactions) {
  for (const schema_steps::SqlFile& step : schema_steps::kSqlFiles) {
    const int number = StepNumber(step);
    MD_RETURN_IF_ERROR(transactions.Run(
        Access::kReadWrite, absl::StrCat("applying schema step ", std::string(step.name)), kUpgradeTimeout,
        [&](Transaction& transaction) {
          transaction.ExecuteScript(kLock);
          const SchemaVersion schema = ReadVersion(transaction);
          MD_RETURN_IF_ERROR(CheckProgram(schema));
          if (schema.version >= number) return absl::OkStatus();
          transaction.ExecuteScript(step.text);
          transaction.Execute(queries::kRecordVersion, {std::to_string(number), std::string(step.name)});
          return absl::OkStatus();
        }));
  }
  return absl::OkStatus();
}

absl::Status CheckSchemaVersion(const TransactionRunner& transactions) {
  SchemaVersion schema;
  MD_RETURN_IF_ERROR(transactions.Run(Access::kSnapshot, "reading the schema's version", [&](Transaction& transaction) {
    schema = ReadVersion(transaction);
    return absl::OkStatus();
  }));
  MD_RETURN_IF_ERROR(CheckProgram(schema));
  if (schema.version >= ProgramVersion()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("The control store has schema version ", schema.version,
                                                    "; this program needs version ", ProgramVersion(),
                                                    ". Run `migrationd upgrade`, or start without --no-auto-upgrade."));
}

}  // namespace migrationd
