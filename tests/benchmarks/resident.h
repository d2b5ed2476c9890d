// Memory that a process has in use.
#pragma once

#include <cstdint>
#include <string>

namespace migrationd {

// VmRSS of /proc/PROCESS/status (`self`: this one), in kB; 0 where it cannot be read.
std::int64_t ResidentKb(const std::string& process);

}  // namespace migrationd
