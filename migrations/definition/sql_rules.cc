#include "migrations/definition/sql_rules.h"

#include <algorithm>
#include <array>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "migrations/definition/sql_lexer.h"
#include "migrations/definition/text_rules.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

constexpr std::string_view kBatch = "batch";
constexpr std::string_view kParameterPrefix = "param.";

// A text without comments and trailing semicolons.
struct SqlText {
  std::string trimmed;
  std::vector<SqlToken> tokens;  // into the text it was made from; no comments
};

template <typename... Parts>
absl::Status Refused(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

bool IsOneOf(const SqlToken& token, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return token.IsWord(word); });
}

absl::Status CheckNothingHidden(const SqlToken& token) {
  const absl::string_view text(token.text.data(), token.text.size());
  if (absl::StrContains(text, "{{batch}}") || absl::StrContains(text, "{{param.")) {
    return Refused("a placeholder inside quotes or a comment is never replaced: ", Shown(token.text),
                   "; move it out of them");
  }
  return absl::OkStatus();
}

absl::StatusOr<SqlText> ReadText(std::string_view sql) {
  MD_ASSIGN_OR_RETURN(std::vector<SqlToken> all, LexSql(sql));
  SqlText text;
  for (const SqlToken& token : all) {
    if (token.kind == SqlTokenKind::kParameter) {
      return Refused(Shown(token.text), " is not available; declare a parameter and write {{param.NAME}}");
    }
    if (token.IsComment() || token.kind == SqlTokenKind::kString || token.kind == SqlTokenKind::kQuotedIdentifier) {
      MD_RETURN_IF_ERROR(CheckNothingHidden(token));
    }
    if (!token.IsComment()) text.tokens.push_back(token);
  }
  while (!text.tokens.empty() && text.tokens.back().IsSymbol(';')) text.tokens.pop_back();
  if (text.tokens.empty()) return Refused("is empty");
  const SqlToken& last = text.tokens.back();
  // Comments before the first token stay: they may explain it to whoever reads pg_stat_activity.
  const char* begin = all.front().text.data();
  text.trimmed = std::string(begin, last.text.data() + last.text.size());
  return text;
}

// CREATE FUNCTION ... BEGIN ATOMIC ...; END and CREATE RULE ... DO (a; b) hold semicolons that end no statement; psql
// follows them by the same rule.
absl::Status CheckSingle(const SqlText& text) {
  const bool creates = text.tokens.front().IsWord("CREATE");
  int body = 0;
  for (std::size_t i = 0; i < text.tokens.size(); ++i) {
    const SqlToken& token = text.tokens[i];
    if (creates && token.IsWord("ATOMIC") && text.tokens[i - 1].IsWord("BEGIN")) ++body;
    if (body > 0 && token.IsWord("CASE")) ++body;
    if (body > 0 && token.IsWord("END")) --body;
    if (!token.IsSymbol(';') || body > 0 || (creates && token.depth > 0)) continue;
    return Refused("holds more than one statement: after the ';' stands ", Shown(text.tokens[i + 1].text),
                   "; write one statement");
  }
  return absl::OkStatus();
}

// Returns how often {{batch}} stands in the text.
absl::StatusOr<int> CheckPlaceholders(const SqlText& text, const ParameterNames& declared, ParameterNames& used) {
  int batches = 0;
  for (const SqlToken& token : text.tokens) {
    if (token.kind != SqlTokenKind::kPlaceholder) continue;
    const std::string name(PlaceholderName(token));
    if (name == kBatch) {
      ++batches;
    } else if (!absl::StartsWith(name, absl::string_view(kParameterPrefix.data(), kParameterPrefix.size()))) {
      return Refused("unknown placeholder ", Shown(token.text),
                     "; there are {{batch}} and {{param.NAME}}, written without spaces");
    } else if (const std::string parameter = name.substr(kParameterPrefix.size()); declared.count(parameter) == 0) {
      return Refused("{{param.", Shown(parameter), "}} is not declared; add it to `parameters` with a name and a type");
    } else {
      used.insert(parameter);
    }
  }
  return batches;
}

absl::Status CheckNoPlaceholders(const SqlText& text) {
  for (const SqlToken& token : text.tokens) {
    if (token.kind == SqlTokenKind::kPlaceholder) {
      return Refused("has the placeholder ", Shown(token.text), ", which is only replaced in `statement` and `where`");
    }
  }
  return absl::OkStatus();
}

// Of WITH, the verb of the statement that its queries lead to: the first one outside parentheses that is not a query's
// name.
std::string MainVerb(const std::vector<SqlToken>& tokens) {
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    const bool names_query =
        tokens[i - 1].IsWord("RECURSIVE") || tokens[i - 1].IsSymbol(',') || (i == 1 && !tokens[i].IsWord("RECURSIVE"));
    if (tokens[i].depth > 0 || names_query) continue;
    if (IsOneOf(tokens[i], {"SELECT", "VALUES", "TABLE", "UPDATE", "DELETE", "INSERT", "MERGE"}))
      return UpperWord(tokens[i]);
  }
  return "";
}

absl::Status CheckChangesRows(const std::vector<SqlToken>& tokens) {
  const SqlToken& first = tokens.front();
  if (!IsOneOf(first, {"UPDATE", "DELETE", "INSERT", "MERGE", "WITH"})) {
    return Refused("begins with ", Shown(first.text),
                   "; it must be one UPDATE, DELETE, INSERT, MERGE, or a WITH that ends in one of them");
  }
  if (!first.IsWord("WITH")) return absl::OkStatus();
  const std::string verb = MainVerb(tokens);
  if (verb == "UPDATE" || verb == "DELETE" || verb == "INSERT" || verb == "MERGE") return absl::OkStatus();
  return Refused("the WITH ends in ", verb.empty() ? "no statement" : verb,
                 "; it must end in an UPDATE, DELETE, INSERT or MERGE, whose rows are counted");
}

