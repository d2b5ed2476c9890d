// Types and values of a definition's parameters.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace migrationd {

// bigint, integer, text, ...
const std::vector<std::string>& ParameterTypes();

// Whether `value` has the text form of the type, as far as that can be told without a database. INVALID_ARGUMENT with
// what was expected.
absl::Status CheckParameterValue(const std::string& type, const std::string& value);

}  // namespace migrationd
