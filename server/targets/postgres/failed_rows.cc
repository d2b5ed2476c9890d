#include "server/targets/postgres/failed_rows.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/targets/postgres/fence.h"
#include "server/targets/postgres/lane_session.h"
#include "server/targets/postgres/sub_batch_sql.h"
#include "server/targets/postgres/sub_batch_work.h"

namespace migrationd {
namespace {

// The column is text without a limit; a message that is longer tells no more.
constexpr std::size_t kMessageBytesMax = 2000;

constexpr char kList[] = R"sql(
SELECT f.key, f.kind = 'UNCHANGED', f.pass, f.sqlstate, f.message, (extract(epoch FROM f.at) * 1000000)::bigint
  FROM migration_control.failed_range AS f
 WHERE f.migration = $1 AND ($2::text[] IS NULL OR f.key > $2::text[])
 ORDER BY f.key
 LIMIT $3)sql";

// Not in the middle of a character.
std::string Shortened(const std::string& message) {
  std::size_t end = std::min(message.size(), kMessageBytesMax);
  while (end < message.size() && end > 0 && (static_cast<unsigned char>(message[end]) & 0xC0) == 0x80) --end;
  return message.substr(0, end);
}

}  // namespace

absl::StatusOr<SkipResult> SkipRowIn(Connection& connection, const LaneOptions& lane, const Key& lower, const SkipRequest& request) {
  const MigrationPlan& plan = *lane.plan;
  MD_RETURN_IF_ERROR(CheckTable(connection, plan));
  Parameters parameters = WorkParameters(plan, lower, request.new_cursor);
  const std::size_t values = parameters.size();
  parameters.push_back(lane.claim.migration);
  parameters.push_back(request.sqlstate);
  parameters.push_back(Shortened(request.message));
  const std::string& keys = request.old_cursor.empty() ? plan.select_keys_first : plan.select_keys;
  MD_ASSIGN_OR_RETURN(
      const QueryResult recorded,
      connection.Query(absl::StrCat("INSERT INTO migration_control.failed_range AS md_f (migration, key, kind, pass, sqlstate, message) SELECT $",
                                    values + 1, "::text, md_m.md_key, 'FAILED', ", lane.pass, ", $", values + 2, "::text, $", values + 3,
                                    "::text FROM (", Embedded(keys), ") AS md_m(md_key) ON CONFLICT DO NOTHING"),
                       parameters));
  // Again, now that its lock is held: see WorkAndSet.
  MD_RETURN_IF_ERROR(CheckTable(connection, plan));
  SkipResult result;
  result.recorded = recorded.affected();
  MD_ASSIGN_OR_RETURN(const QueryResult advanced,
                      connection.Query("SELECT migration_control.advance($1, $2, $3, $4, $5, $6, 0)",
                                       {lane.claim.migration, absl::StrCat(lane.range.lane), absl::StrCat(lane.claim.epoch),
                                        lane.claim.token, ArrayOrNull(request.old_cursor), KeyArray(request.new_cursor)}));
  result.at = absl::FromUnixMicros(advanced.integer(0, 0));
  return result;
}

absl::StatusOr<std::int64_t> RetryRowIn(Connection& connection, const RowRetry& retry, std::int32_t pass) {
  const MigrationPlan& plan = *retry.plan;
  // Held to the end: a takeover waits for this one row.
  MD_RETURN_IF_ERROR(LockClaim(connection, retry.claim, /*refuse_frozen=*/true));
  MD_RETURN_IF_ERROR(CheckTable(connection, plan));
  MD_ASSIGN_OR_RETURN(const QueryResult taken,
                      connection.Query("DELETE FROM migration_control.failed_range WHERE migration = $1 AND key = $2 AND kind = 'FAILED'",
                                       {retry.claim.migration, KeyArray(retry.key)}));
  if (taken.affected() == 0) return 0;
  MD_ASSIGN_OR_RETURN(const std::int64_t affected,
                      RunWorkIn(connection, plan, {retry.key, retry.key, /*first=*/true, pass > 1}, retry.statement_timeout));
  MD_RETURN_IF_ERROR(CheckTable(connection, plan));
  MD_RETURN_IF_ERROR(connection.Query("SET CONSTRAINTS ALL IMMEDIATE").status());
  MD_RETURN_IF_ERROR(connection
                         .Query("UPDATE migration_control.owner AS o SET rows_before = o.rows_before + $2 WHERE o.migration = $1",
                                {retry.claim.migration, absl::StrCat(affected)})
                         .status());
  return affected;
}

absl::Status RecordAgainIn(Connection& connection, const FenceClaim& claim, const Key& key, const absl::Status& error) {
  MD_RETURN_IF_ERROR(LockClaim(connection, claim, /*refuse_frozen=*/false));
  // Not an UPDATE, for which the role would need a right that nothing else needs.
  return connection
      .Query("WITH gone AS (DELETE FROM migration_control.failed_range WHERE migration = $1 AND key = $2 AND kind = 'FAILED' "
             "RETURNING migration, key, kind, pass) "
             "INSERT INTO migration_control.failed_range (migration, key, kind, pass, sqlstate, message) "
             "SELECT g.migration, g.key, g.kind, g.pass, $3, $4 FROM gone AS g",
             {claim.migration, KeyArray(key), SqlStateOf(error), Shortened(std::string(error.message()))})
      .status();
}

absl::StatusOr<std::vector<RowFailure>> ListFailuresIn(Connection& connection, const std::string& migration, const Key& after, int limit) {
  MD_ASSIGN_OR_RETURN(const QueryResult found,
                      connection.Query(kList, {migration, ArrayOrNull(after), absl::StrCat(limit)}));
  std::vector<RowFailure> failures;
  for (int row = 0; row < found.rows(); ++row) {
    RowFailure failure;
    MD_ASSIGN_OR_RETURN(failure.key, ParseKeyArray(found.text(row, 0)));
    failure.unchanged = found.boolean(row, 1);
    failure.pass = static_cast<std::int32_t>(found.integer(row, 2));
    failure.sqlstate = found.text(row, 3);
    failure.message = found.text(row, 4);
    failure.at = absl::FromUnixMicros(found.integer(row, 5));
    failures.push_back(std::move(failure));
  }
  return failures;
}

}  // namespace migrationd
