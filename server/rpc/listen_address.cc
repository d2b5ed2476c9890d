#include "server/rpc/listen_address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";
// Connections that wait for the thread that takes them.
constexpr int kBacklog = 128;

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

// A bound socket, or minus errno.
int Bind(int family, const sockaddr* address, socklen_t length) {
  const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  const int on = 1;
  const int off = 0;
  // Connections of a process before this one may still be winding down. Not SO_REUSEPORT: two servers that are given one port by mistake
  // would share its connections in silence.
  if (family != AF_UNIX) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (bind(fd, address, length) == 0 && listen(fd, kBacklog) == 0) return fd;
  const int error = errno;
  close(fd);
  return -error;
}

int PortOf(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  return address.ss_family == AF_INET6 ? ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port) : 0;
}

void SetPort(sockaddr_storage& address, int port) {
  if (address.ss_family == AF_INET) reinterpret_cast<sockaddr_in&>(address).sin_port = htons(static_cast<std::uint16_t>(port));
  if (address.ss_family == AF_INET6) reinterpret_cast<sockaddr_in6&>(address).sin6_port = htons(static_cast<std::uint16_t>(port));
}

// Whether somebody accepts connections there.
bool Answers(const sockaddr_un& name) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const bool answers = fd >= 0 && (connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0 || errno == EAGAIN);
  if (fd >= 0) close(fd);
  return answers;
}

absl::StatusOr<BoundSockets> BindUnix(const std::string& address) {
  const std::filesystem::path path = address.substr(kUnixPrefix.size());
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.native().size() >= sizeof(name.sun_path)) {
    return CannotListen(address, absl::StrCat("the path has ", path.native().size(), " bytes; expected fewer than ", sizeof(name.sun_path)));
  }
  std::memcpy(name.sun_path, path.c_str(), path.native().size());
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) return CannotListen(address, absl::StrCat("there is no folder ", folder.native()));
  struct stat there {};
  if (lstat(path.c_str(), &there) == 0 && S_ISSOCK(there.st_mode)) {
    if (Answers(name)) return CannotListen(address, "another process serves there");
    unlink(path.c_str());
  }
  const int fd = Bind(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof(name));
  if (fd < 0) return CannotListen(address, ErrorText(-fd));
  return BoundSockets{.descriptors = {fd}, .port = 0};
}

// What the host stands for.
absl::StatusOr<std::vector<sockaddr_storage>> Addresses(const std::string& address) {
  const HostPort split = Split(address);
  // As gRPC does: every address of the machine, whichever family it has.
  const std::string host = split.host == "0.0.0.0" && std::filesystem::exists("/proc/net/if_inet6") ? "::" : split.host;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int resolved = getaddrinfo(host.c_str(), split.port.c_str(), &hints, &found);
  if (resolved != 0) return CannotListen(address, gai_strerror(resolved));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
  std::vector<sockaddr_storage> addresses;
  for (const addrinfo* info = found; info != nullptr; info = info->ai_next) {
    sockaddr_storage one{};
    std::memcpy(&one, info->ai_addr, info->ai_addrlen);
    addresses.push_back(one);
  }
  return addresses;
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

absl::StatusOr<BoundSockets> BindSockets(const std::string& address) {
  MD_RETURN_IF_ERROR(CheckListenAddress(address));
  if (absl::StartsWith(address, "unix:")) return BindUnix(address);
  MD_ASSIGN_OR_RETURN(std::vector<sockaddr_storage> addresses, Addresses(address));
  BoundSockets bound;
  int missing = 0;
  for (sockaddr_storage& one : addresses) {
    if (bound.port != 0) SetPort(one, bound.port);
    const int fd = Bind(one.ss_family, reinterpret_cast<const sockaddr*>(&one), sizeof(one));
    if (fd >= 0) {
      bound.descriptors.push_back(fd);
      bound.port = PortOf(fd);
      continue;
    }
    missing = -fd;
    // localhost has an IPv6 address on machines that do not: the others will do. Not when somebody else has the port.
    if (missing == EADDRNOTAVAIL || missing == EAFNOSUPPORT) continue;
    std::for_each(bound.descriptors.begin(), bound.descriptors.end(), [](int open) { close(open); });
    return CannotListen(address, ErrorText(missing));
  }
  if (bound.descriptors.empty()) return CannotListen(address, ErrorText(missing));
  return bound;
}

}  // namespace migrationd
