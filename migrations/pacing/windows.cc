#include "migrations/pacing/windows.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/civil_time.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

constexpr int kMinutesOfDay = 24 * 60;
// One more than a week, so that each weekly window is met.
constexpr int kSearchDays = 8;
// A window lasts 24 hours of its clocks at most; two days back also cover a zone that left out a date.
constexpr int kDaysBack = 2;

constexpr std::array<const char*, 7> kDayNames = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};

absl::Status Wrong(const std::string& window, const std::string& what) {
  return absl::InvalidArgumentError(
      absl::StrCat("window '", window, "': ", what,
                   "; expected for example 'Mon-Fri 22:00-06:00 Europe/Berlin' or 'daily 01:00-05:00'"));
}

std::optional<int> DayIndex(const std::string& name) {
  for (std::size_t i = 0; i < kDayNames.size(); ++i) {
    if (absl::EqualsIgnoreCase(name, kDayNames[i])) return static_cast<int>(i);
  }
  return std::nullopt;
}

// Mon, or Sat-Mon.
absl::Status AddDays(const std::string& text, const std::string& part, std::array<bool, 7>& days) {
  const std::vector<std::string> ends = absl::StrSplit(part, '-');
  const std::optional<int> first = DayIndex(ends.front());
  const std::optional<int> last = DayIndex(ends.back());
  if (ends.size() > 2 || !first.has_value() || !last.has_value()) {
    return Wrong(
        text, absl::StrCat("'", part, "' is not a day or a range of days (Mon, Tue, Wed, Thu, Fri, Sat, Sun, daily)"));
  }
  for (int day = *first;; day = (day + 1) % 7) {
    days[static_cast<std::size_t>(day)] = true;
    if (day == *last) return absl::OkStatus();
  }
}

absl::StatusOr<std::array<bool, 7>> ParseDays(const std::string& text, const std::string& word) {
  std::array<bool, 7> days{};
  if (absl::EqualsIgnoreCase(word, "daily")) {
    days.fill(true);
    return days;
  }
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(word, ','))) {
    MD_RETURN_IF_ERROR(AddDays(text, part, days));
  }
  return days;
}

// Minutes of HH:MM, at most `latest`.
absl::StatusOr<int> ParseMinute(const std::string& text, const std::string& word, int latest) {
  const auto digit = [&](std::size_t at) { return absl::ascii_isdigit(static_cast<unsigned char>(word[at])); };
  if (word.size() == 5 && digit(0) && digit(1) && word[2] == ':' && digit(3) && digit(4)) {
    const int hours = (word[0] - '0') * 10 + (word[1] - '0');
    const int minutes = (word[3] - '0') * 10 + (word[4] - '0');
    if (minutes < 60 && hours * 60 + minutes <= latest) return hours * 60 + minutes;
  }
  return Wrong(text, absl::StrCat("'", word, "' is not a time (HH:MM, 00:00 to 23:59; the end may be 24:00)"));
}

absl::Status ParseTimes(const std::string& text, const std::string& word, Window& window) {
  const std::vector<std::string> ends = absl::StrSplit(word, '-');
  if (ends.size() != 2) return Wrong(text, absl::StrCat("'", word, "' is not a span of time such as 22:00-06:00"));
  MD_ASSIGN_OR_RETURN(window.start_minute, ParseMinute(text, ends[0], kMinutesOfDay - 1));
  MD_ASSIGN_OR_RETURN(window.end_minute, ParseMinute(text, ends[1], kMinutesOfDay));
  if (window.start_minute == window.end_minute) {
    return Wrong(text, "start and end are the same; a whole day is 00:00-24:00");
  }
  if (window.end_minute < window.start_minute) window.end_minute += kMinutesOfDay;
  return absl::OkStatus();
}

struct Span {
  absl::Time open;
  absl::Time close;
};

absl::Time AtMinute(absl::CivilDay day, int minute, const absl::TimeZone& zone) {
  return absl::FromCivil(absl::CivilSecond(absl::CivilMinute(day) + minute), zone);
}

// The spans of all windows that can matter from `now` to kSearchDays later, by their opening.
std::vector<Span> SpansAround(const std::vector<Window>& windows, absl::Time now) {
  std::vector<Span> spans;
  for (const Window& window : windows) {
    const absl::CivilDay today = absl::ToCivilDay(now, window.zone);
    for (absl::CivilDay day = today - kDaysBack; day <= today + kSearchDays; ++day) {
      if (!window.days[static_cast<std::size_t>(absl::GetWeekday(day))]) continue;
      const Span span{.open = AtMinute(day, window.start_minute, window.zone),
                      .close = AtMinute(day, window.end_minute, window.zone)};
      // Empty when the clocks skip all of it.
      if (span.open < span.close && span.close > now) spans.push_back(span);
    }
  }
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.open < b.open; });
  return spans;
}

absl::Time SearchEnd(absl::Time now) { return now + absl::Hours(24 * kSearchDays); }

}  // namespace

absl::StatusOr<Window> ParseWindow(const std::string& text) {
  const std::vector<std::string> words = absl::StrSplit(text, absl::ByAnyChar(" \t"), absl::SkipEmpty());
  if (words.size() != 2 && words.size() != 3) return Wrong(text, "it does not have the form DAYS TIMES [ZONE]");
  Window window;
  MD_ASSIGN_OR_RETURN(window.days, ParseDays(text, words[0]));
  MD_RETURN_IF_ERROR(ParseTimes(text, words[1], window));
  window.zone = absl::UTCTimeZone();
  if (words.size() == 3 && !absl::LoadTimeZone(words[2], &window.zone)) {
    return Wrong(text,
                 absl::StrCat("'", words[2], "' is not a time zone of this machine (an IANA name; package tzdata)"));
  }
  return window;
}

bool InWindow(const std::vector<Window>& windows, absl::Time at) {
  const std::optional<absl::Time> opening = NextOpening(windows, at);
  return opening.has_value() && *opening == at;
}

std::optional<absl::Time> NextOpening(const std::vector<Window>& windows, absl::Time now) {
  if (windows.empty()) return now;
  const std::vector<Span> spans = SpansAround(windows, now);
  if (spans.empty() || spans.front().open > SearchEnd(now)) return std::nullopt;
  return std::max(spans.front().open, now);
}

std::optional<absl::Time> NextClosing(const std::vector<Window>& windows, absl::Time now) {
  if (windows.empty() || !InWindow(windows, now)) return std::nullopt;
  absl::Time close = now;
  for (const Span& span : SpansAround(windows, now)) {
    if (span.open <= close) close = std::max(close, span.close);
  }
  if (close >= SearchEnd(now)) return std::nullopt;
  return close;
}

}  // namespace migrationd
