// Random uuids, for what must differ from all others: calls and claims.
#pragma once

#include <string>

namespace migrationd {

// Version 4, lower case with dashes. Any thread.
std::string NewUuid();

}  // namespace migrationd
