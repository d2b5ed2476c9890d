#include "tests/targets/answer_cutter.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <pqxx/pqxx>

#include "absl/strings/str_cat.h"
#include "tests/support/temp_postgres.h"

namespace migrationd {
namespace {

constexpr char kSocketName[] = "/.s.PGSQL.5432";

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

AnswerCutter::AnswerCutter() {
  char pattern[] = "/tmp/answer-cutter-XXXXXX";
  Require(mkdtemp(pattern) != nullptr, "mkdtemp");
  directory_ = pattern;
  listener_ = socket(AF_UNIX, SOCK_STREAM, 0);
  const sockaddr_un address = Address(directory_ + kSocketName);
  Require(bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0, "bind");
  Require(listen(listener_, 16) == 0, "listen");
  Require(pipe(stop_pipe_) == 0, "pipe");
  thread_ = std::thread([this] { Run(); });
}

AnswerCutter::~AnswerCutter() {
  close(stop_pipe_[1]);
  thread_.join();
  close(stop_pipe_[0]);
  close(listener_);
  std::error_code error;
  std::filesystem::remove_all(directory_, error);
}

std::string AnswerCutter::UrlFor(const std::string& url) const {
  pqxx::connection direct(url);
  return absl::StrCat("postgresql:///", direct.dbname(), "?host=", directory_, "&user=postgres");
}

void AnswerCutter::Accept() {
  const int client = accept(listener_, nullptr, nullptr);
  if (client < 0) return;
  const int server = socket(AF_UNIX, SOCK_STREAM, 0);
  const sockaddr_un address = Address(TestCluster().socket_directory() + kSocketName);
  if (connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    close(client);
    close(server);
    return;
  }
  pairs_.push_back({client, server});
}

bool AnswerCutter::FromClient(Pair& pair) {
  char buffer[65536];
  const ssize_t got = recv(pair.client, buffer, sizeof(buffer), 0);
  if (got <= 0) return false;
  const Cut cut = armed_.exchange(Cut::kNothing);
  if (cut == Cut::kRequest) return false;
  pair.cutting = pair.cutting || cut == Cut::kAnswer;
  return SendAll(pair.server, buffer, got);
}

bool AnswerCutter::FromServer(const Pair& pair) {
  char buffer[65536];
  const ssize_t got = recv(pair.server, buffer, sizeof(buffer), 0);
  // The server answers once the message is done to its end (one flush at ReadyForQuery), so it has committed by now.
  return got > 0 && !pair.cutting && SendAll(pair.client, buffer, got);
}

void AnswerCutter::Run() {
  while (true) {
    std::vector<pollfd> descriptors = {{stop_pipe_[0], POLLIN, 0}, {listener_, POLLIN, 0}};
    for (const Pair& pair : pairs_) {
      descriptors.push_back({pair.client, POLLIN, 0});
      descriptors.push_back({pair.server, POLLIN, 0});
    }
    if (poll(descriptors.data(), descriptors.size(), -1) < 0) continue;
    if (descriptors[0].revents != 0) break;
    for (std::size_t i = pairs_.size(); i-- > 0;) {
      bool goes_on = true;
      if (descriptors[2 + 2 * i].revents != 0) goes_on = FromClient(pairs_[i]);
      if (goes_on && descriptors[3 + 2 * i].revents != 0) goes_on = FromServer(pairs_[i]);
      if (goes_on) continue;
      close(pairs_[i].client);
      close(pairs_[i].server);
      pairs_.erase(pairs_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (descriptors[1].revents != 0) Accept();
  }
  for (const Pair& pair : pairs_) {
    close(pair.client);
    close(pair.server);
  }
}

}  // namespace migrationd
