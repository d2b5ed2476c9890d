#include "server/observability/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/clock.h"

namespace migrationd {
namespace {

LogFormat current_format = LogFormat::kText;

// spdlog does the writing and the filtering; the line is built here, since its patterns do not escape JSON.
spdlog::logger& Sink() {
  static auto logger = [] {
    auto made = spdlog::stderr_logger_mt("migrationd");
    made->set_pattern("%v");
    made->flush_on(spdlog::level::debug);
    return made;
  }();
  return *logger;
}

spdlog::level::level_enum LevelOf(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarning: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
  }
  return spdlog::level::info;
}

// A bucket for each event. Events are words of ours, so there are few.
class Limiter {
 public:
  // How many lines were left out before this one; nullopt: this one is left out, too.
  std::optional<std::int64_t> Admit(const std::string& event) {
    absl::MutexLock lock(&mutex_);
    Bucket& bucket = buckets_[event];
    const absl::Time now = Clock::Real().Now();
    bucket.tokens = std::min(kBurst, bucket.tokens + absl::ToDoubleSeconds(now - bucket.filled_at) * kPerSecond);
    bucket.filled_at = now;
    if (bucket.tokens < 1) {
      ++bucket.left_out;
      ++total_;
      return std::nullopt;
    }
    bucket.tokens -= 1;
    return std::exchange(bucket.left_out, 0);
  }
  std::int64_t total() const {
    absl::MutexLock lock(&mutex_);
    return total_;
  }

 private:
  static constexpr double kBurst = 100;
  static constexpr double kPerSecond = 1;
  struct Bucket {
    double tokens = kBurst;
    absl::Time filled_at = Clock::Real().Now();
    std::int64_t left_out = 0;
  };
  mutable absl::Mutex mutex_;
  std::map<std::string, Bucket> buckets_ ABSL_GUARDED_BY(mutex_);
  std::int64_t total_ ABSL_GUARDED_BY(mutex_) = 0;
};

Limiter& LogLimiter() {
  static Limiter limiter;
  return limiter;
}

const char* LevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return "debug";
    case LogLevel::kInfo: return "info";
    case LogLevel::kWarning: return "warning";
    case LogLevel::kError: return "error";
  }
  return "";
}

}  // namespace

void ConfigureLog(LogFormat format, LogLevel level) {
  current_format = format;
  Sink().set_level(LevelOf(level));
}

void Log(LogLevel level, const char* event, std::initializer_list<LogField> fields) {
  if (!Sink().should_log(LevelOf(level))) return;
  std::int64_t left_out = 0;
  if (level >= LogLevel::kWarning) {
    const auto admitted = LogLimiter().Admit(event);
    if (!admitted.has_value()) return;
    left_out = *admitted;
  }
  const std::string time = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", WallTime(), absl::UTCTimeZone());
  std::string line;
  if (current_format == LogFormat::kJson) {
    nlohmann::ordered_json object = {{"time", time}, {"level", LevelName(level)}, {"event", event}};
    for (const auto& [name, value] : fields) object[name] = value;
    if (left_out > 0) object["suppressed"] = left_out;
    line = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  } else {
    line = absl::StrCat(time, " ", LevelName(level), " ", event);
    for (const auto& [name, value] : fields) {
      if (value.empty()) continue;
      const bool bare = value.find_first_of(" \t\r\n\"=\\") == std::string::npos;
      absl::StrAppend(&line, " ", name, "=", bare ? absl::Utf8SafeCEscape(value) : absl::StrCat("\"", absl::Utf8SafeCEscape(value), "\""));
    }
  }
  if (left_out > 0 && current_format == LogFormat::kText) absl::StrAppend(&line, " suppressed=", left_out);
  Sink().log(LevelOf(level), line);
}

void SetLogLevel(LogLevel level) { Sink().set_level(LevelOf(level)); }

std::int64_t SuppressedLogLines() { return LogLimiter().total(); }

}  // namespace migrationd
