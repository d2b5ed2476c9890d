// Cuts PostgreSQL's SQL into tokens: just enough to tell quotes and comments from what is run, exactly as the server
// does (with standard_conforming_strings on, its default).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace migrationd {

enum class SqlTokenKind {
  kWord,              // keyword or identifier without quotes
  kQuotedIdentifier,  // "..."
  kString,            // '...', E'...', $tag$...$tag$ with their quotes
  kNumber,
  kParameter,    // $1
  kPlaceholder,  // {{...}}
  kLineComment,
  kBlockComment,
  kSymbol,  // one character of anything else
};

struct SqlToken {
  SqlTokenKind kind = SqlTokenKind::kSymbol;
  std::string_view text;  // into the lexed text
  int depth = 0;          // parentheses and brackets around it; those themselves have the depth outside them
  bool IsSymbol(char c) const { return kind == SqlTokenKind::kSymbol && text[0] == c; }
  bool IsComment() const { return kind == SqlTokenKind::kLineComment || kind == SqlTokenKind::kBlockComment; }
  // A word without quotes, in any case.
  bool IsWord(std::string_view upper) const;
};

// The tokens, without white space. INVALID_ARGUMENT: a quote, comment or placeholder that is not closed; parentheses
// that do not match. `sql` must outlive the tokens.
absl::StatusOr<std::vector<SqlToken>> LexSql(std::string_view sql);

// The word in upper case.
std::string UpperWord(const SqlToken& token);

// The identifier that a word or quoted identifier means: words are folded to lower case, quotes removed.
std::string IdentifierOf(const SqlToken& token);

// The placeholder's inside: `batch`, `param.tenant`.
std::string_view PlaceholderName(const SqlToken& token);

// `sql` with every {{NAME}} replaced by the value paired with NAME (others stay), and without line comments, so that
// anything may follow. INVALID_ARGUMENT as LexSql.
absl::StatusOr<std::string> RenderSql(std::string_view sql,
                                      const std::vector<std::pair<std::string, std::string>>& values);

// A name as written in SQL, such as `public."Odd Table"`, in its parts, folded and unquoted. INVALID_ARGUMENT: not one
// to `most_parts` identifiers of at most 63 bytes joined by dots.
absl::StatusOr<std::vector<std::string>> ParseQualifiedName(std::string_view text, std::size_t most_parts);

// The reverse for one part: as it is where SQL needs no quotes, else in double quotes.
std::string WrittenIdentifier(const std::string& name);

}  // namespace migrationd
