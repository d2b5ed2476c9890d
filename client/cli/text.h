// Text on its way to a terminal: what servers and databases say is not to be trusted with it.
#pragma once

#include <cstddef>
#include <string>

namespace migrationctl {

// One line that is safe to print: control characters (also of C1 and for text direction) and bytes that are not UTF-8
// become visible escapes, `\n`, `\t`, `\x1b`, `\u202e`.
std::string Printable(const std::string& text);

// The same for text of several lines: line ends stay.
std::string PrintableLines(const std::string& text);

// Columns that printable UTF-8 text takes on a terminal: combining characters take none, wide ones two.
std::size_t DisplayWidth(const std::string& text);

// The longest beginning that takes at most `columns`; when something is cut off, it ends with `~`.
std::string CutToWidth(const std::string& text, std::size_t columns);

// With spaces behind it to `columns`.
std::string PadToWidth(const std::string& text, std::size_t columns);

}  // namespace migrationctl
