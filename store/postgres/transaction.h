// Begins, commits and rolls back: once, here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "store/postgres/connection_pool.h"
#include "store/postgres/connection_watchdog.h"

namespace migrationd {

enum class Access {
  kReadWrite,  // READ COMMITTED: each statement sees what is committed before it
  kSnapshot,   // REPEATABLE READ, read only: all statements see the same moment
};

// What the body of a transaction works with.
class Transaction {
 public:
  Transaction(pqxx::transaction_base& transaction, bool in_doubt) : transaction_(transaction), in_doubt_(in_doubt) {}

  // Runs one statement with its values bound. Throws what libpqxx throws: only TransactionRunner's bodies may call it.
  pqxx::result Execute(std::string_view sql, const std::vector<std::string>& values = {});
  // Runs a file of statements that take no values: the schema's steps.
  void ExecuteScript(std::string_view sql);

  // An earlier attempt of the same call lost its connection at COMMIT, so it may have been committed: or may be
  // committing still, until a row it has locked was locked again.
  bool in_doubt() const { return in_doubt_; }

 private:
  pqxx::transaction_base& transaction_;
  const bool in_doubt_;
};

// Thread-safe. No state stays in a session after a transaction, so it works through a pooler in transaction mode.
class TransactionRunner {
 public:
  // `pool` and `watchdog` outlive it.
  TransactionRunner(ConnectionPool& pool, ConnectionWatchdog& watchdog, absl::Duration statement_timeout)
      : pool_(pool), watchdog_(watchdog), statement_timeout_(statement_timeout) {}

  using Body = absl::FunctionRef<absl::Status(Transaction&)>;

  // Runs `body` in a transaction of its own and commits when it returns OK, rolls back and returns its status
  // otherwise. `doing` names it in messages ("claiming a migration").
  //
  // `body` is run again, in a new transaction, when it lost against other transactions (40001, 40P01; at most ten
  // times, then ABORTED), when a connection that had lain idle turned out to be closed, and when the connection was
  // lost at COMMIT. So it must assign its results anew each time, and after in_doubt() find out whether it is done
  // already. UNAVAILABLE: nothing was recorded; but when IsCommitUnknown(status), the outcome could not be found out.
  absl::Status Run(Access access, std::string_view doing, Body body) const {
    return Run(access, doing, statement_timeout_, body);
  }
  absl::Status Run(Access access, std::string_view doing, absl::Duration statement_timeout, Body body) const;

 private:
  enum class Ending { kDone, kConflict, kStaleConnection, kInDoubt };
  struct Outcome {
    Ending ending = Ending::kDone;
    absl::Status status;
  };
  Outcome Attempt(Access access, std::string_view doing, absl::Duration statement_timeout, bool in_doubt,
                  Body body) const;

  ConnectionPool& pool_;
  ConnectionWatchdog& watchdog_;
  const absl::Duration statement_timeout_;
};

}  // namespace migrationd
