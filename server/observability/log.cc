#include "server/observability/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
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
  const std::string time = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", WallTimeForLogs(), absl::UTCTimeZone());
  std::string line;
  if (current_format == LogFormat::kJson) {
    nlohmann::ordered_json object = {{"time", time}, {"level", LevelName(level)}, {"event", event}};
    for (const auto& [name, value] : fields) object[name] = value;
    line = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  } else {
    line = absl::StrCat(time, " ", LevelName(level), " ", event);
    for (const auto& [name, value] : fields) {
      if (value.empty()) continue;
      const bool bare = value.find_first_of(" \t\r\n\"=\\") == std::string::npos;
      absl::StrAppend(&line, " ", name, "=", bare ? absl::Utf8SafeCEscape(value) : absl::StrCat("\"", absl::Utf8SafeCEscape(value), "\""));
    }
  }
  Sink().log(LevelOf(level), line);
}

std::string RedactUrl(const std::string& url) {
  static const std::regex kUserInfo("(//[^:@/?]*:)[^@/]*@");
  static const std::regex kParameter("(password=)[^&\\s]*");
  return std::regex_replace(std::regex_replace(url, kUserInfo, "$1***@"), kParameter, "$1***");
}

}  // namespace migrationd
