#include "server/targets/postgres/connection.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "migrations/model/connect_reason.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/clock.h"

namespace migrationd {
namespace {

std::int64_t NowMs() { return absl::ToUnixMillis(Clock::Real().Now()); }

// Longer than anything of ours runs; keeps an infinite duration from overflowing.
constexpr absl::Duration kLongest = absl::Hours(24 * 30);

std::int64_t DeadlineMs(absl::Duration timeout) {
  return NowMs() + absl::ToInt64Milliseconds(std::min(timeout, kLongest));
}

// The first line only. Of a connection that was made: libpq's words about one that was not may hold parts of its URL.
std::string FirstLine(const char* message) {
  const std::string text = message == nullptr ? "" : message;
  return text.substr(0, text.find('\n'));
}

// Told by who raises it, since the words depend on lc_messages.
bool IsRefusalOfRowSecurity(const PGresult* result, std::string_view sqlstate) {
  const char* function = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);
  return sqlstate == "42501" && function != nullptr && std::string_view(function) == "check_enable_rls";
}

// An error result as a status.
absl::Status ErrorOf(const PGresult* result, bool tell_position) {
  if (PQresultStatus(result) == PGRES_EMPTY_QUERY) return DatabaseError("42601", "the statement is empty");
  const char* sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  if (sqlstate == nullptr) return DatabaseError("", "the connection broke");
  std::string text = WithoutRowValues(sqlstate, message == nullptr ? "(no message)" : message);
  const char* position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
  if (tell_position && position != nullptr) absl::StrAppend(&text, " (at character ", position, ")");
  return IsRefusalOfRowSecurity(result, sqlstate) ? RowSecurityError(text) : DatabaseError(sqlstate, text);
}

// A NOTICE must not end on the terminal.
void IgnoreNotice(void*, const char*) {}

}  // namespace

std::int64_t QueryResult::integer(int row, int column) const {
  std::int64_t value = 0;
  return absl::SimpleAtoi(text(row, column), &value) ? value : 0;
}

std::int64_t QueryResult::affected() const {
  std::int64_t value = 0;
  return absl::SimpleAtoi(std::string(PQcmdTuples(result_.get())), &value) ? value : 0;
}

Connection::Connection(PGconn* connection, absl::Duration query_timeout, std::unique_ptr<StopSignal> stop)
    : connection_(connection, &PQfinish), query_timeout_(query_timeout), stop_(std::move(stop)) {}

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const ConnectOptions& options) {
  // libpq quotes a text that it cannot parse, and that text may hold a password.
  std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> parsed(PQconninfoParse(options.url.c_str(), nullptr),
                                                                      &PQconninfoFree);
  if (parsed == nullptr)
    return DatabaseError("", "cannot connect: the URL is not one of PostgreSQL (postgresql://user@host:port/database)");
  // A dead peer is noticed while waiting (keepalives) and while sending (tcp_user_timeout); neither alone is enough.
  const char* const keywords[] = {"dbname",
                                  "keepalives",
                                  "keepalives_idle",
                                  "keepalives_interval",
                                  "keepalives_count",
                                  "tcp_user_timeout",
                                  "client_encoding",
                                  "fallback_application_name",
                                  nullptr};
  const char* const values[] = {options.url.c_str(), "1", "5", "5", "3", "15000", "UTF8", "migrationd", nullptr};
  MD_ASSIGN_OR_RETURN(std::unique_ptr<StopSignal> stop, StopSignal::Make(options.stop));
  std::unique_ptr<Connection> connection(new Connection(PQconnectStartParams(keywords, values, /*expand_dbname=*/1),
                                                        options.query_timeout, std::move(stop)));
  connection->stop_token_ = options.stop;
  if (connection->connection_ == nullptr) return absl::ResourceExhaustedError("out of memory for a connection");
  MD_RETURN_IF_ERROR(connection->FinishConnecting(options.connect_timeout));
  PQsetNoticeProcessor(connection->connection_.get(), &IgnoreNotice, nullptr);
  if (PQsetnonblocking(connection->connection_.get(), 1) != 0)
    return connection->Lost("the connection cannot be made non-blocking");
  MD_RETURN_IF_ERROR(connection->FindBackend());
  return connection;
}

