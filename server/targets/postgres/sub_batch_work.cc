#include "server/targets/postgres/sub_batch_work.h"

#include <exception>

#include "absl/strings/str_cat.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/kinds/native.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/clock.h"
#include "server/targets/postgres/native_session.h"
#include "server/targets/postgres/sub_batch_sql.h"

namespace migrationd {
namespace {

// What a class says of its failure is for people: a line, not a dump.
constexpr std::size_t kMessageBytesMax = 500;

// Its own message within bounds, saying whose it is.
absl::Status Naming(const std::string& class_name, const absl::Status& status) {
  std::string message = std::string(status.message());
  if (message.size() > kMessageBytesMax) {
    std::size_t end = kMessageBytesMax;
    while (end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) --end;
    message = absl::StrCat(message.substr(0, end), "...");
  }
  absl::Status named(status.code(), absl::StrCat("native class ", class_name, ": ", message));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { named.SetPayload(url, payload); });
  return named;
}

// The edge behind which nobody throws.
absl::StatusOr<std::int64_t> CallClass(const NativeMigration& migration, NativeBatch& batch) {
  try {
    return migration.RunSubBatch(batch);
  } catch (const std::exception& error) {
    return DatabaseError(kSqlStateNativeFailed, absl::StrCat("it threw: ", error.what()));
  } catch (...) {
    return DatabaseError(kSqlStateNativeFailed, "it threw something that is no std::exception");
  }
}

absl::StatusOr<std::int64_t> RunNativeIn(Connection& connection, const MigrationPlan& plan, const WorkRange& range,
                                         absl::Duration time_limit) {
  const NativeWork& work = *plan.native;
  NativeBatch::Range rows;
  rows.table = QualifiedTable(plan);
  rows.alias = plan.alias;
  rows.key = plan.key;
  if (range.verify) {
    rows.rows = range.first ? work.verify_rows_first : work.verify_rows;
  } else {
    rows.rows = range.first ? work.rows_first : work.rows;
  }
  rows.values = WorkParameters(plan, range.lower, range.upper);
  rows.types = work.types;
  PostgresNativeSession session(connection, Clock::Real().Now() + time_limit);
  NativeBatch batch(session, rows);
  const auto affected = CallClass(*work.migration, batch);
  absl::Status failed = session.Refusal();
  if (failed.ok() && IsDatabaseError(affected.status())) failed = affected.status();
  // Time that ran out is why a class gave up that looked at MayGoOn.
  if (failed.ok()) failed = session.Verdict();
  if (failed.ok() && !affected.ok()) failed = DatabaseError(kSqlStateNativeFailed, std::string(affected.status().message()));
  if (!failed.ok()) return Naming(work.class_name, failed);
  if (*affected < 0) {
    return Naming(work.class_name, DatabaseError(kSqlStateNativeFailed, absl::StrCat("says that it affected ", *affected, " rows")));
  }
  return affected;
}

}  // namespace

absl::StatusOr<std::int64_t> RunWorkIn(Connection& connection, const MigrationPlan& plan, const WorkRange& range,
                                       absl::Duration time_limit) {
  if (plan.native != nullptr) return RunNativeIn(connection, plan, range, time_limit);
  const SubBatchStatements statements = StatementsFor(plan, range.first, range.verify);
  MD_ASSIGN_OR_RETURN(const QueryResult worked, connection.Query(statements.work, WorkParameters(plan, range.lower, range.upper)));
  if (!connection.in_transaction()) return absl::InternalError("the statement ended the transaction");
  return worked.affected();
}

}  // namespace migrationd
