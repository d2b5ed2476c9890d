#include "server/scheduler/board.h"

#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

StoredMigration Make(std::int64_t id, const std::string& target, const std::string& name, const std::string& version) {
  StoredMigration stored;
  stored.migration.id = {id};
  stored.migration.target = target;
  stored.migration.name = name;
  stored.migration.version = version;
  stored.definition = std::make_shared<const migrationcontrol::v1::MigrationDefinition>();
  return stored;
}

class BoardTest : public ::testing::Test {
 protected:
  BoardTest() {
    board_.Edit([](BoardSnapshot& snapshot) { snapshot.loaded = true; });
  }
  std::uint64_t Changed(std::int64_t id) { return board_.Get()->migrations.at(id).changed; }

  Board board_;
};

TEST_F(BoardTest, ResolvesByNameFullNameVersionAndFileName) {
  board_.Upsert(Make(1, "main", "one", "20260101000000"));
  board_.Upsert(Make(2, "main", "two", "20260101000001"));
  for (const char* reference :
       {"one", "main/one", "20260101000000", "20260101000000_one", "20260101000000_one.yaml", "one.yaml"}) {
    MD_ASSERT_OK_AND_ASSIGN(const BoardEntry entry, Resolve(*board_.Get(), reference));
    EXPECT_EQ(entry.stored.migration.id.value, 1) << reference;
  }
}

TEST_F(BoardTest, AnAmbiguousNameIsRefusedWithTheCandidates) {
  board_.Upsert(Make(1, "main", "one", "20260101000000"));
  board_.Upsert(Make(2, "other", "one", "20260101000001"));
  EXPECT_THAT(Resolve(*board_.Get(), "one").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("main/one"), HasSubstr("other/one"))));
  MD_EXPECT_OK(Resolve(*board_.Get(), "other/one"));
}

TEST_F(BoardTest, AnUnknownNameGetsAtMostFiveCandidates) {
  for (int i = 0; i < 9; ++i)
    board_.Upsert(Make(i + 1, "main", absl::StrCat("backfill_", i), absl::StrCat("2026010100000", i)));
  EXPECT_THAT(Resolve(*board_.Get(), "backfill_x").status(),
              StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr("backfill_4"), Not(HasSubstr("backfill_5")))));
}

