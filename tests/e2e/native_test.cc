// Kind native in the program that is shipped: its own class, on a real table, through crashes.
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;
using Stub = v1::MigrationControl::Stub;

class NativeTest : public EndToEnd {
 protected:
  // articles(id, body, simhash) with ids from 1; `times` counts how often a row was written. Every tenth body is the one before it, and
  // every hundredth is missing.
  void MakeArticles(int rows) {
    target().Run(absl::StrCat(
        "CREATE TABLE articles (id bigint PRIMARY KEY, body text, simhash bigint, times int NOT NULL DEFAULT 0);"
        "INSERT INTO articles (id, body) SELECT i, CASE WHEN i % 100 = 0 THEN NULL ELSE (SELECT string_agg(md5((i - (i % 10 = 5)::int) || '/' || w), ' ') "
        "FROM generate_series(1, 20) AS w) END FROM generate_series(1, ", rows, ") AS i;"
        "CREATE FUNCTION count_times() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.times := OLD.times + 1; RETURN NEW; END $$;"
        "CREATE TRIGGER count_times BEFORE UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION count_times(); ANALYZE articles"));
  }
  std::string Yaml(const TestPace& pace) {
    return absl::StrCat("native:\n  class: simhash_text\n  parameters: {table: public.articles, from: body, to: simhash}\n", PaceYaml(pace));
  }
  void ExpectEachRowOnce(int rows) {
    EXPECT_EQ(target().Number("SELECT count(*) FROM articles WHERE times = 1 AND simhash IS NOT NULL AND body IS NOT NULL"), rows - rows / 100);
    EXPECT_EQ(target().Number("SELECT count(*) FROM articles WHERE times = 0 AND simhash IS NULL AND body IS NULL"), rows / 100);
  }
};

TEST_F(NativeTest, TheExampleOfTheCatalogueGivesEachArticleItsFingerprint) {
  constexpr int kRows = 5000;
  MakeArticles(kRows);
  StartServer();
  std::ostringstream example;
  example << std::ifstream(CatalogFolder() + "/examples/20261121100300_fingerprint_articles.yaml").rdbuf();
  Define("fingerprint_articles", example.str());
  ASSERT_TRUE(HeldBy("fingerprint_articles", v1::HOLD_KIND_NEEDS_START));
  const CommandResult started = Migrationctl({"start", "fingerprint_articles"});
  ASSERT_EQ(started.exit_status, 0) << started.err;
  ASSERT_TRUE(Reaches("fingerprint_articles", v1::STATE_COMPLETED));
  ExpectEachRowOnce(kRows);
  EXPECT_EQ(Get("fingerprint_articles").progress().rows_done(), kRows - kRows / 100);
  EXPECT_EQ(target().Number("SELECT count(*) FROM articles AS a JOIN articles AS b ON b.id = a.id - 1 WHERE a.id % 10 = 5 AND a.simhash <> b.simhash"), 0);
  EXPECT_EQ(target().Number("SELECT count(DISTINCT simhash) FROM articles"), target().Number("SELECT count(DISTINCT body) FROM articles"));
}

TEST_F(NativeTest, WhatRegressedIsFoundByVerify) {
  constexpr int kRows = 500;
  MakeArticles(kRows);
  StartServer();
  Define("fingerprint", Yaml({.batch_size = 100, .sub_batch_size = 10}));
  ASSERT_TRUE(Reaches("fingerprint", v1::STATE_COMPLETED));
  target().Run("UPDATE articles SET simhash = NULL WHERE id IN (3, 450)");
  const CommandResult verified = Migrationctl({"verify", "fingerprint", "--wait"});
  EXPECT_EQ(verified.exit_status, 1) << verified.out << verified.err;
  EXPECT_THAT(verified.err, HasSubstr("2 rows match `where` again"));
  EXPECT_EQ(Get("fingerprint").regressed_rows(), 2);
}

TEST_F(NativeTest, KilledInTheMiddleItGoesOnAndEachRowIsWrittenOnce) {
  constexpr int kRows = 6000;
  MakeArticles(kRows);
  ServerFixtureOptions options = Options();
  options.lease_ttl = absl::Seconds(1);
  StartServer(options);
  Define("fingerprint", Yaml({.batch_size = 100, .sub_batch_size = 10, .interval = "30ms", .lanes = 2}));
  for (const int rows : {300, 900, 1500}) {
    ASSERT_TRUE(PassesRows("fingerprint", rows));
    server().Kill();
    ASSERT_THAT(server().Start(), IsOk());
  }
  // Behind the cursor, for VERIFY.
  target().Run("INSERT INTO articles (id, body) VALUES (-5, 'late news')");
  Hurry("fingerprint");
  ASSERT_TRUE(Reaches("fingerprint", v1::STATE_COMPLETED));
  EXPECT_EQ(target().Number("SELECT times FROM articles WHERE id = -5 AND simhash IS NOT NULL"), 1);
  target().Run("DELETE FROM articles WHERE id = -5");
  ExpectEachRowOnce(kRows);
}

TEST_F(NativeTest, AClassThatIsNotThereIsRefusedByCatalogueValidateAndEnqueue) {
  MakeArticles(10);
  StartServer();
  const std::string unknown = "native: {class: simhash, parameters: {table: articles}}\n";
  Define("fingerprint", unknown);
  const auto problem = [&] {
    const auto listed = Call(server(), &Stub::List, v1::ListRequest());
    return listed.ok() && listed->catalog_problems_size() == 1 ? listed->catalog_problems(0).message() : "";
  };
  ASSERT_TRUE(WaitUntil([&] { return !problem().empty(); }));
  EXPECT_THAT(problem(), HasSubstr("native.class: 'simhash' is not registered in this migrationd; registered: simhash_text"));

  v1::ValidateRequest validate;
  validate.mutable_file()->set_file_name("20260101000000_other.yaml");
  validate.mutable_file()->set_content(unknown);
  auto validated = Call(server(), &Stub::Validate, validate);
  ASSERT_THAT(validated, IsOk());
  EXPECT_FALSE(validated->valid());
  ASSERT_EQ(validated->problems_size(), 1);
  EXPECT_THAT(validated->problems(0).message(), HasSubstr("registered: simhash_text"));

  // A parameter that the class does not take, and a column that the table has not.
  validate.mutable_file()->set_content("native: {class: simhash_text, parameters: {table: articles, from: body, to: simhash, word: 3}}\n");
  validated = Call(server(), &Stub::Validate, validate);
  ASSERT_THAT(validated, IsOk());
  ASSERT_EQ(validated->problems_size(), 1);
  EXPECT_THAT(validated->problems(0).message(), HasSubstr("native.parameters.word: is not known; did you mean words?"));
  validate.mutable_file()->set_content("native: {class: simhash_text, parameters: {table: articles, from: bodi, to: id}}\n");
  validate.set_against_target(true);
  validated = Call(server(), &Stub::Validate, validate);
  ASSERT_THAT(validated, IsOk());
  ASSERT_EQ(validated->problems_size(), 1);
  EXPECT_THAT(validated->problems(0).message(), HasSubstr("did you mean body?"));
}

}  // namespace
}  // namespace migrationd
