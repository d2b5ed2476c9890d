#include "server/rpc/listen_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace migrationd {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

struct HostPort {
  std::string host;
  std::string port;
};

HostPort Split(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  HostPort split{address.substr(0, colon), address.substr(colon + 1)};
  if (split.host.size() > 2 && split.host.front() == '[' && split.host.back() == ']') {
    split.host = split.host.substr(1, split.host.size() - 2);
  }
  return split;
}

absl::Status CannotListen(const std::string& address, const std::string& why) {
  return absl::UnavailableError(absl::StrCat("cannot listen on ", address, ": ", why, "."));
}

std::string ErrorText(int error) { return std::error_code(error, std::generic_category()).message(); }

absl::Status ExplainUnix(const std::string& address) {
  const std::filesystem::path path = address.substr(kUnixPrefix.size());
  if (path.native().size() >= sizeof(sockaddr_un::sun_path)) {
    return CannotListen(address, absl::StrCat("the path has ", path.native().size(), " bytes; expected fewer than ",
                                              sizeof(sockaddr_un::sun_path)));
  }
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error))
    return CannotListen(address, absl::StrCat("there is no folder ", folder.native()));
  if (access(folder.c_str(), W_OK) != 0)
    return CannotListen(address, absl::StrCat(folder.native(), ": ", ErrorText(errno)));
  return CannotListen(address, "the socket cannot be made");
}

// 0, or errno of socket or bind.
int TryBind(const addrinfo& info) {
  const int fd = socket(info.ai_family, info.ai_socktype | SOCK_CLOEXEC, info.ai_protocol);
  if (fd < 0) return errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const int bound = bind(fd, info.ai_addr, info.ai_addrlen) == 0 && listen(fd, 1) == 0 ? 0 : errno;
  close(fd);
  return bound;
}

}  // namespace

absl::Status CheckListenAddress(const std::string& address) {
  if (absl::StartsWith(address, "unix:")) {
    if (address.size() > kUnixPrefix.size()) return absl::OkStatus();
    return absl::InvalidArgumentError("listen: \"unix:\" names no path; expected unix:/path/of/socket.");
  }
  const std::size_t colon = address.rfind(':');
  const HostPort split = Split(address);
  int port = -1;
  if (colon == std::string::npos || split.host.empty() || !absl::SimpleAtoi(split.port, &port) || port < 0 ||
      port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("listen: \"", address,
                     "\" is no address; expected host:port, such as 127.0.0.1:50051, or unix:/path/of/socket."));
  }
  return absl::OkStatus();
}

absl::Status ExplainBindFailure(const std::string& address) {
  if (absl::StartsWith(address, "unix:")) return ExplainUnix(address);
  const HostPort split = Split(address);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int resolved = getaddrinfo(split.host.c_str(), split.port.c_str(), &hints, &found);
  if (resolved != 0) return CannotListen(address, gai_strerror(resolved));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    if (const int error = TryBind(*info); error != 0) return CannotListen(address, ErrorText(error));
  }
  return CannotListen(address, "it was taken a moment ago; try again");
}

}  // namespace migrationd