TEST_F(BoardTest, NoNameAtAllIsInvalid) {
  EXPECT_THAT(Resolve(*board_.Get(), "").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no migration is named")));
}

TEST(BoardLoadTest, BeforeTheStoreWasReadAnUnknownNameIsNotToldToBeMissing) {
  Board board;
  EXPECT_THAT(Resolve(*board.Get(), "one").status(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("try again")));
}

TEST_F(BoardTest, ASnapshotInHandStaysAsItWas) {
  board_.Upsert(Make(1, "main", "one", "20260101000000"));
  const auto before = board_.Get();
  board_.Remove({1});
  EXPECT_EQ(before->migrations.size(), 1U);
  EXPECT_TRUE(board_.Get()->migrations.empty());
}

TEST_F(BoardTest, MarksExactlyTheEntriesThatDiffer) {
  board_.Upsert(Make(1, "main", "one", "20260101000000"));
  board_.Upsert(Make(2, "main", "two", "20260101000001"));
  const std::uint64_t one = Changed(1);
  const std::uint64_t two = Changed(2);
  board_.Edit([](BoardSnapshot& snapshot) { snapshot.migrations.at(2).stored.migration.progress.rows_done = 10; });
  EXPECT_EQ(Changed(1), one);
  EXPECT_GT(Changed(2), two);
  EXPECT_EQ(Changed(2), board_.Get()->version);
}

TEST_F(BoardTest, AnOlderRevisionDoesNotComeBack) {
  StoredMigration newer = Make(1, "main", "one", "20260101000000");
  newer.migration.revision = 5;
  newer.migration.state = State::kPausing;
  board_.Upsert(newer);
  StoredMigration older = newer;
  older.migration.revision = 4;
  older.migration.state = State::kRunning;
  board_.Upsert(older);
  EXPECT_EQ(board_.Get()->migrations.at(1).stored.migration.state, State::kPausing);
}

TEST_F(BoardTest, AMutationDoesNotTakeLiveCountersBack) {
  StoredMigration stored = Make(1, "main", "one", "20260101000000");
  stored.migration.fence = FenceState::kCreated;
  board_.Upsert(stored);
  board_.Edit([](BoardSnapshot& snapshot) {
    BoardEntry& entry = snapshot.migrations.at(1);
    entry.live.backends.push_back({100, 0});
    entry.stored.migration.progress.rows_done = 500;
    entry.stored.migration.progress.sub_batches_done = 5;
  });
  stored.migration.revision = 2;
  stored.migration.state = State::kPausing;
  stored.migration.progress.rows_done = 400;
  stored.migration.progress.sub_batches_done = 4;
  EXPECT_EQ(board_.Upsert(stored).migration.progress.rows_done, 500) << "and the answer says the same";
  const Migration shown = board_.Get()->migrations.at(1).stored.migration;
  EXPECT_EQ(shown.state, State::kPausing);
  EXPECT_EQ(shown.progress.rows_done, 500);
}

TEST_F(BoardTest, RemembersAllThatWereDeletedInOneEdit) {
  board_.Upsert(Make(1, "main", "one", "20260101000000"));
  board_.Upsert(Make(2, "main", "two", "20260101000001"));
  board_.Edit([](BoardSnapshot& snapshot) { snapshot.migrations.clear(); });
  EXPECT_EQ(board_.Get()->deleted.size(), 2U);
  EXPECT_EQ(board_.Get()->deleted.begin()->first, board_.Get()->version);
}

TEST_F(BoardTest, RemembersABoundedNumberOfDeletions) {
  for (int i = 0; i < 1010; ++i) {
    board_.Upsert(Make(i + 1, "main", absl::StrCat("m", i), "20260101000000"));
    board_.Remove({i + 1});
  }
  EXPECT_EQ(board_.Get()->deleted.size(), kDeletedKept);
}

TEST_F(BoardTest, ListenersSeeEachChangeUntilTheyAreRemoved) {
  int calls = 0;
  std::uint64_t seen = 0;
  const std::int64_t handle = board_.AddListener([&] {
    ++calls;
    seen = board_.Get()->version;
  });
  board_.Upsert(Make(1, "main", "one", "20260101000000"));
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(seen, board_.Get()->version) << "what a listener is told of is there already";
  board_.RemoveListener(handle);
  board_.Remove({1});
  EXPECT_EQ(calls, 1);
  board_.RemoveListener(handle);
}

TEST_F(BoardTest, RemovingAListenerWaitsForItsCallUnderWay) {
  absl::Notification entered;
  absl::Notification leave;
  std::atomic<bool> inside{false};
  const std::int64_t handle = board_.AddListener([&] {
    inside = true;
    entered.Notify();
    leave.WaitForNotification();
    inside = false;
  });
  std::thread editor([&] { board_.Upsert(Make(1, "main", "one", "20260101000000")); });
  entered.WaitForNotification();
  std::thread releaser([&] { leave.Notify(); });
  board_.RemoveListener(handle);
  EXPECT_FALSE(inside);
  editor.join();
  releaser.join();
}

TEST_F(BoardTest, ConcurrentEditorsAndReadersSeeGrowingVersionsAndLoseNothing) {
  constexpr int kEditors = 4;
  constexpr int kEdits = 200;
  std::atomic<bool> over{false};
  std::thread reader([&] {
    std::uint64_t last = 0;
    while (!over) {
      const auto snapshot = board_.Get();
      EXPECT_GE(snapshot->version, last);
      last = snapshot->version;
      for (const auto& [id, entry] : snapshot->migrations) EXPECT_LE(entry.changed, snapshot->version);
    }
  });
  std::atomic<int> notified{0};
  const std::int64_t handle = board_.AddListener([&] { ++notified; });
  std::vector<std::thread> editors;
  for (int editor = 0; editor < kEditors; ++editor) {
    editors.emplace_back([&, editor] {
      for (int i = 0; i < kEdits; ++i) {
        const int id = editor * kEdits + i + 1;
        board_.Upsert(Make(id, "main", absl::StrCat("m", id), "20260101000000"));
      }
    });
  }
  for (std::thread& editor : editors) editor.join();
  over = true;
  reader.join();
  board_.RemoveListener(handle);
  EXPECT_EQ(board_.Get()->migrations.size(), static_cast<std::size_t>(kEditors * kEdits));
  EXPECT_EQ(notified, kEditors * kEdits);
}

}  // namespace
}  // namespace migrationd
