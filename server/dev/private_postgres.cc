#include "server/dev/private_postgres.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

namespace fs = std::filesystem;

struct Account {
  uid_t uid;
  gid_t gid;
};

// Whom the server runs as: nobody else than us, unless we are root.
std::optional<Account> UnprivilegedAccount() {
  if (geteuid() != 0) return std::nullopt;
  for (const char* name : {"postgres", "nobody"}) {
    passwd entry{};
    passwd* found = nullptr;
    char buffer[4096];
    if (getpwnam_r(name, &entry, buffer, sizeof(buffer), &found) == 0 && found != nullptr) {
      return Account{entry.pw_uid, entry.pw_gid};
    }
  }
  return std::nullopt;
}

// Runs a program as that account, output to `log` (appended); waits. Returns its exit status.
absl::StatusOr<int> Run(const std::vector<std::string>& command, const std::optional<Account>& account, const std::string& log) {
  std::vector<char*> argv;
  argv.reserve(command.size() + 1);
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child < 0) return absl::InternalError(absl::StrCat("fork: ", std::generic_category().message(errno)));
  if (child == 0) {
    // A session of its own: Ctrl-C in a terminal must reach migrationd only, which then stops the server in order.
    setsid();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (account.has_value() && (setgroups(0, nullptr) != 0 || setgid(account->gid) != 0 || setuid(account->uid) != 0)) _exit(126);
    const int in = open("/dev/null", O_RDONLY);
    const int out = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0640);
    if (in < 0 || out < 0 || chdir("/") != 0) _exit(126);
    dup2(in, 0);
    dup2(out, 1);
    dup2(out, 2);
    for (int fd = 3; fd < 1024; ++fd) close(fd);
    execv(argv[0], argv.data());
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return absl::InternalError(absl::StrCat("waitpid: ", std::generic_category().message(errno)));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string LastLines(const std::string& file, std::size_t bytes) {
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  if (!in) return "";
  const auto size = static_cast<std::size_t>(in.tellg());
  in.seekg(static_cast<std::streamoff>(size > bytes ? size - bytes : 0));
  return std::string(std::istreambuf_iterator<char>(in), {});
}

}  // namespace

absl::StatusOr<std::string> PrivatePostgres::FindBinaries() {
  if (const char* bin = std::getenv("MIGRATIOND_POSTGRES_BIN"); bin != nullptr && *bin != '\0') return std::string(bin);
  std::error_code error;
  int best = 0;
  std::string found;
  for (const auto& entry : fs::directory_iterator("/usr/lib/postgresql", error)) {
    const int version = std::atoi(entry.path().filename().c_str());
    if (version > best && fs::exists(entry.path() / "bin" / "initdb")) {
      best = version;
      found = entry.path() / "bin";
    }
  }
  if (!found.empty()) return found;
  for (const char* directory : {"/usr/local/pgsql/bin", "/usr/bin", "/usr/local/bin"}) {
    if (fs::exists(fs::path(directory) / "initdb", error)) return std::string(directory);
  }
  return absl::FailedPreconditionError(
      "No PostgreSQL server is installed: no initdb in /usr/lib/postgresql/*/bin. Install the package postgresql, or name its "
      "folder in MIGRATIOND_POSTGRES_BIN.");
}

PrivatePostgres::PrivatePostgres(PrivatePostgresOptions options, std::string binaries)
    : options_(std::move(options)), binaries_(std::move(binaries)) {}

absl::StatusOr<std::unique_ptr<PrivatePostgres>> PrivatePostgres::Start(const PrivatePostgresOptions& options) {
  MD_ASSIGN_OR_RETURN(std::string binaries, FindBinaries());
  PrivatePostgresOptions absolute = options;
  absolute.directory = fs::absolute(options.directory).lexically_normal().string();
  std::unique_ptr<PrivatePostgres> postgres(new PrivatePostgres(std::move(absolute), std::move(binaries)));
  MD_RETURN_IF_ERROR(postgres->Initialize());
  MD_RETURN_IF_ERROR(postgres->Launch());
  return postgres;
}

PrivatePostgres::~PrivatePostgres() {
  Stop().IgnoreError();
  // Only a link or an empty folder of ours; the data stays.
  if (!socket_directory_.empty() && socket_directory_ != options_.directory) fs::remove_all(socket_directory_);
  if (lock_ >= 0) close(lock_);
}

