// KEYSET against PHYSICAL where the key's order has nothing to do with the disk's: a table by a random uuid, larger than shared_buffers.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

namespace migrationd {

struct RandomKeySettings {
  std::int64_t rows = 2'000'000;
  std::int32_t sub_batch_size = 1000;
  int rounds = 3;
  std::int64_t shared_buffers_mb = 128;
  std::vector<int> fill_factors = {100, 50};
};

// Prints a table for each fillfactor.
absl::Status CompareStrategies(const RandomKeySettings& settings);

}  // namespace migrationd
