#include "client/cli/definition_file.h"

#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace migrationctl {
namespace {

constexpr std::size_t kLargest = std::size_t{256} * 1024;

}  // namespace

absl::StatusOr<std::string> ReadDefinitionFile(const std::string& path) {
  const auto refuse = [&](const std::string& why) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": ", why));
  };
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    return refuse("is a folder; name its files, for example with *.yaml");
  std::ifstream file(path, std::ios::binary);
  if (!file) return refuse(std::generic_category().message(errno));
  // One byte more than allowed tells a large file apart, without reading all of it.
  std::string content(kLargest + 1, '\0');
  file.read(content.data(), static_cast<std::streamsize>(content.size()));
  if (file.bad()) return refuse("cannot be read to its end");
  content.resize(static_cast<std::size_t>(file.gcount()));
  if (content.size() > kLargest) return refuse("is larger than a definition may be (256 KiB)");
  return content;
}

std::string BaseName(const std::string& path) { return std::filesystem::path(path).filename().string(); }

}  // namespace migrationctl