absl::Status Connection::FinishConnecting(absl::Duration timeout) {
  const std::int64_t deadline = DeadlineMs(timeout);
  PostgresPollingStatusType state = PGRES_POLLING_WRITING;
  while (state != PGRES_POLLING_OK) {
    if (PQstatus(connection_.get()) == CONNECTION_BAD || state == PGRES_POLLING_FAILED) {
      return DatabaseError("", absl::StrCat("cannot connect: ", ConnectReason(PQerrorMessage(connection_.get()))));
    }
    MD_RETURN_IF_ERROR(Wait(state == PGRES_POLLING_WRITING, deadline));
    state = PQconnectPoll(connection_.get());
  }
  return absl::OkStatus();
}

absl::Status Connection::FindBackend() {
  MD_ASSIGN_OR_RETURN(const QueryResult result, Query("SELECT pg_catalog.pg_backend_pid()"));
  backend_pid_ = static_cast<int>(result.integer(0, 0));
  // A pooler makes up the process id that it tells its clients.
  pooled_ = backend_pid_ != PQbackendPID(connection_.get());
  return absl::OkStatus();
}

absl::StatusOr<QueryResult> Connection::Query(const std::string& sql) {
  return Finish(PQsendQuery(connection_.get(), sql.c_str()));
}

absl::StatusOr<QueryResult> Connection::Query(const std::string& sql, const Parameters& parameters) {
  std::vector<const char*> values;
  for (const auto& parameter : parameters) values.push_back(parameter.has_value() ? parameter->c_str() : nullptr);
  return Finish(PQsendQueryParams(connection_.get(), sql.c_str(), static_cast<int>(values.size()), nullptr,
                                  values.data(), nullptr, nullptr, 0));
}

absl::Status Connection::Prepare(const std::string& name, const std::string& sql) {
  return Finish(PQsendPrepare(connection_.get(), name.c_str(), sql.c_str(), 0, nullptr)).status();
}

absl::StatusOr<QueryResult> Connection::Execute(const std::string& name, const Parameters& parameters) {
  std::vector<const char*> values;
  for (const auto& parameter : parameters) values.push_back(parameter.has_value() ? parameter->c_str() : nullptr);
  return Finish(PQsendQueryPrepared(connection_.get(), name.c_str(), static_cast<int>(values.size()), values.data(),
                                    nullptr, nullptr, 0));
}

absl::Status Connection::Send(const std::string& name, const Parameters& parameters) {
  PGconn* connection = connection_.get();
  if (PQpipelineStatus(connection) == PQ_PIPELINE_OFF && PQenterPipelineMode(connection) == 0) return Lost("no pipeline can be begun");
  std::vector<const char*> values;
  for (const auto& parameter : parameters) values.push_back(parameter.has_value() ? parameter->c_str() : nullptr);
  // The sync behind it ends its transaction, and keeps an error in it from those that follow.
  if (PQsendQueryPrepared(connection, name.c_str(), static_cast<int>(values.size()), values.data(), nullptr, nullptr, 0) == 0 ||
      PQpipelineSync(connection) == 0) {
    return Lost("the query could not be sent");
  }
  ++outstanding_;
  return Flush(DeadlineMs(query_timeout_));
}

absl::StatusOr<QueryResult> Connection::Receive() {
  --outstanding_;
  const std::int64_t deadline = DeadlineMs(query_timeout_);
  absl::Status error;
  std::unique_ptr<PGresult, decltype(&PQclear)> last(nullptr, &PQclear);
  int pauses = 0;
  while (true) {
    MD_ASSIGN_OR_RETURN(PGresult* const next, Next(deadline));
    if (next == nullptr) {
      // Before and behind a query's results.
      if (broken() || ++pauses > 2) return Lost("the connection broke");
      continue;
    }
    std::unique_ptr<PGresult, decltype(&PQclear)> result(next, &PQclear);
    const ExecStatusType status = PQresultStatus(result.get());
    if (status == PGRES_PIPELINE_SYNC) break;
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
      last = std::move(result);
    } else if (error.ok()) {
      error = ErrorOf(result.get(), /*tell_position=*/false);
      // The server ended the connection: there will be no sync.
      if (broken()) return error;
    }
  }
  if (outstanding_ == 0 && PQexitPipelineMode(connection_.get()) == 0) return Lost("the pipeline could not be ended");
  if (!error.ok()) return error;
  if (last == nullptr) return Lost("the database gave no answer");
  return QueryResult(last.release());
}

