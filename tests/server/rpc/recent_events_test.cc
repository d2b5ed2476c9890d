#include "server/rpc/recent_events.h"

#include <atomic>

#include "absl/synchronization/notification.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

Migration Of(std::int64_t id, std::int64_t revision) {
  Migration m;
  m.id = {id};
  m.target = "main";
  m.name = "one";
  m.revision = revision;
  return m;
}

RecentEvents::Events Ask(RecentEvents& recent, const Migration& migration) {
  absl::Notification answered;
  RecentEvents::Events result;
  recent.Get(migration, [&](std::shared_ptr<const RecentEvents::Events> events) {
    result = *events;
    answered.Notify();
  });
  answered.WaitForNotification();
  return result;
}

TEST(RecentEventsTest, TheFirstLookWaitsForTheReadingAndTheNextDoesNotRead) {
  std::atomic<int> reads{0};
  RecentEvents recent(
      [&](const std::string& name) -> absl::StatusOr<RecentEvents::Events> {
        EXPECT_EQ(name, "main/one");
        ++reads;
        return RecentEvents::Events(2);
      },
      Clock::Real());
  EXPECT_THAT(Ask(recent, Of(1, 1)), SizeIs(2));
  for (int i = 0; i < 100; ++i) EXPECT_THAT(Ask(recent, Of(1, 1)), SizeIs(2));
  EXPECT_LE(reads, 3) << "at most once a second";
}

TEST(RecentEventsTest, ANewerRevisionIsReadBeforeItIsAnswered) {
  std::atomic<std::size_t> size{1};
  RecentEvents recent(
      [&](const std::string&) -> absl::StatusOr<RecentEvents::Events> { return RecentEvents::Events(size); },
      Clock::Real());
  EXPECT_THAT(Ask(recent, Of(1, 1)), SizeIs(1));
  size = 2;
  EXPECT_THAT(Ask(recent, Of(1, 2)), SizeIs(2));
}

TEST(RecentEventsTest, AStoreThatHangsHoldsNobodyUp) {
  absl::Notification release;
  RecentEvents recent(
      [&](const std::string&) -> absl::StatusOr<RecentEvents::Events> {
        release.WaitForNotification();
        return RecentEvents::Events(1);
      },
      Clock::Real());
  const absl::Time begun = Clock::Real().Now();
  EXPECT_THAT(Ask(recent, Of(1, 1)), IsEmpty());
  EXPECT_THAT(Ask(recent, Of(2, 1)), IsEmpty());
  EXPECT_GE(Clock::Real().Now() - begun, RecentEvents::kLongestWait);
  release.Notify();
}

TEST(RecentEventsTest, AStoreThatIsAwayIsAnsweredWithWhatIsKnown) {
  std::atomic<bool> away{false};
  RecentEvents recent(
      [&](const std::string&) -> absl::StatusOr<RecentEvents::Events> {
        if (away) return absl::UnavailableError("away");
        return RecentEvents::Events(3);
      },
      Clock::Real());
  EXPECT_THAT(Ask(recent, Of(1, 1)), SizeIs(3));
  away = true;
  EXPECT_THAT(Ask(recent, Of(1, 2)), SizeIs(3));
  EXPECT_THAT(Ask(recent, Of(2, 1)), IsEmpty());
}

TEST(RecentEventsTest, StopAnswersWhoWaits) {
  absl::Notification entered;
  absl::Notification release;
  RecentEvents recent(
      [&](const std::string&) -> absl::StatusOr<RecentEvents::Events> {
        if (!entered.HasBeenNotified()) entered.Notify();
        release.WaitForNotification();
        return absl::UnavailableError("away");
      },
      Clock::Real());
  std::atomic<int> answers{0};
  recent.Get(Of(1, 1), [&](std::shared_ptr<const RecentEvents::Events>) { ++answers; });
  entered.WaitForNotification();
  recent.Get(Of(1, 1), [&](std::shared_ptr<const RecentEvents::Events>) { ++answers; });
  release.Notify();
  recent.Stop();
  EXPECT_EQ(answers, 2);
  recent.Get(Of(1, 1), [&](std::shared_ptr<const RecentEvents::Events>) { ++answers; });
  EXPECT_EQ(answers, 3);
}

}  // namespace
}  // namespace migrationd
