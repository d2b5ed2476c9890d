// migrationctl from its arguments to its exit status.
#pragma once

#include <ostream>

#include "client/cli/terminal.h"

namespace migrationctl {

// Runs the command; the answer goes to `out`, errors as one line to `err`. Returns the exit status (exit_status.h).
// Output that nobody reads any more (`| head`) is not an error.
int RunCommandLine(int argc, const char* const* argv, std::ostream& out, std::ostream& err, const Terminal& terminal);

}  // namespace migrationctl
