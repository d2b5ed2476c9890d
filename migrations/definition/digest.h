// SHA-256.
#pragma once

#include <string>
#include <string_view>

namespace migrationd {

// Of the bytes, as 64 lower-case hexadecimal digits.
std::string Sha256Hex(std::string_view bytes);

}  // namespace migrationd
