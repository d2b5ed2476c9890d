// A table whose key is changed in the middle: positions that were recorded are never taken for positions in another order.
#include "migrations/model/failure.h"
#include "tests/server/scheduler/scheduler_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

// What the key becomes. The rows are told by one whole number, whatever it is called.
void KeyOf(TableFacts& table, const std::vector<std::string>& columns) {
  ColumnFacts part;
  part.name = "part";
  part.type = "bigint";
  part.not_null = true;
  table.columns.push_back(part);
  table.primary_key = columns;
  table.unique_keys = {columns};
}

class KeyChanges : public ::testing::Test {
 protected:
  std::string HaltMessage() {
    const Migration migration = world_.Get("count");
    return migration.halt.has_value() ? migration.halt->message : "";
  }
  // HALTED in the middle, since the key has become `columns`.
  void HaltByKey(const std::vector<std::string>& columns) {
    world_.Add("count", EveryRowYaml());
    ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("RunSubBatch") > 2; }));
    world_.database->ChangeTable([columns](TableFacts& table) { KeyOf(table, columns); });
    HaltsAgain();
  }
  void HaltsAgain() {
    ASSERT_TRUE(world_.Reaches("count", State::kHalted));
    EXPECT_EQ(world_.HaltOf("count"), kHaltSchemaChanged);
    EXPECT_THAT(HaltMessage(), HasSubstr("retry --from start"));
    ASSERT_TRUE(world_.PumpUntil([&] { return world_.scheduler.run_count() == 0; }));
  }

  SchedulerWorld world_{1000};
};

TEST_F(KeyChanges, RetryDoesNotGoOnAtThePositionsOfAnotherKey) {
  for (const std::vector<std::string>& columns : {std::vector<std::string>{"part"}, {"part", "id"}, {"id", "part"}}) {
    SCOPED_TRACE(columns.size());
    if (columns.front() == "part" && columns.size() == 1) {
      HaltByKey(columns);
    } else {
      world_.database->ChangeTable([columns](TableFacts& table) { KeyOf(table, columns); });
    }
    const int done = world_.database->Calls("RunSubBatch");
    MD_ASSERT_OK(world_.controller.Retry("count", RestartFrom::kContinue, false, ByAlice()));
    HaltsAgain();
    EXPECT_EQ(world_.database->Calls("RunSubBatch"), done);
  }
}

TEST_F(KeyChanges, ChangedBackItGoesOnWhereItWas) {
  HaltByKey({"part"});
  world_.database->ChangeTable(nullptr);
  MD_ASSERT_OK(world_.controller.Retry("count", RestartFrom::kContinue, false, ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kCompleted));
  EXPECT_TRUE(world_.EachRow(1));
}

TEST_F(KeyChanges, FromStartItIsDoneByTheNewKey) {
  HaltByKey({"part"});
  MD_ASSERT_OK(world_.controller.Retry("count", RestartFrom::kStart, true, ByAlice()));
  ASSERT_TRUE(world_.Reaches("count", State::kCompleted));
  const std::vector<int> times = world_.database->Times();
  EXPECT_EQ(*std::min_element(times.begin(), times.end()), 1);
  EXPECT_EQ(*std::max_element(times.begin(), times.end()), 2) << "without `where`, as was acknowledged";
}

TEST_F(KeyChanges, AreNoticedWhileItRuns) {
  HaltByKey({"part"});
  EXPECT_LT(world_.database->Calls("RunSubBatch"), 100) << "not only at the end";
}

// Too late for the look of every second.
TEST_F(KeyChanges, UnderTheLastSubBatchesAreNoticedBeforeItIsCompleted) {
  std::atomic<bool> changed = false;
  world_.database->after = [&](const std::string& call, const std::stop_token&) {
    if (call == "RunSubBatch" && world_.database->Calls("RunSubBatch") == 100 && !changed.exchange(true)) {
      world_.database->ChangeTable([](TableFacts& table) { KeyOf(table, {"part"}); });
    }
    return absl::OkStatus();
  };
  world_.Add("count", EveryRowYaml());
  HaltsAgain();
  EXPECT_TRUE(changed);
  EXPECT_FALSE(world_.database->Completed("count"));
}

// The name of a column says nothing of the order of its values.
TEST_F(KeyChanges, OfCollationOnlyAreSuch) {
  const auto texts = [](const std::string& collation) {
    return [collation](TableFacts& table) {
      table.columns[0].type = "text";
      table.columns[0].collation = collation;
    };
  };
  world_.database->ChangeTable(texts("pg_catalog/default/en_US.utf8"));
  world_.Add("count", EveryRowYaml());
  ASSERT_TRUE(world_.PumpUntil([&] { return world_.database->Calls("RunSubBatch") > 2; }));
  world_.database->ChangeTable(texts("pg_catalog/C"));
  HaltsAgain();
  MD_ASSERT_OK(world_.controller.Retry("count", RestartFrom::kContinue, false, ByAlice()));
  HaltsAgain();
}

}  // namespace
}  // namespace migrationd
