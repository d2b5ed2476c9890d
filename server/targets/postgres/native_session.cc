#include "server/targets/postgres/native_session.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/definition/sql_lexer.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/clock.h"

namespace migrationd {
namespace {

// feature_not_supported, of a class that halts at once: trying again helps nobody.
constexpr std::string_view kRefused = "0A000";
// query_canceled: tried again with fewer rows.
constexpr std::string_view kLate = "57014";

constexpr std::array<std::string_view, 6> kEndsTransaction = {"BEGIN", "START", "COMMIT", "END", "ABORT", "PREPARE"};
constexpr std::array<std::string_view, 6> kOutlivesTransaction = {"RESET", "DISCARD", "LISTEN", "UNLISTEN", "DEALLOCATE", "LOAD"};

template <std::size_t count>
bool IsOneOf(const SqlToken& token, const std::array<std::string_view, count>& words) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return token.IsWord(word); });
}

absl::Status Refused(const SqlToken& token, const std::string& why) {
  return DatabaseError(kRefused, absl::StrCat("a native class must not run ", UpperWord(token), ": ", why));
}

// ROLLBACK [WORK | TRANSACTION] TO: back to a savepoint, which is the class's own affair.
bool IsRollbackToSavepoint(const std::vector<SqlToken>& tokens) {
  const std::size_t to = tokens.size() > 1 && (tokens[1].IsWord("WORK") || tokens[1].IsWord("TRANSACTION")) ? 2 : 1;
  return tokens.size() > to && tokens[to].IsWord("TO");
}

bool HoldsCursor(const std::vector<SqlToken>& tokens) {
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    if (tokens[i - 1].IsWord("WITH") && tokens[i].IsWord("HOLD")) return true;
  }
  return false;
}

}  // namespace

absl::Status CheckNativeStatement(const std::string& sql) {
  auto lexed = LexSql(sql);
  // The database says it better; it does not run it either.
  if (!lexed.ok()) return absl::OkStatus();
  std::vector<SqlToken> tokens = *std::move(lexed);
  tokens.erase(std::remove_if(tokens.begin(), tokens.end(), [](const SqlToken& token) { return token.IsComment(); }), tokens.end());
  if (tokens.empty()) return absl::OkStatus();
  const SqlToken& verb = tokens[0];
  if (IsOneOf(verb, kEndsTransaction) || (verb.IsWord("ROLLBACK") && !IsRollbackToSavepoint(tokens))) {
    return Refused(verb, "the sub-batch is one transaction with the move of the cursor, which migrationd begins and ends");
  }
  const bool sets = verb.IsWord("SET") && tokens.size() > 1 && !tokens[1].IsWord("LOCAL") && !tokens[1].IsWord("CONSTRAINTS");
  if (sets || IsOneOf(verb, kOutlivesTransaction) || (verb.IsWord("DECLARE") && HoldsCursor(tokens))) {
    return Refused(verb, "its effect would outlive the transaction, on a connection that a pooler may give to others; there is SET LOCAL");
  }
  if (verb.IsWord("COPY")) return Refused(verb, "bind arrays instead (SqlArray), or use NativeBatch::Update");
  return absl::OkStatus();
}

bool PostgresNativeSession::late() const { return Clock::Real().Now() >= deadline_; }

bool PostgresNativeSession::MayGoOn() const { return !late() && !connection_.stop_requested() && !connection_.broken(); }

absl::StatusOr<QueryResult> PostgresNativeSession::Run(const std::string& sql, const NativeRow& values) {
  absl::Status allowed = CheckNativeStatement(sql);
  if (allowed.ok() && late()) allowed = DatabaseError(kLate, "the sub-batch took longer than statement_timeout");
  if (!allowed.ok()) {
    if (refused_.ok()) refused_ = allowed;
    return allowed;
  }
  auto result = connection_.Query(sql, values);
  if (!result.ok()) failed_ = result.status();
  return result;
}

absl::StatusOr<std::vector<NativeRow>> PostgresNativeSession::Query(const std::string& sql, const NativeRow& values) {
  MD_ASSIGN_OR_RETURN(const QueryResult result, Run(sql, values));
  std::vector<NativeRow> rows(static_cast<std::size_t>(result.rows()));
  for (int row = 0; row < result.rows(); ++row) {
    NativeRow& texts = rows[static_cast<std::size_t>(row)];
    texts.reserve(static_cast<std::size_t>(result.columns()));
    for (int column = 0; column < result.columns(); ++column) {
      texts.push_back(result.null(row, column) ? std::nullopt : std::optional(result.text(row, column)));
    }
  }
  return rows;
}

absl::StatusOr<std::int64_t> PostgresNativeSession::Execute(const std::string& sql, const NativeRow& values) {
  MD_ASSIGN_OR_RETURN(const QueryResult result, Run(sql, values));
  return result.affected();
}

absl::Status PostgresNativeSession::Refusal() const {
  // Never an attempt: the rows have nothing to do with it.
  if (connection_.stop_requested()) return DatabaseError("", "the sub-batch was given up because it was told to stop");
  if (connection_.broken()) return DatabaseError("", "the connection broke during the sub-batch");
  return refused_;
}

absl::Status PostgresNativeSession::Verdict() const {
  if (!connection_.in_transaction()) return failed_.ok() ? DatabaseError(kRefused, "it ended the sub-batch's transaction") : failed_;
  // What took too long once more takes too long: fewer rows.
  return late() ? DatabaseError(kLate, "the sub-batch took longer than statement_timeout") : absl::OkStatus();
}

}  // namespace migrationd