// `returning` after a dot is a column.
bool IsReturning(const std::vector<SqlToken>& tokens, std::size_t i) {
  return tokens[i].depth == 0 && tokens[i].IsWord("RETURNING") && (i == 0 || !tokens[i - 1].IsSymbol('.'));
}

absl::Status CheckLeavesNothing(const std::vector<SqlToken>& tokens) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (IsReturning(tokens, i)) return Refused("remove RETURNING: nobody reads the rows");
    if (tokens[i].IsWord("SKIP") && i + 1 < tokens.size() && tokens[i + 1].IsWord("LOCKED")) {
      return Refused("remove SKIP LOCKED: the rows that somebody holds would be left behind");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<SqlText> ReadSingle(std::string_view sql) {
  MD_ASSIGN_OR_RETURN(SqlText text, ReadText(sql));
  MD_RETURN_IF_ERROR(CheckSingle(text));
  return text;
}

absl::StatusOr<SqlText> ReadFragment(std::string_view sql) {
  MD_ASSIGN_OR_RETURN(SqlText text, ReadText(sql));
  for (const SqlToken& token : text.tokens) {
    if (token.IsSymbol(';')) return Refused("must not contain ';': it is one expression, not a statement");
  }
  if (text.tokens.front().IsWord("WHERE")) return Refused("begins with WHERE; leave that word out");
  return text;
}

}  // namespace

absl::StatusOr<std::string> CheckChangeStatement(std::string_view sql, const ParameterNames& declared,
                                                 ParameterNames& used) {
  MD_ASSIGN_OR_RETURN(SqlText text, ReadSingle(sql));
  MD_RETURN_IF_ERROR(CheckChangesRows(text.tokens));
  MD_RETURN_IF_ERROR(CheckLeavesNothing(text.tokens));
  MD_ASSIGN_OR_RETURN(const int batches, CheckPlaceholders(text, declared, used));
  if (batches == 0) {
    return Refused("lacks {{batch}}; write it as the condition where the rows are changed, like WHERE {{batch}}");
  }
  return text.trimmed;
}

absl::StatusOr<std::string> CheckCondition(std::string_view sql, const ParameterNames& declared, ParameterNames& used) {
  MD_ASSIGN_OR_RETURN(SqlText text, ReadFragment(sql));
  MD_ASSIGN_OR_RETURN(const int batches, CheckPlaceholders(text, declared, used));
  if (batches > 0)
    return Refused("must not contain {{batch}}: it is itself a part of {{batch}}; use that in `statement`");
  return text.trimmed;
}

absl::StatusOr<std::string> CheckExpression(std::string_view sql) {
  MD_ASSIGN_OR_RETURN(SqlText text, ReadFragment(sql));
  MD_RETURN_IF_ERROR(CheckNoPlaceholders(text));
  return text.trimmed;
}

absl::StatusOr<std::string> CheckQuery(std::string_view sql) {
  MD_ASSIGN_OR_RETURN(SqlText text, ReadSingle(sql));
  MD_RETURN_IF_ERROR(CheckNoPlaceholders(text));
  const SqlToken& first = text.tokens.front();
  if (!IsOneOf(first, {"SELECT", "VALUES", "TABLE", "WITH"}) && !first.IsSymbol('(')) {
    return Refused("begins with ", Shown(first.text),
                   "; it must be a query of one boolean, like SELECT count(*) = 0 FROM t");
  }
  return text.trimmed;
}

absl::StatusOr<std::string> CheckStepStatement(std::string_view sql) {
  MD_ASSIGN_OR_RETURN(SqlText text, ReadSingle(sql));
  MD_RETURN_IF_ERROR(CheckNoPlaceholders(text));
  const std::vector<SqlToken>& tokens = text.tokens;
  if (IsOneOf(tokens.front(),
              {"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "PREPARE"})) {
    return Refused("begins with ", Shown(tokens.front().text),
                   "; each statement runs in a transaction of migrationd's own, leave transactions to it");
  }
  if (IsOneOf(tokens.front(), {"COPY", "LISTEN", "UNLISTEN", "DECLARE", "DISCARD", "EXECUTE", "DEALLOCATE"}) ||
      (tokens.front().IsWord("SET") && !(tokens.size() > 1 && tokens[1].IsWord("LOCAL")))) {
    return Refused("begins with ", Shown(tokens.front().text),
                   "; it belongs to a session, and these statements share none; remove it (SET LOCAL is possible)");
  }
  const bool concurrently = std::any_of(tokens.begin(), tokens.end(), [](const SqlToken& token) {
    return token.depth == 0 && token.IsWord("CONCURRENTLY");
  });
  // REFRESH MATERIALIZED VIEW CONCURRENTLY is the one that may run in a transaction.
  if (tokens.front().IsWord("VACUUM") || (concurrently && !tokens.front().IsWord("REFRESH"))) {
    return Refused(tokens.front().IsWord("VACUUM") ? "VACUUM" : "CONCURRENTLY",
                   " cannot run in a transaction, but each of these statements does; run it by hand before or after");
  }
  return text.trimmed;
}

}  // namespace migrationd
