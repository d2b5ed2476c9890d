#include "migrations/pacing/windows.h"

#include <algorithm>
#include <regex>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/civil_time.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

constexpr std::array<const char*, 7> kDays = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
constexpr int kMinutesOfDay = 24 * 60;
// How many days around now are looked at: a window lasts at most a day, and each weekday comes within a week.
constexpr int kDaysBack = 2;
constexpr int kDaysAhead = 9;

absl::Status Wrong(const std::string& text, const std::string& what) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not a window: ", what, "; expected something like \"Mon-Fri 22:00-06:00 Europe/Berlin\"."));
}

std::optional<int> DayIndex(const std::string& name) {
  const auto found = std::find(kDays.begin(), kDays.end(), name);
  if (found == kDays.end()) return std::nullopt;
  return static_cast<int>(found - kDays.begin());
}

absl::Status ParseDays(const std::string& text, const std::string& days, Window& window) {
  if (days == "daily") {
    window.days.fill(true);
    return absl::OkStatus();
  }
  const std::vector<std::string> parts = absl::StrSplit(days, ',');
  for (const std::string& part : parts) {
    const std::pair<std::string, std::string> ends = absl::StrSplit(part, absl::MaxSplits('-', 1));
    const auto first = DayIndex(ends.first);
    const auto last = ends.second.empty() ? first : DayIndex(ends.second);
    if (!first.has_value() || !last.has_value()) return Wrong(text, absl::StrCat("\"", part, "\" is not a day (Mon, Tue ... Sun, or daily)"));
    for (int day = *first;; day = (day + 1) % 7) {
      window.days[static_cast<std::size_t>(day)] = true;
      if (day == *last) break;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int> ParseMinute(const std::string& text, const std::string& hours, const std::string& minutes, int most) {
  int hour = 0;
  int minute = 0;
  if (!absl::SimpleAtoi(hours, &hour) || !absl::SimpleAtoi(minutes, &minute) || minute > 59 || hour * 60 + minute > most) {
    return Wrong(text, absl::StrCat(hours, ":", minutes, " is not a time of day"));
  }
  return hour * 60 + minute;
}

// A time of a civil day; `minute` may lead into the next one. In the gap of a clock change the moment of the change stands for it.
absl::Time At(absl::CivilDay day, int minute, const absl::TimeZone& zone) {
  const absl::TimeZone::TimeInfo info = zone.At(absl::CivilSecond(absl::CivilMinute(day) + minute));
  return info.kind == absl::TimeZone::TimeInfo::SKIPPED ? info.trans : info.pre;
}

struct Span {
  absl::Time start;
  absl::Time end;
};

// The spans of a window that could matter at `now`.
std::vector<Span> SpansAround(const Window& window, absl::Time now) {
  std::vector<Span> spans;
  const absl::CivilDay today = absl::ToCivilDay(now, window.zone);
  for (int offset = -kDaysBack; offset <= kDaysAhead; ++offset) {
    const absl::CivilDay day = today + offset;
    const auto weekday = static_cast<std::size_t>(absl::GetWeekday(day));  // Monday is 0
    if (!window.days[weekday]) continue;
    const int end = window.end_minute > window.start_minute ? window.end_minute : window.end_minute + kMinutesOfDay;
    spans.push_back({At(day, window.start_minute, window.zone), At(day, end, window.zone)});
  }
  return spans;
}

}  // namespace

absl::StatusOr<Window> ParseWindow(const std::string& text) {
  static const std::regex kForm(R"(([A-Za-z,-]+) ([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})(?: ([A-Za-z0-9_+/-]+))?)");
  std::smatch parts;
  if (text.size() > 200 || !std::regex_match(text, parts, kForm)) return Wrong(text, "the form is wrong");
  Window window;
  MD_RETURN_IF_ERROR(ParseDays(text, parts[1], window));
  MD_ASSIGN_OR_RETURN(window.start_minute, ParseMinute(text, parts[2], parts[3], kMinutesOfDay - 1));
  MD_ASSIGN_OR_RETURN(window.end_minute, ParseMinute(text, parts[4], parts[5], kMinutesOfDay));
  if (window.start_minute == window.end_minute) return Wrong(text, "start and end are the same; for a whole day write 00:00-24:00");
  const std::string zone = parts[6].matched ? parts[6].str() : "UTC";
  if (!absl::LoadTimeZone(zone, &window.zone)) return Wrong(text, absl::StrCat("\"", zone, "\" is not a time zone known here"));
  return window;
}

bool InWindow(const std::vector<Window>& windows, absl::Time now) {
  for (const Window& window : windows) {
    for (const Span& span : SpansAround(window, now)) {
      if (span.start <= now && now < span.end) return true;
    }
  }
  return false;
}

std::optional<absl::Time> NextOpening(const std::vector<Window>& windows, absl::Time now) {
  std::optional<absl::Time> next;
  for (const Window& window : windows) {
    for (const Span& span : SpansAround(window, now)) {
      if (span.start > now && span.end > span.start && (!next.has_value() || span.start < *next)) next = span.start;
    }
  }
  return next;
}

std::optional<absl::Time> NextClosing(const std::vector<Window>& windows, absl::Time now) {
  if (!InWindow(windows, now)) return std::nullopt;
  // One window may begin before another has ended: follow them to the end. Bounded by the spans that are looked at.
  absl::Time closing = now;
  for (bool moved = true; moved;) {
    moved = false;
    for (const Window& window : windows) {
      for (const Span& span : SpansAround(window, now)) {
        if (span.start <= closing && closing < span.end) {
          closing = span.end;
          moved = true;
        }
      }
    }
  }
  return closing;
}

}  // namespace migrationd
