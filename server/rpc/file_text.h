// A small file as a whole.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace migrationd {

// UNAVAILABLE, naming the file and the system's reason, when it cannot be read; RESOURCE_EXHAUSTED beyond 4 MiB. A file that was replaced
// through a symbolic link (as Kubernetes does) is read as it is now.
absl::StatusOr<std::string> ReadFileText(const std::string& path);

}  // namespace migrationd
