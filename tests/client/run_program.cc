#include "tests/client/run_program.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <stdexcept>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace migrationctl {
namespace {

constexpr absl::Duration kLongestRun = absl::Minutes(1);

struct Pipe {
  int read_end = -1;
  int write_end = -1;
};

Pipe OpenOutput(const ProgramOptions& options) {
  Pipe result;
  if (options.terminal) {
    winsize size{};
    size.ws_col = 100;
    size.ws_row = 24;
    if (openpty(&result.read_end, &result.write_end, nullptr, nullptr, &size) != 0)
      throw std::runtime_error("openpty failed");
    return result;
  }
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0) throw std::runtime_error("pipe failed");
  result = {ends[0], ends[1]};
  if (!options.output_file.empty()) {
    close(result.write_end);
    result.write_end = open(options.output_file.c_str(), O_WRONLY | O_CLOEXEC);
  }
  return result;
}

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

ProgramResult RunProgram(const std::vector<std::string>& arguments, const ProgramOptions& options) {
  const Pipe out = OpenOutput(options);
  const Pipe err = OpenOutput({});
  if (options.closed_output) close(out.read_end);
  std::vector<std::string> environment = options.environment;
  environment.emplace_back("PATH=/usr/local/bin:/usr/bin:/bin");
  // Under the thread sanitizer the program needs the suppressions too, or it ends with the sanitizer's status.
  if (const char* tsan = std::getenv("TSAN_OPTIONS")) environment.push_back(std::string("TSAN_OPTIONS=") + tsan);
  const std::vector<char*> argument_pointers = Pointers(arguments);
  const std::vector<char*> environment_pointers = Pointers(environment);
  const pid_t child = fork();
  if (child == 0) {
    // Only calls that are safe after fork in a process with threads.
    dup2(out.write_end, STDOUT_FILENO);
    dup2(err.write_end, STDERR_FILENO);
    for (int descriptor = 3; descriptor < 256; ++descriptor) close(descriptor);
    execve(argument_pointers[0], argument_pointers.data(), environment_pointers.data());
    _exit(127);
  }
  close(out.write_end);
  close(err.write_end);
  ProgramResult result;
  std::array<pollfd, 2> inputs = {pollfd{options.closed_output ? -1 : out.read_end, POLLIN, 0},
                                  pollfd{err.read_end, POLLIN, 0}};
  const absl::Time deadline = absl::Now() + kLongestRun;
  while ((inputs[0].fd >= 0 || inputs[1].fd >= 0) && absl::Now() < deadline) {
    poll(inputs.data(), inputs.size(), 100);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].fd < 0 || inputs[i].revents == 0) continue;
      std::array<char, 4096> buffer{};
      // 0: the end. A terminal says EIO instead.
      const ssize_t count = read(inputs[i].fd, buffer.data(), buffer.size());
      if (count <= 0) {
        inputs[i].fd = -1;
      } else {
        (i == 0 ? result.out : result.err).append(buffer.data(), static_cast<std::size_t>(count));
      }
    }
  }
  if (absl::Now() >= deadline) kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  if (!options.closed_output) close(out.read_end);
  close(err.read_end);
  result.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

}  // namespace migrationctl
