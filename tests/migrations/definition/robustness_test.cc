// No input, however broken, may crash, hang or throw: a catalogue file may be half-written, a message may come from
// anybody.
#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "migrations/definition/definition.h"
#include "migrations/definition/sql_lexer.h"

namespace migrationd {
namespace {

constexpr char kSeed[] = R"(# comment
description: "Point each\tbuild"
sql_batch:
  table: public.ci_builds
  key: [id, 'b']
  where: b.stage_id IS NULL
  statement: |
    UPDATE ci_builds AS b SET stage_id = '{{x', t = $a$ ; $a$ -- c
    WHERE {{batch}} AND a = {{param.tenant}} /* c */
parameters: [{name: tenant, type: bigint, default: 1}]
pace: {batch_size: 2000, interval: 250ms, adaptive: {enabled: true}, windows: ["Mon-Fri 22:00-06:00"]}
retry: {max_failed_ratio: 0.1}
labels: {team: ci}
)";

// Whatever is accepted must also be written and read back.
void Try(const std::string& yaml) {
  const DefinitionResult result = ParseDefinition(yaml);
  for (const DefinitionProblem& problem : result.problems) {
    EXPECT_GE(problem.line, 0);
    EXPECT_FALSE(problem.message.empty());
    EXPECT_LT(problem.message.size(), 1000u);
  }
  if (!result.ok()) return;
  const DefinitionResult again = ParseDefinition(ToYaml(result.definition));
  ASSERT_TRUE(again.ok()) << yaml << "\n--\n" << ToYaml(result.definition) << again.problems[0].message;
  EXPECT_EQ(DefinitionDigest(result.definition), DefinitionDigest(again.definition));
}

// Seeded: the same inputs in every run.
class Mutator {
 public:
  std::string Mutate(std::string text) {
    for (int i = Below(6); i >= 0; --i) MutateOnce(text);
    return text;
  }
  std::string Bytes(std::size_t size) {
    std::string bytes(size, ' ');
    for (char& byte : bytes) byte = static_cast<char>(Below(256));
    return bytes;
  }
  std::string Words(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += kWords[Below(std::size(kWords))];
    return text;
  }

 private:
  static constexpr const char* kWords[] = {
      "[",      "]",          "{",     "}",         ": ", "\n", "- ", "? ",      "&a ",
      "*a",     "!!",         "!t ",   "|",         ">",  "%",  "#",  "\"",      "'",
      ",",      "---\n",      "...\n", "<<: ",      "  ", "\t", "\\", "~",       "null",
      "a",      "sql_batch:", "pace:", "{{batch}}", "$$", "/*", "--", ";",       "\xef\xbb\xbf",
      "\r\n",   "0s",         "-1",    "table: t",  "@",  "`",  "!<", "\\u0000", "\\xff",
      "\\ud800"};

  int Below(std::size_t limit) { return static_cast<int>(random_() % limit); }

  void MutateOnce(std::string& text) {
    const std::size_t at = text.empty() ? 0 : Below(text.size());
    switch (Below(5)) {
      case 0:
        text.insert(at, kWords[Below(std::size(kWords))]);
        break;
      case 1:
        text.erase(at, 1 + Below(20));
        break;
      case 2:
        if (!text.empty()) text[at] = static_cast<char>(Below(256));
        break;
      case 3:
        text.insert(at, text.substr(Below(text.size() + 1), Below(60)));
        break;
      default:
        text.resize(at);
    }
  }

  std::mt19937 random_{20261120};
};

TEST(Robustness, MutatedDefinitionsNeverCrash) {
  Mutator mutator;
  for (int i = 0; i < 4000; ++i) Try(mutator.Mutate(kSeed));
}

TEST(Robustness, RandomWordsAndBytesNeverCrash) {
  Mutator mutator;
  for (int i = 0; i < 3000; ++i) Try(mutator.Words(1 + i % 60));
  for (int i = 0; i < 1000; ++i) Try(mutator.Bytes(1 + i % 200));
}

TEST(Robustness, RandomSqlNeverCrashesTheLexer) {
  Mutator mutator;
  for (int i = 0; i < 3000; ++i) {
    const std::string sql = mutator.Words(1 + i % 40);
    const auto tokens = LexSql(sql);
    if (!tokens.ok()) continue;
    for (const SqlToken& token : *tokens) {
      EXPECT_GE(token.text.data(), sql.data());
      EXPECT_FALSE(token.text.empty());
    }
  }
}

TEST(Robustness, InputsKnownToHurtYamlParsersAreRefused) {
  for (const char* yaml : {"!2",
                           "!",
                           "!<",
                           "&",
                           "*",
                           "%",
                           "%YAML",
                           "%YAML 9.9\n---\n",
                           "? ",
                           "- - - -",
                           "\"\\",
                           "|-2",
                           ">9\n x",
                           "{? : }",
                           "[,]",
                           "{,}",
                           "a: b: c",
                           "\xff\xfe"
                           "a",
                           "--- |",
                           "...",
                           "%TAG ! x\n---\n!a b"}) {
    EXPECT_FALSE(ParseDefinition(yaml).ok()) << yaml;
  }
}

TEST(Robustness, LargeInputsEndSoonAndInAnAnswer) {
  // A quarter of a megabyte of what makes a parser recurse, look ahead or compare.
  for (const char* piece :
       {"[", "{", "- ", "? ", "{a: ", "[a, ", "\"", "a: b\n", "!", "&a ", "- a\n", "{{", "((", "a\n", "  a: "}) {
    std::string yaml;
    while (yaml.size() + 16 < 256 * 1024) yaml += piece;
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_FALSE(ParseDefinition(yaml).ok()) << piece;
    const auto spent = std::chrono::steady_clock::now() - begin;
    // Generous: sanitizers and busy machines. What is quadratic takes minutes.
    EXPECT_LT(std::chrono::duration_cast<std::chrono::seconds>(spent).count(), 30) << piece;
  }
}

}  // namespace
}  // namespace migrationd
