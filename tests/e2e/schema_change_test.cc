// A table that is changed while a migration runs on it.
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

class SchemaChange : public EndToEnd {
 protected:
  static constexpr int kRows = 20000;
  void SetUp() override {
    MakeCounter(kRows);
    StartServer();
    Define("count_rows", CounterYaml({.interval = "20ms"}));
    ASSERT_TRUE(PassesRows("count_rows", 50));
  }
};

TEST_F(SchemaChange, AnotherTableOfThatNameHaltsItAndIsNotTouched) {
  target().Run(
      "BEGIN; ALTER TABLE counter RENAME TO counter_before; CREATE TABLE counter (LIKE counter_before INCLUDING ALL);"
      "INSERT INTO counter (id) SELECT id FROM counter_before; COMMIT");
  ASSERT_TRUE(HaltsWith("count_rows", "SCHEMA_CHANGED"));
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter"), 0) << "rows of another table were changed";
  EXPECT_EQ(target().Number("SELECT max(n) FROM counter_before"), 1);
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter_before"), RowsDone("count_rows"));

  // Put back, it goes on where it was.
  target().Run("BEGIN; DROP TABLE counter; ALTER TABLE counter_before RENAME TO counter; COMMIT");
  ASSERT_THAT(Retry("count_rows"), IsOk());
  Hurry("count_rows");
  ASSERT_TRUE(WaitUntil([&] { return Get("count_rows").state() != v1::STATE_HALTED; }));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
}

TEST_F(SchemaChange, AColumnOfAnotherTypeHaltsIt) {
  target().Run("ALTER TABLE counter ALTER COLUMN n TYPE numeric");
  ASSERT_TRUE(HaltsWith("count_rows", "SCHEMA_CHANGED"));
  EXPECT_EQ(target().Number("SELECT sum(n) FROM counter"), RowsDone("count_rows"));
  EXPECT_TRUE(NothingCommits("count_rows", absl::Milliseconds(500)));
}

TEST_F(SchemaChange, ADroppedColumnHaltsIt) {
  target().Run("ALTER TABLE counter RENAME COLUMN n TO m");
  ASSERT_TRUE(HaltsWith("count_rows", "SCHEMA_CHANGED"));
  EXPECT_EQ(target().Number("SELECT sum(m) FROM counter"), RowsDone("count_rows"));
}

TEST_F(SchemaChange, AnUnrelatedNewColumnDoesNotDisturb) {
  target().Run("ALTER TABLE counter ADD COLUMN remark text DEFAULT 'none'");
  target().Run("CREATE INDEX ON counter (remark)");
  const std::int64_t rows = RowsDone("count_rows");
  ASSERT_TRUE(PassesRows("count_rows", rows + 100));
  Hurry("count_rows");
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  EXPECT_TRUE(EachOnce(kRows));
}

// 26 letters of both cases with 400 rows each, by (letter, part): "C" has all upper ones first, the other order each beside its own.
class KeyChange : public EndToEnd {
 protected:
  static constexpr int kRows = 52 * 400;
  void SetUp() override {
    target().Run("CREATE TABLE words (letter text COLLATE \"en-x-icu\" NOT NULL, part bigint NOT NULL, n int NOT NULL DEFAULT 0, PRIMARY KEY (letter, part))");
    target().Run("INSERT INTO words SELECT chr(l), p FROM generate_series(1, 400) p, generate_series(65, 122) l WHERE l NOT BETWEEN 91 AND 96");
    StartServer();
    Define("count_words", CounterYaml({.interval = "20ms"}, "words"));
    ASSERT_TRUE(PassesRows("count_words", 50));
  }
  // No row twice, none without being counted, and none at all while it is HALTED, however often it is retried.
  void StaysHalted() {
    ASSERT_TRUE(HaltsWith("count_words", "SCHEMA_CHANGED"));
    EXPECT_EQ(target().Number("SELECT sum(n) FROM words"), RowsDone("count_words"));
    EXPECT_EQ(target().Number("SELECT max(n) FROM words"), 1);
    ASSERT_THAT(Retry("count_words"), IsOk());
    ASSERT_TRUE(HaltsWith("count_words", "SCHEMA_CHANGED"));
    EXPECT_THAT(Get("count_words").halt().message(), ::testing::HasSubstr("retry --from start"));
    EXPECT_TRUE(NothingCommits("count_words", absl::Milliseconds(500), "words"));
  }
  void GoesOn() {
    ASSERT_THAT(Retry("count_words"), IsOk());
    Hurry("count_words");
    ASSERT_TRUE(WaitUntil([&] { return Get("count_words").state() != v1::STATE_HALTED; }));
    ASSERT_TRUE(Reaches("count_words", v1::STATE_COMPLETED));
    EXPECT_TRUE(EachOnce(kRows, "words"));
  }
};

TEST_F(KeyChange, ColumnsInAnotherOrderHaltItUntilTheyAreAsBefore) {
  target().Run("ALTER TABLE words DROP CONSTRAINT words_pkey, ADD PRIMARY KEY (part, letter)");
  StaysHalted();
  target().Run("ALTER TABLE words DROP CONSTRAINT words_pkey, ADD PRIMARY KEY (letter, part)");
  GoesOn();
}

TEST_F(KeyChange, AnotherCollationHaltsItUntilItIsAsBefore) {
  target().Run("ALTER TABLE words ALTER COLUMN letter TYPE text COLLATE \"C\"");
  StaysHalted();
  target().Run("ALTER TABLE words ALTER COLUMN letter TYPE text COLLATE \"en-x-icu\"");
  GoesOn();
}

// With fewer values than before: positions of two values must not come as far as the server.
TEST_F(KeyChange, FromStartItIsDoneByTheNewKey) {
  target().Run("ALTER TABLE words DROP CONSTRAINT words_pkey, ADD COLUMN id bigserial PRIMARY KEY");
  StaysHalted();
  ASSERT_THAT(Retry("count_words", v1::RETRY_FROM_START, /*acknowledge_repeat=*/true), IsOk());
  Hurry("count_words");
  ASSERT_TRUE(WaitUntil([&] { return Get("count_words").state() != v1::STATE_HALTED; }));
  ASSERT_TRUE(Reaches("count_words", v1::STATE_COMPLETED));
  EXPECT_EQ(target().Number("SELECT count(*) FROM words WHERE n = 0"), 0);
}

}  // namespace
}  // namespace migrationd
