#include "migrations/definition/sql_lexer.h"

#include <algorithm>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "migrations/definition/text_rules.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

constexpr std::size_t kLongestIdentifier = 63;  // NAMEDATALEN - 1: PostgreSQL cuts what is longer

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'; }
bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool StartsWord(char c) {
  return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool ContinuesTag(char c) { return StartsWord(c) || IsDigit(c); }
bool ContinuesWord(char c) { return ContinuesTag(c) || c == '$'; }

class Lexer {
 public:
  explicit Lexer(std::string_view sql) : sql_(sql) {}

  absl::StatusOr<std::vector<SqlToken>> Run() {
    while (true) {
      while (at_ < sql_.size() && IsSpace(sql_[at_])) ++at_;
      if (at_ == sql_.size()) break;
      MD_RETURN_IF_ERROR(Next());
    }
    if (!open_.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("'", std::string(1, open_.back()), "' is not closed"));
    }
    return std::move(tokens_);
  }

 private:
  char Peek(std::size_t ahead) const { return at_ + ahead < sql_.size() ? sql_[at_ + ahead] : '\0'; }

  void Emit(SqlTokenKind kind, std::size_t end) {
    tokens_.push_back({kind, sql_.substr(at_, end - at_), static_cast<int>(open_.size())});
    at_ = end;
  }

  absl::Status NotClosed(std::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(std::string(what), " is not closed: ", Shown(sql_.substr(at_, 40))));
  }

  absl::Status Next() {
    const char c = sql_[at_];
    if (c == '-' && Peek(1) == '-') return LineComment();
    if (c == '/' && Peek(1) == '*') return BlockComment();
    if (c == '\'') return Quoted(SqlTokenKind::kString, at_, '\'', false, "the string");
    if (c == '"') return Quoted(SqlTokenKind::kQuotedIdentifier, at_, '"', false, "the quoted identifier");
    if ((c == 'e' || c == 'E') && Peek(1) == '\'')
      return Quoted(SqlTokenKind::kString, at_ + 1, '\'', true, "the string");
    if (c == '{' && Peek(1) == '{') return Placeholder();
    if (c == '$') return Dollar();
    if (StartsWord(c)) return Run(SqlTokenKind::kWord, ContinuesWord);
    if (IsDigit(c) || (c == '.' && IsDigit(Peek(1)))) {
      return Run(SqlTokenKind::kNumber, [](char d) { return IsDigit(d) || d == '.'; });
    }
    return Symbol(c);
  }

  template <typename Predicate>
  absl::Status Run(SqlTokenKind kind, Predicate continues) {
    std::size_t end = at_ + 1;
    while (end < sql_.size() && continues(sql_[end])) ++end;
    Emit(kind, end);
    return absl::OkStatus();
  }

  absl::Status LineComment() {
    // Like the server, a carriage return ends it too.
    const std::size_t end = sql_.find_first_of("\n\r", at_);
    Emit(SqlTokenKind::kLineComment, std::min(end, sql_.size()));
    return absl::OkStatus();
  }

  absl::Status BlockComment() {
    int nesting = 0;
    for (std::size_t i = at_; i + 1 < sql_.size();) {
      if (sql_[i] == '/' && sql_[i + 1] == '*') {
        ++nesting;
        i += 2;
      } else if (sql_[i] == '*' && sql_[i + 1] == '/') {
        --nesting;
        i += 2;
        if (nesting == 0) {
          Emit(SqlTokenKind::kBlockComment, i);
          return absl::OkStatus();
        }
      } else {
        ++i;
      }
    }
    return NotClosed("the comment");
  }

  // `open` is the position of the opening quote. A doubled quote stands for itself, and so does one after a backslash
  // in E'...'.
  absl::Status Quoted(SqlTokenKind kind, std::size_t open, char quote, bool backslashes, std::string_view what) {
    for (std::size_t i = open + 1; i < sql_.size(); ++i) {
      if (backslashes && sql_[i] == '\\') {
        ++i;
      } else if (sql_[i] == quote) {
        if (i + 1 < sql_.size() && sql_[i + 1] == quote) {
          ++i;
        } else {
          Emit(kind, i + 1);
          return absl::OkStatus();
        }
      }
    }
    return NotClosed(what);
  }

  absl::Status Dollar() {
    if (IsDigit(Peek(1))) return Run(SqlTokenKind::kParameter, IsDigit);
    std::size_t tag_end = at_ + 1;
    if (tag_end < sql_.size() && StartsWord(sql_[tag_end])) {
      while (tag_end < sql_.size() && ContinuesTag(sql_[tag_end])) ++tag_end;
    }
    if (tag_end >= sql_.size() || sql_[tag_end] != '$') return Symbol('$');
    const std::string_view tag = sql_.substr(at_, tag_end + 1 - at_);
    const std::size_t close = sql_.find(tag, tag_end + 1);
    if (close == std::string_view::npos) return NotClosed("the dollar-quoted string");
    Emit(SqlTokenKind::kString, close + tag.size());
    return absl::OkStatus();
  }

  absl::Status Placeholder() {
    const std::size_t close = sql_.find("}}", at_ + 2);
    if (close == std::string_view::npos) return NotClosed("the placeholder");
    Emit(SqlTokenKind::kPlaceholder, close + 2);
    return absl::OkStatus();
  }

  absl::Status Symbol(char c) {
    if (c == ')' || c == ']') {
      const char opening = c == ')' ? '(' : '[';
      if (open_.empty() || open_.back() != opening) {
        return absl::InvalidArgumentError(
            absl::StrCat("'", std::string(1, c), "' closes nothing, before: ", Shown(sql_.substr(at_ + 1, 40))));
      }
      open_.pop_back();
    }
    Emit(SqlTokenKind::kSymbol, at_ + 1);
    if (c == '(' || c == '[') open_.push_back(c);
    return absl::OkStatus();
  }

  const std::string_view sql_;
  std::size_t at_ = 0;
  std::string open_;  // parentheses and brackets not closed yet
  std::vector<SqlToken> tokens_;
};

}  // namespace

