// Batched update of one table in several ways, interleaved over fresh equal tables in one run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace migrationd {

struct BatchedUpdateSettings {
  std::string url;  // empty: a private PostgreSQL. Otherwise the variants of the whole service are left out, which need one.
  std::int64_t rows = 2'000'000;
  std::vector<std::int64_t> batches = {1000};  // sizes of sub-batches
  int rounds = 3;
  std::vector<std::string> only;  // parts of variants' names; empty: all
};

// Prints a table of ratios for each size. Variants without a size of their own run once a round and stand in each.
absl::Status CompareUpdates(const BatchedUpdateSettings& settings);

}  // namespace migrationd
