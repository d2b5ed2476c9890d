#include "server/build_info.h"

namespace migrationd {

const char* Version() { return MIGRATIOND_VERSION; }
const char* Revision() { return MIGRATIOND_REVISION; }

}  // namespace migrationd
