#include "client/cli/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace migrationctl {
namespace {

// Empty when not set.
std::string Environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing here changes the environment
  return value == nullptr ? "" : value;
}

}  // namespace

Terminal DetectTerminal() {
  Terminal terminal;
  const std::string kind = Environment("TERM");
  terminal.interactive = isatty(STDOUT_FILENO) == 1 && !kind.empty() && kind != "dumb";
  terminal.colour = terminal.interactive && Environment("NO_COLOR").empty();
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
    terminal.columns = size.ws_col;
    terminal.rows = size.ws_row;
  }
  return terminal;
}

bool OutputReaderIsGone() {
  pollfd output{STDOUT_FILENO, POLLOUT, 0};
  return poll(&output, 1, 0) == 1 && (output.revents & (POLLERR | POLLHUP)) != 0;
}

std::string Styled(const std::string& text, Style style, const Terminal& terminal) {
  if (!terminal.colour) return text;
  switch (style) {
    case Style::kGood:
      return absl::StrCat("\x1b[32m", text, "\x1b[0m");
    case Style::kWarning:
      return absl::StrCat("\x1b[33m", text, "\x1b[0m");
    case Style::kBad:
      return absl::StrCat("\x1b[31m", text, "\x1b[0m");
    case Style::kBold:
      return absl::StrCat("\x1b[1m", text, "\x1b[0m");
    case Style::kPlain:
      break;
  }
  return text;
}

}  // namespace migrationctl
