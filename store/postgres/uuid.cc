#include "store/postgres/uuid.h"

#include <cstdint>

#include "absl/random/random.h"
#include "absl/strings/str_format.h"

namespace migrationd {

std::string NewUuid() {
  absl::BitGen random;
  const auto high = absl::Uniform<std::uint64_t>(random);
  const auto low = absl::Uniform<std::uint64_t>(random);
  return absl::StrFormat("%08x-%04x-4%03x-%x%03x-%012x", high >> 32, (high >> 16) & 0xffff, high & 0xfff,
                         8 + (low >> 62), (low >> 48) & 0xfff, low & 0xffffffffffff);
}

}  // namespace migrationd
