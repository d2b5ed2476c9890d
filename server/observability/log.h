// One line an event: UTC time, level, event name and fields; JSON or text. Never secrets, row values or statement parameters.
#pragma once

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

// Thread-safe. Control characters in values are escaped.
void Log(LogLevel level, const char* event, std::initializer_list<LogField> fields = {});

// The URL with its password replaced by ***, for messages.
std::string RedactUrl(const std::string& url);

}  // namespace migrationd
