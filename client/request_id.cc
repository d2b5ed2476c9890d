#include "client/request_id.h"

#include <cstdint>
#include <random>

#include "absl/strings/str_format.h"

namespace migrationcontrol {

std::string NewRequestId() {
  std::random_device device;
  const std::uint32_t a = device();
  const std::uint32_t b = device();
  const std::uint32_t c = device();
  const std::uint32_t d = device();
  // RFC 4122: the version is 4, the variant is binary 10.
  return absl::StrFormat("%08x-%04x-4%03x-%04x-%04x%08x", a, b >> 16, b & 0xfff, 0x8000 | (c >> 16 & 0x3fff),
                         c & 0xffff, d);
}

}  // namespace migrationcontrol
