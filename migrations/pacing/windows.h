// Maintenance windows: when a migration may work. Pure; the time comes from the caller (database time).
//
//   Mon-Fri 22:00-06:00 Europe/Berlin     Sat,Sun 00:00-24:00     daily 01:00-05:00 America/New_York
//
// A window is half-open, [start, end), and the day names its start: Fri 22:00-06:00 lasts until Saturday morning. Times
// are those of clocks in its zone (UTC when left out), whatever daylight saving does to them: a start that the clocks
// skip is the moment they go forward, one that they show twice is the first of the two.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace migrationd {

struct Window {
  std::array<bool, 7> days{};  // on which it starts; Monday is 0
  int start_minute = 0;        // of the day, 0 to 1439
  int end_minute = 0;  // of the day on which it starts: above 1440 when it crosses midnight; larger than start_minute
  absl::TimeZone zone;
};

// Days: one (Mon), a list (Mon,Wed), ranges (Mon-Fri, Sat-Mon), a mixture, or `daily`. Times: HH:MM; the end may be
// 24:00 and may be earlier than the start, then it is on the next day. INVALID_ARGUMENT saying which part is wrong and
// what was expected.
absl::StatusOr<Window> ParseWindow(const std::string& text);

// True when some window is open at `at`. No windows at all: always open.
bool InWindow(const std::vector<Window>& windows, absl::Time at);

// The first time, `now` or later, at which some window is open: `now` itself when one is. nullopt: none opens within
// eight days.
std::optional<absl::Time> NextOpening(const std::vector<Window>& windows, absl::Time now);

// When the last of the windows that are open at `now`, and of those that follow without a gap, closes. nullopt: none is
// open at `now`, or they stay open for eight days and longer.
std::optional<absl::Time> NextClosing(const std::vector<Window>& windows, absl::Time now);

}  // namespace migrationd
