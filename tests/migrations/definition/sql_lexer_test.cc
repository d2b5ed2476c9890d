#include "migrations/definition/sql_lexer.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Kind letter and text of each token.
std::vector<std::string> Tokens(const std::string& sql) {
  const auto tokens = LexSql(sql);
  EXPECT_THAT(tokens, IsOk());
  std::vector<std::string> texts;
  if (!tokens.ok()) return texts;
  for (const SqlToken& token : *tokens) {
    texts.push_back(
        absl::StrCat(std::string(1, "WQSNPHLBY"[static_cast<int>(token.kind)]), ":", std::string(token.text)));
  }
  return texts;
}

TEST(SqlLexer, TellsQuotesFromWhatIsRun) {
  EXPECT_THAT(Tokens("a 'b;''c' \"d;\"\"e\" ;"), ElementsAre("W:a", "S:'b;''c'", "Q:\"d;\"\"e\"", "Y:;"));
  EXPECT_THAT(Tokens("x--;'\ny/*;/*'*/;*/z"), ElementsAre("W:x", "L:--;'", "W:y", "B:/*;/*'*/;*/", "W:z"));
  EXPECT_THAT(Tokens("$$;$$ $a$;$$;$a$ $1"), ElementsAre("S:$$;$$", "S:$a$;$$;$a$", "P:$1"));
}

TEST(SqlLexer, BackslashesEscapeOnlyInEscapeStrings) {
  EXPECT_THAT(Tokens(R"('a\' ;)"), ElementsAre(R"(S:'a\')", "Y:;"));
  EXPECT_THAT(Tokens(R"(E'a\' ;' e'\\')"), ElementsAre(R"(S:E'a\' ;')", R"(S:e'\\')"));
  // Not a prefix: the e belongs to a word.
  EXPECT_THAT(Tokens(R"(type'a\' ;)"), ElementsAre("W:type", R"(S:'a\')", "Y:;"));
}

TEST(SqlLexer, ADollarInsideAWordOpensNoQuote) {
  EXPECT_THAT(Tokens("a$$b ; c$$d"), ElementsAre("W:a$$b", "Y:;", "W:c$$d"));
  EXPECT_THAT(Tokens("1a$$;"), ElementsAre("N:1", "W:a$$", "Y:;"));
}

TEST(SqlLexer, PlaceholdersAndDepth) {
  EXPECT_THAT(Tokens("({{batch}})"), ElementsAre("Y:(", "H:{{batch}}", "Y:)"));
  MD_ASSERT_OK_AND_ASSIGN(const auto tokens, LexSql("a (b [c]) d"));
  std::vector<int> depths;
  for (const SqlToken& token : tokens) depths.push_back(token.depth);
  EXPECT_THAT(depths, ElementsAre(0, 0, 1, 1, 2, 1, 0, 0));
}

TEST(SqlLexer, WhatIsNotClosedIsRefused) {
  for (const char* sql : {"'a", "\"a", "/* /* */", "$$a", "$a$ $b$", "{{batch", "E'\\'", "(a", "[a"}) {
    EXPECT_THAT(LexSql(sql), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not closed"))) << sql;
  }
  for (const char* sql : {"a)", "a]", "(a]", ")("}) {
    EXPECT_THAT(LexSql(sql), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("closes nothing"))) << sql;
  }
}

TEST(SqlLexer, RenderingReplacesPlaceholdersAndDropsLineComments) {
  MD_ASSERT_OK_AND_ASSIGN(const std::string sql,
                          RenderSql("a = {{x}} -- {{x}}\n+ '{{x}}' {{y}} -- end", {{"x", "$1"}}));
  EXPECT_EQ(sql, "a = $1 \n+ '{{x}}' {{y}} ");
}

TEST(QualifiedName, IsSplitFoldedAndUnquoted) {
  MD_ASSERT_OK_AND_ASSIGN(auto parts, ParseQualifiedName("Public.\"Odd \"\"T\"", 2));
  EXPECT_THAT(parts, ElementsAre("public", "Odd \"T"));
  for (const char* text : {"", ".", "a.", ".a", "a.b.c", "a b", "a;b", "1a", "\"\"", "'a'", "a--", "(a)", "\"a"}) {
    EXPECT_THAT(ParseQualifiedName(text, 2), StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_)) << text;
  }
  EXPECT_THAT(ParseQualifiedName(std::string(64, 'a'), 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("63 bytes")));
}

}  // namespace
}  // namespace migrationd
