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

}  // namespace
}  // namespace migrationd
