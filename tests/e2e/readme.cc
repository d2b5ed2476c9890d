#include "tests/e2e/readme.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"

namespace migrationd {

std::string ReadmeSql(const std::string& heading) {
  std::ifstream file(README);
  std::stringstream stream;
  stream << file.rdbuf();
  const std::string text = stream.str();
  const std::string begin = absl::StrCat("```sql\n-- ", heading, "\n");
  const std::size_t at = text.find(begin);
  const std::size_t end = at == std::string::npos ? at : text.find("\n```\n", at);
  if (end == std::string::npos || text.find(begin, end) != std::string::npos) {
    ADD_FAILURE() << "README.md has not exactly one SQL block that begins with: -- " << heading;
    return "";
  }
  return text.substr(at + 7, end + 1 - (at + 7));
}

}  // namespace migrationd
