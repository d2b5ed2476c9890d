#include "tests/targets/pgbouncer.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <pqxx/pqxx>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/support/temp_postgres.h"

namespace migrationd {
namespace {

constexpr char kProgram[] = "/usr/sbin/pgbouncer";
constexpr int kPort = 6432;  // of the socket's name only

void Require(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  std::abort();
}

bool Listens(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  Require(path.size() < sizeof(address.sun_path), "the path of the socket is too long");
  std::memcpy(address.sun_path, path.c_str(), path.size());
  const int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  Require(descriptor >= 0, "socket");
  const bool listens = connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  close(descriptor);
  return listens;
}

}  // namespace

bool PgBouncer::Installed() { return access(kProgram, X_OK) == 0; }

PgBouncer::PgBouncer() {
  char pattern[] = "/tmp/pgbouncer-XXXXXX";
  Require(mkdtemp(pattern) != nullptr, "mkdtemp");
  directory_ = pattern;
  const std::string config = directory_ + "/pgbouncer.ini";
  std::ofstream(config) << "[databases]\n* = host=" << TestCluster().socket_directory() << " user=postgres\n"
                        << "[pgbouncer]\nlisten_addr =\nlisten_port = " << kPort << "\nunix_socket_dir = " << directory_
                        << "\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 200\n"
                        << "ignore_startup_parameters = extra_float_digits\nlogfile = " << directory_
                        << "/log\npidfile = " << directory_ << "/pid\n";
  const passwd* account = geteuid() == 0 ? getpwnam("postgres") : nullptr;
  if (account != nullptr) {
    Require(chown(directory_.c_str(), account->pw_uid, account->pw_gid) == 0, "chown");
    Require(chown(config.c_str(), account->pw_uid, account->pw_gid) == 0, "chown");
  }
  pid_ = fork();
  Require(pid_ >= 0, "fork");
  if (pid_ == 0) {
    if (account != nullptr &&
        (setgroups(0, nullptr) != 0 || setgid(account->pw_gid) != 0 || setuid(account->pw_uid) != 0)) {
      _exit(126);
    }
    const int null = open("/dev/null", O_RDWR);
    for (const int descriptor : {0, 1, 2}) dup2(null, descriptor);
    for (int descriptor = 3; descriptor < 1024; ++descriptor) close(descriptor);
    execl(kProgram, kProgram, config.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  // The file is there a moment before anybody listens.
  for (int i = 0; !Listens(absl::StrCat(directory_, "/.s.PGSQL.", kPort)); ++i) {
    Require(i < 3000, "PgBouncer does not start");
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

PgBouncer::~PgBouncer() {
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
  std::error_code error;
  std::filesystem::remove_all(directory_, error);
}

std::string PgBouncer::UrlFor(const std::string& url) const {
  pqxx::connection direct(url);
  return absl::StrCat("postgresql:///", direct.dbname(), "?host=", directory_, "&port=", kPort, "&user=postgres");
}

PgBouncer& SharedPgBouncer() {
  // The cluster must outlive it.
  TestCluster();
  static PgBouncer pgbouncer;
  return pgbouncer;
}

}  // namespace migrationd
