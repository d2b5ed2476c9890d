// One libpq connection with deadlines on everything, errors as values, and a stop that other threads may request.
#pragma once

#include <libpq-fe.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/targets/postgres/stop_signal.h"

namespace migrationd {

// A query's answer; text values.
class QueryResult {
 public:
  explicit QueryResult(PGresult* result) : result_(result, &PQclear) {}
  int rows() const { return PQntuples(result_.get()); }
  int columns() const { return PQnfields(result_.get()); }
  Oid type(int column) const { return PQftype(result_.get(), column); }
  bool null(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }
  std::string text(int row, int column) const { return PQgetvalue(result_.get(), row, column); }
  std::int64_t integer(int row, int column) const;
  bool boolean(int row, int column) const { return text(row, column) == "t"; }
  // Rows that an INSERT, UPDATE, DELETE or MERGE affected.
  std::int64_t affected() const;
  std::string command_tag() const { return PQcmdStatus(result_.get()); }

 private:
  std::unique_ptr<PGresult, decltype(&PQclear)> result_;
};

inline constexpr Oid kBooleanOid = 16;

// nullopt is NULL.
using Parameters = std::vector<std::optional<std::string>>;

struct ConnectOptions {
  std::string url;
  absl::Duration connect_timeout = absl::Seconds(5);
  // For one query; longer than its statement_timeout. After it the connection is given up.
  absl::Duration query_timeout = absl::Seconds(15);
  // Once requested, whatever waits on this connection, connecting included, ends at once and the connection is given up.
  std::stop_token stop = {};
};

// For one thread at a time.
//
// Errors: DatabaseError with the SQLSTATE and the primary message (never detail or context, and of data exceptions no
// quoted values, since these are row values); an empty SQLSTATE, UNAVAILABLE, for a connection that cannot be made,
// broke, was terminated by the server, did not answer in time or was told to stop. Messages never hold the URL.
class Connection {
 public:
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const ConnectOptions& options);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Simple protocol; may hold several statements, which then are one transaction. The last one's answer.
  absl::StatusOr<QueryResult> Query(const std::string& sql);
  // Extended protocol: exactly one statement, values bound.
  absl::StatusOr<QueryResult> Query(const std::string& sql, const Parameters& parameters);
  absl::Status Prepare(const std::string& name, const std::string& sql);
  absl::StatusOr<QueryResult> Execute(const std::string& name, const Parameters& parameters);
  // Execute in two halves: several may be sent before the first is answered; each is a transaction of its own, whatever became of those
  // before it. Receive gives the answers in the order of sending. While any is outstanding, only these two may be called.
  absl::Status Send(const std::string& name, const Parameters& parameters);
  absl::StatusOr<QueryResult> Receive();
  // Parses only, as the unnamed statement, and says at which character an error is.
  absl::Status Parse(const std::string& sql, const std::vector<Oid>& types);

  bool stop_requested() const { return stop_token_.stop_requested(); }
  // Nothing can be sent any more.
  bool broken() const;
  // In a transaction block that can go on.
  bool in_transaction() const { return PQtransactionStatus(connection_.get()) == PQTRANS_INTRANS; }
  // Neither in a transaction block nor in a query.
  bool idle() const { return PQtransactionStatus(connection_.get()) == PQTRANS_IDLE; }

  int backend_pid() const { return backend_pid_; }
  // Behind a transaction pooler: no session state, no prepared statements.
  bool pooled() const { return pooled_; }
  int server_version() const { return PQserverVersion(connection_.get()); }

  void SetQueryTimeout(absl::Duration timeout) { query_timeout_ = timeout; }

 private:
  Connection(PGconn* connection, absl::Duration query_timeout, std::unique_ptr<StopSignal> stop);
  absl::Status FinishConnecting(absl::Duration timeout);
  absl::Status FindBackend();
  // Sends what was queued, then reads all results; the last one, or the first error, with its position in the text if
  // asked.
  absl::StatusOr<QueryResult> Finish(int sent, bool tell_position = false);
  // The next result of what was sent; null between two.
  absl::StatusOr<PGresult*> Next(std::int64_t deadline_ms);
  absl::Status Flush(std::int64_t deadline_ms);
  // Waits until the socket is ready; UNAVAILABLE after the deadline or when told to stop.
  absl::Status Wait(bool for_write, std::int64_t deadline_ms);
  absl::Status Lost(const std::string& what);

  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
  absl::Duration query_timeout_;
  int backend_pid_ = 0;
  bool pooled_ = false;
  bool gave_up_ = false;
  int outstanding_ = 0;
  std::unique_ptr<StopSignal> stop_;  // null: never told to stop
  std::stop_token stop_token_;
};

// The message of a failed query without what it may quote from rows: data exceptions (class 22) quote the value that
// was wrong.
std::string WithoutRowValues(std::string_view sqlstate, std::string_view message);

}  // namespace migrationd
