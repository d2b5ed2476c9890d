// Child processes for end-to-end tests: started, watched, signalled, and never left behind.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace migrationd {

// A folder of one's own in /tmp, removed with everything in it at the end.
class TempFolder {
 public:
  // Aborts the program when it cannot be made.
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct ProcessOptions {
  // The program's file (no search in PATH) and its arguments.
  std::vector<std::string> command;
  // Added to the environment of the test, from which all MIGRATIOND_* and MIGRATIONCTL_* are taken out.
  std::vector<std::pair<std::string, std::string>> environment;
  // Where stdout and stderr go, appended: PREFIX.out and PREFIX.err.
  std::string output_prefix;
};

// For one thread at a time. Start it from a thread that lives as long as it: the kernel kills the child when that
// thread ends, so that a test that is killed leaves no server behind.
class Process {
 public:
  static absl::StatusOr<std::unique_ptr<Process>> Start(const ProcessOptions& options);
  // SIGKILL unless it has ended.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  // Does nothing once the process has ended and was waited for.
  void Signal(int signal);
  bool Running();
  // The exit status, or 128 + the signal that ended it. DEADLINE_EXCEEDED when it goes on for longer than that.
  absl::StatusOr<int> Wait(absl::Duration deadline);

  // What it has written so far.
  std::string Out() const;
  std::string Err() const;

 private:
  Process(pid_t pid, std::string output_prefix) : pid_(pid), output_prefix_(std::move(output_prefix)) {}
  // Asks the kernel without waiting; true once it has ended.
  bool Reap();

  const pid_t pid_;
  const std::string output_prefix_;
  bool ended_ = false;
  int exit_status_ = 0;
};

struct CommandResult {
  int exit_status = 0;
  std::string out;
  std::string err;
};

// Runs a program to its end. DEADLINE_EXCEEDED: it took longer and was killed.
absl::StatusOr<CommandResult> RunCommand(const std::vector<std::string>& command,
                                         absl::Duration deadline = absl::Seconds(60));

}  // namespace migrationd
