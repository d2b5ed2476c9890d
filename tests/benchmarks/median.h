#pragma once

#include <algorithm>
#include <vector>

namespace migrationd {

// Of at least one value; the upper of the two in the middle.
inline double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace migrationd
