// [=====>    ]
#pragma once

#include <cstddef>
#include <string>

namespace migrationctl {

// `width` columns with the brackets, at least 3. Full only when `complete`.
std::string ProgressBar(double fraction, bool complete, std::size_t width);

}  // namespace migrationctl
