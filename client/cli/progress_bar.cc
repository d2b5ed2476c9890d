#include "client/cli/progress_bar.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace migrationctl {

std::string ProgressBar(double fraction, bool complete, std::size_t width) {
  const std::size_t inside = std::max<std::size_t>(width, 3) - 2;
  if (complete) return absl::StrCat("[", std::string(inside, '='), "]");
  const double share = std::isfinite(fraction) ? std::clamp(fraction, 0.0, 1.0) : 0.0;
  // The last column belongs to the tip while something is left to do.
  const std::size_t done = std::min(static_cast<std::size_t>(share * static_cast<double>(inside)), inside - 1);
  return absl::StrCat("[", std::string(done, '='), share > 0 ? ">" : " ", std::string(inside - done - 1, ' '), "]");
}

}  // namespace migrationctl
