// SQL as the README gives it, so that what it says is what was tried.
#pragma once

#include <string>

namespace migrationd {

// The one ```sql block whose first line is `-- HEADING`, whole; a failed test and nothing when it is not there once.
std::string ReadmeSql(const std::string& heading);

}  // namespace migrationd
