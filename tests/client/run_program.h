// Runs a program as a process of its own and keeps what it says.
#pragma once

#include <string>
#include <vector>

namespace migrationctl {

struct ProgramResult {
  int exit_status = -1;  // -1: ended by a signal
  std::string out;
  std::string err;
};

struct ProgramOptions {
  std::vector<std::string> environment;  // NAME=VALUE, besides PATH
  // Standard output is a terminal of 100 columns; standard error is still kept apart.
  bool terminal = false;
  // Standard output is closed by its reader before the program writes.
  bool closed_output = false;
  // Standard output is this file.
  std::string output_file;
};

// Waits for its end, at most a minute; then it is killed.
ProgramResult RunProgram(const std::vector<std::string>& arguments, const ProgramOptions& options = {});

}  // namespace migrationctl
