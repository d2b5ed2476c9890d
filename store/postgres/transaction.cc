#include "store/postgres/transaction.h"

#include <algorithm>
#include <exception>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "migrations/model/failure.h"
#include "store/postgres/sql_error.h"

namespace migrationd {
namespace {

constexpr int kMaxConflicts = 10;
// With the pauses below about four seconds: a server that was restarted is back by then.
constexpr int kMaxTriesInDoubt = 8;
constexpr absl::Duration kFirstPauseInDoubt = absl::Milliseconds(50);
constexpr absl::Duration kLongestPauseInDoubt = absl::Seconds(1);
// What the watchdog allows a whole transaction beyond the timeout of one statement: the server ends a statement by
// itself, and its answer takes a moment.
constexpr absl::Duration kAnswerTime = absl::Seconds(2);

// SET LOCAL ends with the transaction. The numbers and words are ours, not values.
std::string Preamble(Access access, absl::Duration statement_timeout) {
  const std::int64_t milliseconds = absl::ToInt64Milliseconds(statement_timeout);
  return absl::StrCat(
      access == Access::kSnapshot
          ? "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; "
          : "SET TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL synchronous_commit = on; ",
      "SET LOCAL statement_timeout = ", milliseconds, "; SET LOCAL lock_timeout = ", milliseconds,
      "; SET LOCAL idle_in_transaction_session_timeout = ", 2 * milliseconds,
      "; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL extra_float_digits = 1");
}

// Short and random, so that those who collided do not collide again.
void PauseAfterConflict(int conflicts) {
  absl::BitGen random;
  absl::SleepFor(absl::Milliseconds(absl::Uniform(random, 1, 5 * conflicts + 2)));
}

absl::Status CommitUnknown(std::string_view doing) {
  return CommitUnknownError(
      absl::StrCat("The control store was lost at the end of ", std::string(doing),
                   ", and whether it was recorded could not be found out. Ask again, with the same request id."));
}

}  // namespace

pqxx::result Transaction::Execute(std::string_view sql, const std::vector<std::string>& values) {
  return pqxx_compat::ExecuteBound(transaction_, std::string(sql), values);
}

void Transaction::ExecuteScript(std::string_view sql) { transaction_.exec(std::string(sql)); }

absl::Status TransactionRunner::Run(Access access, std::string_view doing, absl::Duration statement_timeout,
                                    Body body) const {
  int conflicts = 0;
  int tries_in_doubt = 0;
  bool met_stale_connection = false;
  bool in_doubt = false;
  absl::Duration pause = kFirstPauseInDoubt;
  while (true) {
    const Outcome outcome = Attempt(access, doing, statement_timeout, in_doubt, body);
    if (outcome.ending == Ending::kConflict && ++conflicts < kMaxConflicts) {
      PauseAfterConflict(conflicts);
      continue;
    }
    if (outcome.ending == Ending::kStaleConnection && !met_stale_connection) {
      met_stale_connection = true;
      continue;
    }
    in_doubt = in_doubt || outcome.ending == Ending::kInDoubt;
    // Only an answer of the database ends a doubt.
    if (!in_doubt || (outcome.ending == Ending::kDone && !absl::IsUnavailable(outcome.status))) return outcome.status;
    if (++tries_in_doubt > kMaxTriesInDoubt || IsConnectTimeout(outcome.status)) return CommitUnknown(doing);
    absl::SleepFor(pause);
    pause = std::min(2 * pause, kLongestPauseInDoubt);
  }
}

TransactionRunner::Outcome TransactionRunner::Attempt(Access access, std::string_view doing,
                                                      absl::Duration statement_timeout, bool in_doubt,
                                                      Body body) const {
  auto lease = pool_.Acquire();
  if (!lease.ok()) return {Ending::kDone, lease.status()};
  pqxx::connection& connection = lease->connection();
  try {
    const ConnectionWatchdog::Watch watch(watchdog_, connection.sock(), statement_timeout + kAnswerTime);
    pqxx::work transaction(connection);
    Transaction view(transaction, in_doubt);
    view.ExecuteScript(Preamble(access, statement_timeout));
    absl::Status status = body(view);
    if (status.ok()) transaction.commit();
    return {Ending::kDone, status};  // not committed: rolled back by the destructor
  } catch (const pqxx::in_doubt_error& error) {
    return {Ending::kInDoubt, CommitUnknown(doing)};
  } catch (const std::exception& error) {
    const absl::Status status = StatusFromException(error, doing);
    if (pqxx_compat::IsConflict(error)) return {Ending::kConflict, status};
    if (connection.is_open()) return {Ending::kDone, status};
    pool_.DropIdle();
    const absl::Status broken = StatusFromException(pqxx::broken_connection("lost"), doing);
    return {lease->used_before() ? Ending::kStaleConnection : Ending::kDone, broken};
  }
}

}  // namespace migrationd