absl::Status Connection::Parse(const std::string& sql, const std::vector<Oid>& types) {
  return Finish(PQsendPrepare(connection_.get(), "", sql.c_str(), static_cast<int>(types.size()), types.data()),
                /*tell_position=*/true)
      .status();
}

absl::Status Connection::Wait(bool for_write, std::int64_t deadline_ms) {
  while (true) {
    const std::int64_t left = deadline_ms - NowMs();
    if (left <= 0) {
      gave_up_ = true;
      return DatabaseError("", "the database did not answer in time");
    }
    // A negative descriptor is left out by poll.
    pollfd descriptors[] = {
        {stop_ == nullptr ? -1 : stop_->descriptor(), POLLIN, 0},
        {PQsocket(connection_.get()), static_cast<short>(for_write ? POLLIN | POLLOUT : POLLIN), 0}};
    const int ready = poll(descriptors, 2, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
    if (ready > 0 && descriptors[0].revents != 0) {
      gave_up_ = true;
      return DatabaseError("", "the connection was given up because it was told to stop");
    }
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return Lost("poll failed");
  }
}

absl::Status Connection::Lost(const std::string& what) {
  gave_up_ = true;
  const std::string detail = FirstLine(PQerrorMessage(connection_.get()));
  return DatabaseError("", detail.empty() ? what : absl::StrCat(what, ": ", detail));
}

absl::Status Connection::Flush(std::int64_t deadline_ms) {
  PGconn* connection = connection_.get();
  for (int flushed = PQflush(connection); flushed != 0; flushed = PQflush(connection)) {
    if (flushed < 0) return Lost("the connection broke while sending");
    MD_RETURN_IF_ERROR(Wait(/*for_write=*/true, deadline_ms));
    // The server may be waiting for us to read before it reads on.
    if (PQconsumeInput(connection) == 0) return Lost("the connection broke while sending");
  }
  return absl::OkStatus();
}

absl::StatusOr<PGresult*> Connection::Next(std::int64_t deadline_ms) {
  PGconn* connection = connection_.get();
  while (PQisBusy(connection) != 0) {
    MD_RETURN_IF_ERROR(Wait(/*for_write=*/false, deadline_ms));
    if (PQconsumeInput(connection) == 0) return Lost("the connection broke");
  }
  return PQgetResult(connection);
}

absl::StatusOr<QueryResult> Connection::Finish(int sent, bool tell_position) {
  if (sent == 0) return Lost("the query could not be sent");
  const std::int64_t deadline = DeadlineMs(query_timeout_);
  MD_RETURN_IF_ERROR(Flush(deadline));
  absl::Status error;
  std::unique_ptr<PGresult, decltype(&PQclear)> last(nullptr, &PQclear);
  // To the end of the message: in the extended protocol the result comes before the commit, whose error follows it.
  while (true) {
    MD_ASSIGN_OR_RETURN(PGresult* const result, Next(deadline));
    if (result == nullptr) break;
    last.reset(result);
    const ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
      return Lost("COPY to or from the client is not possible here");
    }
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || !error.ok()) continue;
    error = ErrorOf(result, tell_position);
  }
  if (broken()) return Lost("the connection broke");
  if (!error.ok()) return error;
  if (last == nullptr) return Lost("the database gave no answer");
  return QueryResult(last.release());
}

bool Connection::broken() const { return gave_up_ || PQstatus(connection_.get()) == CONNECTION_BAD; }

std::string WithoutRowValues(std::string_view sqlstate, std::string_view message) {
  if (!sqlstate.starts_with("22")) return std::string(message);
  // A value is quoted as it is, whatever is in it, and other languages have other quotes: all from the first to the last one goes.
  std::size_t first = std::string_view::npos;
  std::size_t last = 0;
  std::size_t after_last = 0;
  for (const std::string_view quote : {"\"", "'", "“", "”", "„", "»", "«", "‘", "’", "‚", "‹", "›", "「", "」"}) {
    const std::size_t begin = message.find(quote);
    if (begin == std::string_view::npos) continue;
    first = std::min(first, begin);
    if (const std::size_t end = message.rfind(quote); end >= last) {
      last = end;
      after_last = end + quote.size();
    }
  }
  if (first == std::string_view::npos) return std::string(message);
  // One alone: the rest may be the value.
  return absl::StrCat(std::string(message.substr(0, first)), "\"...\"", last > first ? std::string(message.substr(after_last)) : "");
}

}  // namespace migrationd
