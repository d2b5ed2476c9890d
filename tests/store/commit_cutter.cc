#include "tests/store/commit_cutter.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "tests/support/temp_postgres.h"

namespace migrationd {
namespace {

constexpr std::string_view kSocketName = ".s.PGSQL.5432";

sockaddr_un Address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof(address.sun_path), "%s", path.c_str());
  return address;
}

void Require(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  std::abort();
}

bool SendAll(int socket, const char* data, ssize_t size) {
  while (size > 0) {
    const ssize_t sent = send(socket, data, static_cast<std::size_t>(size), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data += sent;
    size -= sent;
  }
  return true;
}

}  // namespace

CommitCutter::CommitCutter() {
  char pattern[] = "/tmp/commit-cutter-XXXXXX";
  Require(mkdtemp(pattern) != nullptr, "mkdtemp");
  directory_ = pattern;
  listener_ = socket(AF_UNIX, SOCK_STREAM, 0);
  const sockaddr_un address = Address(absl::StrCat(directory_, "/", std::string(kSocketName)));
  Require(bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0, "bind");
  Require(listen(listener_, 16) == 0, "listen");
  Require(pipe(stop_pipe_) == 0, "pipe");
  thread_ = std::thread([this] { Run(); });
}

CommitCutter::~CommitCutter() {
  close(stop_pipe_[1]);
  thread_.join();
  close(stop_pipe_[0]);
  close(listener_);
  std::filesystem::remove_all(directory_);
}

std::string CommitCutter::Url(const std::string& database) const {
  return absl::StrCat("postgresql:///", database, "?host=", directory_, "&user=postgres&port=5432");
}

void CommitCutter::Run() {
  while (true) {
    std::vector<pollfd> watched = {{stop_pipe_[0], POLLIN, 0}, {listener_, POLLIN, 0}};
    for (const Pair& pair : pairs_) {
      watched.push_back({pair.client, POLLIN, 0});
      watched.push_back({pair.server, POLLIN, 0});
    }
    Require(poll(watched.data(), watched.size(), -1) > 0, "poll");
    std::vector<Pair> going_on;
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      Pair pair = pairs_[i];
      const bool client_ready = watched[2 + 2 * i].revents != 0;
      const bool server_ready = watched[3 + 2 * i].revents != 0;
      if ((!client_ready || FromClient(pair)) && (!server_ready || FromServer(pair))) {
        going_on.push_back(pair);
      } else {
        close(pair.client);
        close(pair.server);
      }
    }
    pairs_ = going_on;
    if (watched[0].revents != 0) break;
    if (watched[1].revents != 0) Accept();
  }
  for (const Pair& pair : pairs_) {
    close(pair.client);
    close(pair.server);
  }
}

void CommitCutter::Accept() {
  Pair pair{.client = accept(listener_, nullptr, nullptr), .server = socket(AF_UNIX, SOCK_STREAM, 0)};
  const sockaddr_un address = Address(absl::StrCat(TestCluster().socket_directory(), "/", std::string(kSocketName)));
  Require(connect(pair.server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0, "connect");
  pairs_.push_back(pair);
}

bool CommitCutter::FromClient(Pair& pair) {
  char buffer[65536];
  const ssize_t size = recv(pair.client, buffer, sizeof(buffer), 0);
  if (size <= 0) return false;
  // The command alone: "READ COMMITTED" goes on after these letters.
  if (std::string_view(buffer, static_cast<std::size_t>(size)).find(std::string_view("COMMIT\0", 7)) !=
          std::string_view::npos &&
      armed_.exchange(false)) {
    pair.cut = true;
  }
  return SendAll(pair.server, buffer, size);
}

bool CommitCutter::FromServer(Pair& pair) {
  char buffer[65536];
  const ssize_t size = recv(pair.server, buffer, sizeof(buffer), 0);
  if (pair.cut) ++fired_;
  return size > 0 && !pair.cut && SendAll(pair.client, buffer, size);
}

}  // namespace migrationd
