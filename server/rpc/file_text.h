// A small file as a whole.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace migrationd {

// Errors name the file and the system's reason. NOT_FOUND: there is none. INVALID_ARGUMENT: it is a folder. PERMISSION_DENIED. RESOURCE_EXHAUSTED:
// beyond 4 MiB. UNAVAILABLE: it cannot be read for another reason, such as a disk that does not answer. A file that was replaced
// through a symbolic link (as Kubernetes does) is read as it is now.
absl::StatusOr<std::string> ReadFileText(const std::string& path);

}  // namespace migrationd
