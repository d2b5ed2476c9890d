// Times in which a migration may work: `Mon-Fri 22:00-06:00 Europe/Berlin`. Pure; times are database time.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace migrationd {

// Half-open. The day names the start; an end that is not after the start is on the next day.
struct Window {
  std::array<bool, 7> days{};  // from Monday
  int start_minute = 0;        // of the day, 0 to 1439
  int end_minute = 0;          // 0 to 1440
  absl::TimeZone zone;
};

// `DAYS HH:MM-HH:MM [ZONE]`: DAYS is a day (Mon), a range (Mon-Fri, also Sat-Mon), a list of those (Mon,Wed-Fri), or `daily`; ZONE is a
// name of the time-zone database (default UTC). INVALID_ARGUMENT with what is wrong.
absl::StatusOr<Window> ParseWindow(const std::string& text);

bool InWindow(const std::vector<Window>& windows, absl::Time now);

// The next start after `now`, within nine days; nullopt when there is none.
std::optional<absl::Time> NextOpening(const std::vector<Window>& windows, absl::Time now);

// When the windows that are open now will all have closed; nullopt when none is open.
std::optional<absl::Time> NextClosing(const std::vector<Window>& windows, absl::Time now);

}  // namespace migrationd