absl::Status PrivatePostgres::Initialize() {
  const auto account = UnprivilegedAccount();
  if (geteuid() == 0 && !account.has_value()) {
    return absl::FailedPreconditionError("PostgreSQL refuses to run as root and there is neither a user postgres nor nobody.");
  }
  std::error_code error;
  fs::create_directories(options_.directory, error);
  if (error) return absl::FailedPreconditionError(absl::StrCat("Cannot make ", options_.directory, ": ", error.message()));
  const std::string log = options_.directory + "/postgres.log";
  if (account.has_value()) {
    if (chown(options_.directory.c_str(), account->uid, account->gid) != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("Cannot give ", options_.directory, " to an unprivileged user: ", std::generic_category().message(errno)));
    }
    // The server's user must be able to reach the folder.
    for (fs::path parent = fs::path(options_.directory).parent_path(); parent != parent.root_path(); parent = parent.parent_path()) {
      struct stat info {};
      if (stat(parent.c_str(), &info) == 0 && (info.st_mode & S_IXOTH) == 0 && info.st_uid != account->uid) {
        return absl::FailedPreconditionError(
            absl::StrCat("The unprivileged user that runs PostgreSQL cannot enter ", parent.string(), "; choose another folder."));
      }
    }
  }
  // Paths of unix sockets are limited to 107 bytes, of which PostgreSQL needs some.
  socket_directory_ = options_.directory;
  if (socket_directory_.size() > 80) {
    char pattern[] = "/tmp/migrationd-XXXXXX";
    if (mkdtemp(pattern) == nullptr) return absl::InternalError("mkdtemp failed in /tmp");
    socket_directory_ = pattern;
    if (account.has_value() && chown(pattern, account->uid, account->gid) != 0) return absl::InternalError("chown failed in /tmp");
  }
  MD_RETURN_IF_ERROR(LockDirectory());
  const std::string data = options_.directory + "/data";
  if (fs::exists(data + "/PG_VERSION")) return absl::OkStatus();
  if (fs::exists(data) && !fs::is_empty(data)) {
    return absl::FailedPreconditionError(absl::StrCat(data, " is not empty and not a PostgreSQL cluster; choose another folder."));
  }
  MD_ASSIGN_OR_RETURN(const int status, Run({binaries_ + "/initdb", "--pgdata=" + data, "--username=postgres", "--auth=trust",
                                             "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"},
                                            account, log));
  if (status != 0) {
    fs::remove_all(data, error);
    return absl::InternalError(absl::StrCat("initdb failed (", status, "):\n", LastLines(log, 2000)));
  }
  return absl::OkStatus();
}

// Two processes must not stop each other's server. The lock ends with this process, however that ends.
absl::Status PrivatePostgres::LockDirectory() {
  const std::string file = options_.directory + "/lock";
  lock_ = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) return absl::FailedPreconditionError(absl::StrCat("Cannot open ", file, ": ", std::generic_category().message(errno)));
  if (flock(lock_, LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(options_.directory, " is in use by another process; stop that one, or give another folder."));
}

absl::Status PrivatePostgres::Launch() {
  const auto account = UnprivilegedAccount();
  const std::string data = options_.directory + "/data";
  const std::string log = options_.directory + "/postgres.log";
  // Left over from a process that was killed. Stopping is harmless when the file is stale.
  if (fs::exists(data + "/postmaster.pid")) {
    Run({binaries_ + "/pg_ctl", "stop", "--pgdata=" + data, "--mode=immediate", "--wait"}, account, log).status().IgnoreError();
  }
  std::vector<std::string> arguments = {"-c listen_addresses=''", absl::StrCat("-c unix_socket_directories='", socket_directory_, "'"),
                                        "-c unix_socket_permissions=0777", "-c port=5432"};
  for (const std::string& setting : options_.settings) arguments.push_back("-c " + setting);
  MD_ASSIGN_OR_RETURN(const int status,
                      Run({binaries_ + "/pg_ctl", "start", "--pgdata=" + data, "--log=" + log, "--wait", "--timeout=60", "--silent",
                           "--options=" + absl::StrJoin(arguments, " ")},
                          account, log));
  if (status != 0) return absl::InternalError(absl::StrCat("PostgreSQL in ", data, " does not start:\n", LastLines(log, 2000)));
  running_ = true;
  return absl::OkStatus();
}

std::string PrivatePostgres::Url(const std::string& database) const {
  return absl::StrCat("postgresql:///", database, "?host=", socket_directory_, "&user=postgres");
}

absl::Status PrivatePostgres::CreateDatabase(const std::string& name) {
  const std::string log = options_.directory + "/postgres.log";
  // createdb has no IF NOT EXISTS: an existing one is told by connecting to it.
  MD_ASSIGN_OR_RETURN(const int exists, Run({binaries_ + "/psql", "--no-psqlrc", "--quiet", "--dbname=" + Url(name), "--command=SELECT 1"},
                                            std::nullopt, "/dev/null"));
  if (exists == 0) return absl::OkStatus();
  MD_ASSIGN_OR_RETURN(const int status, Run({binaries_ + "/createdb", "--maintenance-db=" + Url(), name}, std::nullopt, log));
  if (status != 0) return absl::InternalError(absl::StrCat("createdb ", name, " failed:\n", LastLines(log, 1000)));
  return absl::OkStatus();
}

absl::Status PrivatePostgres::Stop(const std::string& mode) {
  if (!running_) return absl::OkStatus();
  running_ = false;
  MD_ASSIGN_OR_RETURN(const int status, Run({binaries_ + "/pg_ctl", "stop", "--pgdata=" + options_.directory + "/data",
                                             "--mode=" + mode, "--wait", "--timeout=60", "--silent"},
                                            UnprivilegedAccount(), options_.directory + "/postgres.log"));
  if (status != 0) return absl::InternalError(absl::StrCat("pg_ctl stop failed (", status, ")"));
  return absl::OkStatus();
}

absl::Status PrivatePostgres::Restart() {
  MD_RETURN_IF_ERROR(Stop());
  return Launch();
}

}  // namespace migrationd
