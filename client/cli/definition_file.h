// Reading definition files.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace migrationctl {

// The whole file. NOT_FOUND is never returned (it means an unknown migration): FAILED_PRECONDITION saying why the file
// cannot be read, or that it is larger than any definition (256 KiB).
absl::StatusOr<std::string> ReadDefinitionFile(const std::string& path);

// Without its folder.
std::string BaseName(const std::string& path);

}  // namespace migrationctl