bool SqlToken::IsWord(std::string_view upper) const {
  return kind == SqlTokenKind::kWord && text.size() == upper.size() &&
         std::equal(text.begin(), text.end(), upper.begin(),
                    [](char a, char b) { return absl::ascii_toupper(static_cast<unsigned char>(a)) == b; });
}

absl::StatusOr<std::vector<SqlToken>> LexSql(std::string_view sql) { return Lexer(sql).Run(); }

std::string UpperWord(const SqlToken& token) { return absl::AsciiStrToUpper(std::string(token.text)); }

std::string IdentifierOf(const SqlToken& token) {
  if (token.kind != SqlTokenKind::kQuotedIdentifier) return absl::AsciiStrToLower(std::string(token.text));
  return absl::StrReplaceAll(std::string(token.text.substr(1, token.text.size() - 2)), {{"\"\"", "\""}});
}

std::string_view PlaceholderName(const SqlToken& token) { return token.text.substr(2, token.text.size() - 4); }

absl::StatusOr<std::string> RenderSql(std::string_view sql,
                                      const std::vector<std::pair<std::string, std::string>>& values) {
  MD_ASSIGN_OR_RETURN(const std::vector<SqlToken> tokens, LexSql(sql));
  std::string rendered;
  std::size_t copied = 0;
  for (const SqlToken& token : tokens) {
    std::optional<std::string> replacement;
    if (token.kind == SqlTokenKind::kLineComment) replacement = "";
    if (token.kind == SqlTokenKind::kPlaceholder) {
      const auto value = std::find_if(values.begin(), values.end(),
                                      [&](const auto& pair) { return pair.first == PlaceholderName(token); });
      if (value != values.end()) replacement = value->second;
    }
    if (!replacement.has_value()) continue;
    const std::size_t begin = token.text.data() - sql.data();
    rendered += sql.substr(copied, begin - copied);
    rendered += *replacement;
    copied = begin + token.text.size();
  }
  rendered += sql.substr(copied);
  return rendered;
}

absl::StatusOr<std::vector<std::string>> ParseQualifiedName(std::string_view text, std::size_t most_parts) {
  const absl::Status refused = absl::InvalidArgumentError(absl::StrCat(
      "'", Shown(text),
      "' is not a name as SQL writes it: ", most_parts == 1 ? "one identifier" : "`table` or `schema.table`",
      ", in double quotes where it holds capitals or spaces"));
  const absl::StatusOr<std::vector<SqlToken>> tokens = LexSql(text);
  if (!tokens.ok()) return refused;
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < tokens->size(); ++i) {
    const SqlToken& token = (*tokens)[i];
    if (i % 2 == 1) {
      if (!token.IsSymbol('.')) return refused;
      continue;
    }
    if (token.kind != SqlTokenKind::kWord && token.kind != SqlTokenKind::kQuotedIdentifier) return refused;
    parts.push_back(IdentifierOf(token));
    if (parts.back().empty()) return refused;
    if (parts.back().size() > kLongestIdentifier) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", Shown(parts.back()), "' is longer than the 63 bytes that PostgreSQL keeps of a name"));
    }
  }
  if (tokens->size() % 2 == 0 || parts.size() > most_parts) return refused;
  return parts;
}

std::string WrittenIdentifier(const std::string& name) {
  const bool plain = !name.empty() && (absl::ascii_islower(static_cast<unsigned char>(name[0])) || name[0] == '_') &&
                     std::all_of(name.begin(), name.end(), [](unsigned char c) {
                       return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '_';
                     });
  if (plain) return name;
  return absl::StrCat("\"", absl::StrReplaceAll(name, {{"\"", "\"\""}}), "\"");
}

}  // namespace migrationd
