#include "tests/support/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/support/wait_until.h"

extern char** environ;

namespace migrationd {
namespace {

std::string ReadWhole(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

std::vector<std::string> EnvironmentOf(const ProcessOptions& options) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    // Where PostgreSQL is installed is a property of the machine, all else would be a setting that the test does not
    // know of.
    const bool ours = text.starts_with("MIGRATIOND_") || text.starts_with("MIGRATIONCTL_");
    if (!ours || text.starts_with("MIGRATIOND_POSTGRES_BIN=")) variables.push_back(text);
  }
  for (const auto& [name, value] : options.environment) variables.push_back(absl::StrCat(name, "=", value));
  return variables;
}

std::vector<char*> Pointers(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// In the child, between fork and exec: only what is safe there.
[[noreturn]] void Become(const std::vector<char*>& command, const std::vector<char*>& environment, const char* out_file,
                         const char* err_file, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(126);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int in = open("/dev/null", O_RDONLY);
  const int out = open(out_file, O_WRONLY | O_CREAT | O_APPEND, 0640);
  const int err = open(err_file, O_WRONLY | O_CREAT | O_APPEND, 0640);
  if (in < 0 || out < 0 || err < 0) _exit(126);
  dup2(in, 0);
  dup2(out, 1);
  dup2(err, 2);
  for (int fd = 3; fd < 1024; ++fd) close(fd);
  execve(command[0], command.data(), environment.data());
  _exit(127);
}

}  // namespace

TempFolder::TempFolder() {
  char pattern[] = "/tmp/migrationd-e2e-XXXXXX";
  if (mkdtemp(pattern) == nullptr) {
    std::perror("mkdtemp");
    std::abort();
  }
  path_ = pattern;
  // A server that is started as root runs PostgreSQL as another user, who must get in.
  chmod(pattern, 0755);
}

TempFolder::~TempFolder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

absl::StatusOr<std::unique_ptr<Process>> Process::Start(const ProcessOptions& options) {
  const std::vector<std::string> variables = EnvironmentOf(options);
  const std::vector<char*> command = Pointers(options.command);
  const std::vector<char*> environment = Pointers(variables);
  const std::string out = options.output_prefix + ".out";
  const std::string err = options.output_prefix + ".err";
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) return absl::InternalError(absl::StrCat("fork: ", std::generic_category().message(errno)));
  if (child == 0) Become(command, environment, out.c_str(), err.c_str(), parent);
  return std::unique_ptr<Process>(new Process(child, options.output_prefix));
}

Process::~Process() {
  if (Reap()) return;
  kill(pid_, SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Process::Signal(int signal) {
  if (!Reap()) kill(pid_, signal);
}

bool Process::Running() { return !Reap(); }

bool Process::Reap() {
  if (ended_) return true;
  int status = 0;
  const pid_t found = waitpid(pid_, &status, WNOHANG);
  if (found != pid_) return false;
  ended_ = true;
  exit_status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return true;
}

absl::StatusOr<int> Process::Wait(absl::Duration deadline) {
  if (!WaitUntil([this] { return Reap(); }, deadline)) {
    return absl::DeadlineExceededError(
        absl::StrCat("process ", pid_, " goes on after ", absl::FormatDuration(deadline)));
  }
  return exit_status_;
}

std::string Process::Out() const { return ReadWhole(output_prefix_ + ".out"); }
std::string Process::Err() const { return ReadWhole(output_prefix_ + ".err"); }

absl::StatusOr<CommandResult> RunCommand(const std::vector<std::string>& command, absl::Duration deadline) {
  TempFolder folder;
  auto process = Process::Start({.command = command, .environment = {}, .output_prefix = folder.path() + "/command"});
  if (!process.ok()) return process.status();
  const auto exit_status = (*process)->Wait(deadline);
  if (!exit_status.ok()) {
    return absl::DeadlineExceededError(absl::StrCat(absl::StrJoin(command, " "), ": no end after ",
                                                    absl::FormatDuration(deadline), "; it wrote:\n", (*process)->Out(),
                                                    (*process)->Err()));
  }
  return CommandResult{*exit_status, (*process)->Out(), (*process)->Err()};
}

}  // namespace migrationd
