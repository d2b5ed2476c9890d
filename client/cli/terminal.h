// What standard output is connected to.
#pragma once

#include <cstddef>
#include <string>

namespace migrationctl {

struct Terminal {
  // A terminal that understands escape sequences: lines may be redrawn in place.
  bool interactive = false;
  // Colours are wanted, too (NO_COLOR is not set).
  bool colour = false;
  std::size_t columns = 80;
  std::size_t rows = 24;
};

// Of this process' standard output, now: a window may have changed its size.
Terminal DetectTerminal();

// Standard output is a pipe or socket whose other end is closed.
bool OutputReaderIsGone();

enum class Style { kPlain, kGood, kWarning, kBad, kBold };

// The text between the escape sequences of the style, where colours are wanted.
std::string Styled(const std::string& text, Style style, const Terminal& terminal);

}  // namespace migrationctl
