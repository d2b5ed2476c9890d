// What was built.
#pragma once

namespace migrationd {

const char* Version();   // "0.1.0"
const char* Revision();  // of the sources: "4fefbf8c01d2", with "-dirty" for changes that are not committed; "unknown"

}  // namespace migrationd
