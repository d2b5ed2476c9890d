#include "tests/benchmarks/resident.h"

#include <fstream>

namespace migrationd {

std::int64_t ResidentKb(const std::string& process) {
  std::ifstream in("/proc/" + process + "/status");
  for (std::string word; in >> word;) {
    std::int64_t kb = 0;
    if (word == "VmRSS:" && in >> kb) return kb;
  }
  return 0;
}

}  // namespace migrationd
