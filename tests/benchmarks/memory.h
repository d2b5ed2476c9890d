// Whether the engine's memory grows with what it has done.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace migrationd {

// Runs `batches` batches of two sub-batches of five rows in one lane; prints this process's resident memory after a tenth of them, after
// each further tenth, and the last as a ratio to the first.
absl::Status MeasureMemory(std::int64_t batches);

}  // namespace migrationd
