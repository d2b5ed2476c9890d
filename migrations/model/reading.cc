#include "migrations/model/reading.h"

#include <cmath>
#include <cstddef>
#include <iterator>

#include "absl/strings/str_format.h"

namespace migrationd {
namespace {

// Three digits, but whole numbers from a thousand on.
std::string Number(double value) { return std::fabs(value) >= 999.5 ? absl::StrFormat("%.0f", value) : absl::StrFormat("%.3g", value); }

std::string Bytes(double value) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t power = 0;
  while (std::fabs(value) >= 1024 && power + 1 < std::size(kUnits)) {
    value /= 1024;
    ++power;
  }
  return absl::StrFormat("%s %s", Number(value), kUnits[power]);
}

}  // namespace

std::string FormatQuantity(double value, std::string_view unit) {
  if (unit == "bytes") return Bytes(value);
  if (unit == "bytes/s") return Bytes(value) + "/s";
  return unit.empty() ? Number(value) : Number(value) + " " + std::string(unit);
}

}  // namespace migrationd
