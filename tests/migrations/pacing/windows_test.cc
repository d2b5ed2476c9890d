#include "migrations/pacing/windows.h"

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// "2026-11-20 09:30" in that zone. 2026-11-20 is a Friday.
absl::Time At(const std::string& text, const std::string& zone = "UTC") {
  absl::TimeZone loaded;
  EXPECT_TRUE(absl::LoadTimeZone(zone, &loaded)) << zone;
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime("%Y-%m-%d %H:%M", text, loaded, &time, &error)) << error;
  return time;
}

Window Parsed(const std::string& text) {
  const absl::StatusOr<Window> window = ParseWindow(text);
  EXPECT_THAT(window, IsOk()) << text;
  return window.ok() ? *window : Window{};
}

std::string DaysOf(const std::string& text) {
  std::string days;
  for (const bool day : Parsed(text).days) days += day ? 'x' : '.';
  return days;
}

TEST(ParseWindow, DaysMayBeOneAListARangeOrAll) {
  EXPECT_EQ(DaysOf("Mon 01:00-02:00"), "x......");
  EXPECT_EQ(DaysOf("Mon,Wed 01:00-02:00"), "x.x....");
  EXPECT_EQ(DaysOf("Mon-Fri 01:00-02:00"), "xxxxx..");
  EXPECT_EQ(DaysOf("Sat-Mon 01:00-02:00"), "x....xx");
  EXPECT_EQ(DaysOf("Tue,Sat-Sun 01:00-02:00"), ".x...xx");
  EXPECT_EQ(DaysOf("Sun-Sat 01:00-02:00"), "xxxxxxx");
  EXPECT_EQ(DaysOf("daily 01:00-02:00"), "xxxxxxx");
  EXPECT_EQ(DaysOf("mon-FRI 01:00-02:00"), "xxxxx..");
  EXPECT_EQ(DaysOf("Wed-Wed 01:00-02:00"), "..x....");
}

TEST(ParseWindow, TimesMayCrossMidnightAndEndAt24) {
  EXPECT_EQ(Parsed("daily 01:00-05:30").start_minute, 60);
  EXPECT_EQ(Parsed("daily 01:00-05:30").end_minute, 330);
  EXPECT_EQ(Parsed("daily 22:00-06:00").end_minute, 30 * 60);
  EXPECT_EQ(Parsed("daily 00:00-24:00").end_minute, 24 * 60);
  EXPECT_EQ(Parsed("daily 22:00-00:00").end_minute, 24 * 60);
}

TEST(ParseWindow, TheZoneIsUtcUnlessNamed) {
  EXPECT_EQ(Parsed("daily 01:00-02:00").zone, absl::UTCTimeZone());
  EXPECT_EQ(Parsed("  daily\t01:00-02:00  Europe/Berlin ").zone.name(), "Europe/Berlin");
}

TEST(ParseWindow, ErrorsNameTheWrongPart) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "form DAYS TIMES"},
      {"Mon-Fri", "form DAYS TIMES"},
      {"Mon - Fri 22:00-06:00", "form DAYS TIMES"},
      {"Mon 22:00 - 06:00 UTC", "form DAYS TIMES"},
      {"Montag 22:00-06:00", "'Montag' is not a day"},
      {"Mon,,Tue 22:00-06:00", "'' is not a day"},
      {"Mon-Tue-Wed 22:00-06:00", "'Mon-Tue-Wed' is not a day"},
      {"Mon- 22:00-06:00", "'Mon-' is not a day"},
      {"daily,Mon 22:00-06:00", "'daily' is not a day"},
      {"Mon 22:00", "'22:00' is not a span"},
      {"Mon 22:00-23:00-24:00", "is not a span"},
      {"Mon 24:00-06:00", "'24:00' is not a time"},
      {"Mon 22:00-24:01", "'24:01' is not a time"},
      {"Mon 22:60-23:00", "'22:60' is not a time"},
      {"Mon 9:00-10:00", "'9:00' is not a time"},
      {"Mon +9:00-10:00", "'+9:00' is not a time"},
      {"Mon 09:00-09:00", "the same"},
      {"Mon 09:00-10:00 Mars/Olympus", "'Mars/Olympus' is not a time zone"}};
  for (const auto& [text, part] : cases) {
    EXPECT_THAT(ParseWindow(text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("window '" + text + "'"), HasSubstr(part), HasSubstr("expected for example"))))
        << text;
  }
}

TEST(InWindow, IsHalfOpenAndTheDayNamesTheStart) {
  const std::vector<Window> nights = {Parsed("Fri 22:00-06:00")};
  EXPECT_FALSE(InWindow(nights, At("2026-11-20 21:59")));
  EXPECT_TRUE(InWindow(nights, At("2026-11-20 22:00")));
  EXPECT_TRUE(InWindow(nights, At("2026-11-21 05:59")));
  EXPECT_TRUE(InWindow(nights, At("2026-11-21 06:00") - absl::Nanoseconds(1)));
  EXPECT_FALSE(InWindow(nights, At("2026-11-21 06:00")));
  EXPECT_FALSE(InWindow(nights, At("2026-11-20 05:00"))) << "the night to Friday began on Thursday";
}

TEST(InWindow, UsesTheClocksOfItsZone) {
  const std::vector<Window> berlin = {Parsed("Fri 22:00-06:00 Europe/Berlin")};
  EXPECT_TRUE(InWindow(berlin, At("2026-11-20 21:00")));  // 22:00 in winter
  EXPECT_FALSE(InWindow(berlin, At("2026-11-20 20:59")));
  EXPECT_TRUE(InWindow(berlin, At("2026-07-17 20:00")));  // 22:00 in summer
  EXPECT_FALSE(InWindow(berlin, At("2026-07-17 19:59")));
}

