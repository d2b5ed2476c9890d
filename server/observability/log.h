// One line an event: UTC time, level, event name and fields; JSON or text. Never secrets, row values or statement parameters.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "absl/status/status.h"

namespace migrationd {

enum class LogFormat { kText, kJson };
enum class LogLevel { kDebug, kInfo, kWarning, kError };

// To stderr. Call once, before other threads exist.
void ConfigureLog(LogFormat format, LogLevel level);

using LogField = std::pair<const char*, std::string>;

// From now on; any thread.
void SetLogLevel(LogLevel level);

// Thread-safe. Control characters in values are escaped. Warnings and errors of one event that come too often (more than 100 at once,
// then more than one a second) are left out; the next one of that event says how many (`suppressed`).
void Log(LogLevel level, const char* event, std::initializer_list<LogField> fields = {});

// Lines left out since the start.
std::int64_t SuppressedLogLines();

// The URL with its password replaced by ***, for messages.
std::string RedactUrl(const std::string& url);

}  // namespace migrationd
