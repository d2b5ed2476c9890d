#include <csignal>
#include <cstdlib>
#include <iostream>

#include "client/cli/command_line.h"

int main(int argc, char** argv) {
  // A reader that goes away is seen as a failed write, so that a watch ends quietly.
  std::signal(SIGPIPE, SIG_IGN);
  // gRPC's own log would repeat on many lines what the error line says. There is no other thread yet.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);  // NOLINT(concurrency-mt-unsafe)
  std::ios::sync_with_stdio(false);
  return migrationctl::RunCommandLine(argc, argv, std::cout, std::cerr, migrationctl::DetectTerminal());
}