TEST(InWindow, NoWindowsAtAllMeansAlways) {
  EXPECT_TRUE(InWindow({}, At("2026-11-20 12:00")));
  EXPECT_EQ(NextOpening({}, At("2026-11-20 12:00")), At("2026-11-20 12:00"));
  EXPECT_EQ(NextClosing({}, At("2026-11-20 12:00")), std::nullopt);
}

TEST(NextOpening, IsNowWhenOpenAndTheEarliestOtherwise) {
  const std::vector<Window> windows = {Parsed("Sun 03:00-04:00"), Parsed("Sat 10:00-11:00")};
  EXPECT_EQ(NextOpening(windows, At("2026-11-20 12:00")), At("2026-11-21 10:00"));
  EXPECT_EQ(NextOpening(windows, At("2026-11-21 10:30")), At("2026-11-21 10:30"));
  EXPECT_EQ(NextOpening(windows, At("2026-11-21 11:00")), At("2026-11-22 03:00"));
  EXPECT_EQ(NextOpening(windows, At("2026-11-22 04:00")), At("2026-11-28 10:00"));
}

TEST(NextOpening, FindsAWeeklyWindowThatHasJustClosed) {
  const std::vector<Window> weekly = {Parsed("Fri 12:00-12:01")};
  EXPECT_EQ(NextOpening(weekly, At("2026-11-20 12:01")), At("2026-11-27 12:00"));
}

TEST(NextClosing, IsTheEndOfWindowsThatFollowWithoutAGap) {
  const std::vector<Window> windows = {Parsed("Fri 20:00-24:00"), Parsed("Sat 00:00-06:00"), Parsed("Sat 05:00-07:00"),
                                       Parsed("Sat 08:00-09:00")};
  EXPECT_EQ(NextClosing(windows, At("2026-11-20 21:00")), At("2026-11-21 07:00"));
  EXPECT_EQ(NextClosing(windows, At("2026-11-20 19:00")), std::nullopt);
  EXPECT_EQ(NextClosing({Parsed("daily 00:00-24:00")}, At("2026-11-20 21:00")), std::nullopt) << "it never closes";
}

TEST(Windows, WhenClocksGoForwardASkippedStartIsTheMomentTheyDo) {
  // 2026-03-29 in Berlin: after 01:59 comes 03:00, which is 01:00 UTC.
  const std::vector<Window> windows = {Parsed("Sun 02:30-05:00 Europe/Berlin")};
  EXPECT_EQ(NextOpening(windows, At("2026-03-28 12:00")), At("2026-03-29 01:00"));
  EXPECT_EQ(NextClosing(windows, At("2026-03-29 01:00")), At("2026-03-29 03:00"));
  // All of it is skipped: next week then.
  const std::vector<Window> swallowed = {Parsed("Sun 02:15-02:45 Europe/Berlin")};
  EXPECT_EQ(NextOpening(swallowed, At("2026-03-28 12:00")), At("2026-04-05 00:15"));
  // The night is one hour shorter.
  const std::vector<Window> night = {Parsed("Sat 22:00-06:00 Europe/Berlin")};
  const absl::Time open = At("2026-03-28 22:00", "Europe/Berlin");
  EXPECT_EQ(*NextClosing(night, open) - open, absl::Hours(7));
}

TEST(Windows, WhenClocksGoBackATimeShownTwiceIsTheFirst) {
  // 2026-10-25 in Berlin: 02:00 to 03:00 happens twice, from 00:00 UTC and from 01:00 UTC.
  const std::vector<Window> windows = {Parsed("Sun 02:30-05:00 Europe/Berlin")};
  EXPECT_EQ(NextOpening(windows, At("2026-10-24 12:00")), At("2026-10-25 00:30"));
  EXPECT_TRUE(InWindow(windows, At("2026-10-25 01:15"))) << "it does not close when the clocks show 02:15 again";
  const std::vector<Window> night = {Parsed("Sat 22:00-06:00 Europe/Berlin")};
  const absl::Time open = At("2026-10-24 22:00", "Europe/Berlin");
  EXPECT_EQ(*NextClosing(night, open) - open, absl::Hours(9));
}

TEST(Windows, AgreeWithEachOtherAtEveryQuarterOfAnHourOfAYear) {
  const std::vector<Window> windows = {Parsed("Mon-Wed 21:45-03:15 America/New_York"),
                                       Parsed("Sun 02:00-02:30 Europe/Berlin"),
                                       Parsed("Thu 00:00-24:00 Australia/Lord_Howe")};
  for (absl::Time at = At("2026-01-01 00:00"); at < At("2027-01-01 00:00"); at += absl::Minutes(15)) {
    const std::optional<absl::Time> opening = NextOpening(windows, at);
    const std::optional<absl::Time> closing = NextClosing(windows, at);
    ASSERT_TRUE(opening.has_value());
    ASSERT_EQ(InWindow(windows, at), *opening == at);
    ASSERT_EQ(InWindow(windows, at), closing.has_value());
    ASSERT_TRUE(InWindow(windows, *opening));
    if (*opening > at) {
      ASSERT_FALSE(InWindow(windows, *opening - absl::Nanoseconds(1)));
    }
    if (closing.has_value()) {
      ASSERT_FALSE(InWindow(windows, *closing));
      ASSERT_TRUE(InWindow(windows, *closing - absl::Nanoseconds(1)));
    }
  }
}

}  // namespace
}  // namespace migrationd
