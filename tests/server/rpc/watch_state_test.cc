// What a Watch sends, without a network.
#include "absl/strings/str_cat.h"
#include "server/rpc/watch_stream.h"
#include "tests/server/rpc/rpc_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class WatchStateTest : public ::testing::Test {
 protected:
  WatchStateTest() {
    board_.Edit([](BoardSnapshot& snapshot) { snapshot.loaded = true; });
  }

  void Put(std::int64_t id, std::int64_t rows, const std::string& target = "main") {
    board_.Edit([&](BoardSnapshot& snapshot) {
      StoredMigration& stored = snapshot.migrations[id].stored;
      stored.definition = definition_;
      stored.migration.id = {id};
      stored.migration.target = target;
      stored.migration.name = absl::StrCat("m", id);
      stored.migration.progress.rows_done = rows;
    });
  }

  WatchState State(std::optional<std::uint64_t> seen = std::nullopt, int per_message = 100, WatchFilter filter = {}) {
    return WatchState(std::move(filter), seen, "boot", per_message);
  }
  std::optional<v1::WatchResponse> Next(WatchState& state) {
    const auto snapshot = board_.Get();
    state.Observe(*snapshot);
    return state.Next(*snapshot, Clock::Real().Now());
  }
  static std::vector<std::string> Names(const v1::WatchResponse& response) {
    std::vector<std::string> names;
    for (const v1::Migration& m : response.migrations()) names.push_back(m.name());
    return names;
  }

  Board board_;
  std::shared_ptr<const v1::MigrationDefinition> definition_ =
      std::make_shared<const v1::MigrationDefinition>(DefinitionOf(DefinitionYaml()));
};

TEST_F(WatchStateTest, BeginsWithASnapshotThenSendsOnlyWhatChanged) {
  Put(1, 0);
  Put(2, 0);
  WatchState state = State();
  const auto first = Next(state);
  EXPECT_THAT(Names(*first), ElementsAre("m1", "m2"));
  EXPECT_TRUE(first->snapshot());
  EXPECT_FALSE(Next(state).has_value());
  Put(2, 10);
  const auto second = Next(state);
  EXPECT_THAT(Names(*second), ElementsAre("m2"));
  EXPECT_FALSE(second->snapshot());
}

TEST_F(WatchStateTest, AnEmptySnapshotIsSaidToo) {
  WatchState state = State();
  const auto first = Next(state);
  ASSERT_TRUE(first.has_value());
  EXPECT_TRUE(first->snapshot());
  EXPECT_THAT(first->migrations(), IsEmpty());
}

TEST_F(WatchStateTest, WaitsForTheStoreToBeRead) {
  board_.Edit([](BoardSnapshot& snapshot) { snapshot.loaded = false; });
  WatchState state = State();
  EXPECT_FALSE(Next(state).has_value());
  board_.Edit([](BoardSnapshot& snapshot) { snapshot.loaded = true; });
  EXPECT_TRUE(Next(state)->snapshot());
}

TEST_F(WatchStateTest, ManyChangesBetweenTwoMessagesAreOneWithTheLatestState) {
  Put(1, 0);
  WatchState state = State();
  Next(state);
  for (int rows = 1; rows <= 50; ++rows) {
    Put(1, rows);
    state.Observe(*board_.Get());
  }
  const auto next = Next(state);
  ASSERT_EQ(next->migrations_size(), 1);
  EXPECT_EQ(next->migrations(0).progress().rows_done(), 50);
  EXPECT_FALSE(Next(state).has_value());
}

TEST_F(WatchStateTest, ALongSnapshotComesInParts) {
  for (int id = 1; id <= 5; ++id) Put(id, 0);
  WatchState state = State(std::nullopt, 2);
  const auto first = Next(state);
  EXPECT_THAT(Names(*first), ElementsAre("m1", "m2"));
  EXPECT_EQ(first->resume_token(), "boot:0") << "who stops here has not seen all";
  Put(2, 7);
  EXPECT_THAT(Names(*Next(state)), ElementsAre("m2", "m3")) << "what changed meanwhile is sent again";
  const auto last = Next(state);
  EXPECT_THAT(Names(*last), ElementsAre("m4", "m5"));
  EXPECT_TRUE(last->snapshot());
  EXPECT_EQ(last->resume_token(), absl::StrCat("boot:", board_.Get()->version));
  EXPECT_FALSE(Next(state).has_value());
}

TEST_F(WatchStateTest, ResumesWithWhatChangedSince) {
  Put(1, 0);
  Put(2, 0);
  WatchState before = State();
  const std::string token = Next(before)->resume_token();
  Put(1, 5);
  MD_ASSERT_OK_AND_ASSIGN(const auto seen, ParseResumeToken(token, "boot"));
  WatchState after = State(seen);
  const auto first = Next(after);
  EXPECT_THAT(Names(*first), ElementsAre("m1"));
  EXPECT_FALSE(first->snapshot());
}

TEST_F(WatchStateTest, TheTokenGoesOnWhileOnlyOthersChange) {
  Put(1, 0, "main");
  WatchFilter filter;
  filter.target = "main";
  WatchState state = State(std::nullopt, 100, filter);
  Next(state);
  Put(2, 0, "other");
  EXPECT_FALSE(Next(state).has_value());
  EXPECT_EQ(state.Heartbeat(*board_.Get(), Clock::Real().Now()).resume_token(),
            absl::StrCat("boot:", board_.Get()->version));
}

TEST_F(WatchStateTest, DeletionsAreSentOnceAndAlsoAfterResuming) {
  Put(1, 0);
  Put(2, 0, "other");
  WatchFilter filter;
  filter.target = "main";
  WatchState state = State(std::nullopt, 100, filter);
  MD_ASSERT_OK_AND_ASSIGN(const auto seen, ParseResumeToken(Next(state)->resume_token(), "boot"));
  board_.Remove({1});
  board_.Remove({2});
  EXPECT_THAT(Next(state)->deleted(), ElementsAre("main/m1"));
  EXPECT_FALSE(Next(state).has_value());
  WatchState resumed = State(seen, 100, filter);
  EXPECT_THAT(Next(resumed)->deleted(), ElementsAre("main/m1"));
}

TEST_F(WatchStateTest, MoreDeletionsThanTheBoardRemembersBeginASnapshot) {
  WatchState state = State();
  Next(state);
  for (std::size_t i = 0; i < kDeletedKept + 1; ++i) {
    Put(static_cast<std::int64_t>(i) + 1, 0);
    board_.Remove({static_cast<std::int64_t>(i) + 1});
  }
  EXPECT_TRUE(Next(state)->snapshot());
}

TEST_F(WatchStateTest, AVersionOfTheFutureBeginsASnapshot) {
  Put(1, 0);
  WatchState state = State(999999);
  EXPECT_TRUE(Next(state)->snapshot());
}

TEST(ResumeTokenTest, OfAnotherProcessMeansAll) {
  EXPECT_EQ(*ParseResumeToken("", "boot"), std::nullopt);
  EXPECT_EQ(*ParseResumeToken("other:5", "boot"), std::nullopt);
  EXPECT_EQ(*ParseResumeToken("boot:0", "boot"), std::nullopt);
  EXPECT_EQ(*ParseResumeToken("boot:5", "boot"), 5U);
  for (const char* damaged : {"boot", "boot:", "boot:x", "boot:-1"}) {
    EXPECT_THAT(ParseResumeToken(damaged, "boot"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("resume_token")))
        << damaged;
  }
}

}  // namespace
}  // namespace migrationd
