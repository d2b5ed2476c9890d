// What any text in a definition must be, and how foreign text is shown in a message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace migrationd {

// Position of the first byte that is not part of well-formed UTF-8; npos when all is well. Surrogates and overlong
// forms are not.
std::size_t FindInvalidUtf8(std::string_view text);

// Code points of valid UTF-8.
std::size_t CountCharacters(std::string_view text);

// `text` for a message: cut after about 60 bytes, control characters and broken UTF-8 replaced by '?'.
std::string Shown(std::string_view text);

// [a-z][a-z0-9_]{0,62}: names of migrations and of parameters.
bool IsPlainName(std::string_view text);

// The candidate that `text` was probably meant to be; empty when none is near.
std::string ClosestTo(std::string_view text, const std::vector<std::string>& candidates);

}  // namespace migrationd
