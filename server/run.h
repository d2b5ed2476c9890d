// The whole service as a function, for programs that bring native classes of their own. Installed as migrationd/run.h.
#pragma once

namespace migrationd {

class NativeRegistry;

// What `migrationd` does: reads options from arguments, environment and file, serves until SIGTERM or SIGINT, and returns the exit status.
// Call it first in main(), on the main thread, once: it blocks the signals that it waits for, before any thread exists. `natives` outlives
// the call; when its status() is not OK, the status goes to stderr and the result is 78 (a bad configuration).
int RunMigrationd(int argc, char** argv, const NativeRegistry& natives);

}  // namespace migrationd
