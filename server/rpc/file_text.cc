#include "server/rpc/file_text.h"

#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace migrationd {
namespace {

constexpr std::size_t kBytesMax = std::size_t{4} * 1024 * 1024;

absl::StatusCode CodeOf(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR: return absl::StatusCode::kNotFound;
    case EISDIR: return absl::StatusCode::kInvalidArgument;
    case EACCES: return absl::StatusCode::kPermissionDenied;
    default: return absl::StatusCode::kUnavailable;
  }
}

}  // namespace

absl::StatusOr<std::string> ReadFileText(const std::string& path) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::string text(kBytesMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in.is_open() || in.bad()) {
    return absl::Status(CodeOf(errno), absl::StrCat(path, " cannot be read: ", errno == 0 ? "input error" : std::strerror(errno), "."));
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > kBytesMax) return absl::ResourceExhaustedError(absl::StrCat(path, " is larger than 4 MiB."));
  return text;
}

}  // namespace migrationd
