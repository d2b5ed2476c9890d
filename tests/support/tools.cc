#include "tests/support/tools.h"

#include <unistd.h>

#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace migrationd {

std::string FindTool(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::vector<std::string> folders = absl::StrSplit(path == nullptr ? "" : path, ':');
  folders.insert(folders.begin(), TOOLS_BUILT);
  for (const std::string& folder : folders) {
    const std::string file = absl::StrCat(folder, "/", name);
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

bool ToolsAreRequired() {
  const char* required = std::getenv("REQUIRE_TOOLS");
  return required != nullptr && std::string(required) == "1";
}

}  // namespace migrationd
