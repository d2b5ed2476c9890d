// The identity of one logical call, kept over its retries.
#pragma once

#include <string>

namespace migrationcontrol {

// A random UUID (version 4), drawn from the operating system.
std::string NewRequestId();

}  // namespace migrationcontrol
