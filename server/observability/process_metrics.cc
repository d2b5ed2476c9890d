#include "server/observability/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "server/observability/metric_families.h"

namespace migrationd {
namespace {

std::string ReadAll(const char* path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// The fields of /proc/self/stat behind the program's name, which may hold anything: field 3 of proc(5) comes first.
std::vector<std::string> StatFields() {
  const std::string text = ReadAll("/proc/self/stat");
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return {};
  return absl::StrSplit(absl::string_view(text).substr(name_end + 1), ' ', absl::SkipWhitespace());
}

// Field `number` of proc(5).
std::optional<double> Field(const std::vector<std::string>& fields, std::size_t number) {
  double value = 0;
  if (number < 3 || number - 3 >= fields.size() || !absl::SimpleAtod(fields[number - 3], &value)) return std::nullopt;
  return value;
}

// "btime N" of /proc/stat: when the machine started, Unix time.
std::optional<double> BootTime() {
  std::ifstream in("/proc/stat");
  std::string word;
  for (std::string line; std::getline(in, line);) {
    std::istringstream parts(line);
    double value = 0;
    if (parts >> word >> value && word == "btime") return value;
  }
  return std::nullopt;
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessMetrics() {
  std::vector<prometheus::MetricFamily> families;
  const auto add = [&](const char* name, std::optional<double> value) {
    SampleFamily family(name);
    if (value.has_value()) family.Add({}, *value);
    families.push_back(std::move(family).Take());
  };
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  const std::vector<std::string> fields = StatFields();
  const auto user = Field(fields, 14);
  const auto system = Field(fields, 15);
  add("process_cpu_seconds_total", user.has_value() && system.has_value() ? std::optional<double>((*user + *system) / ticks) : std::nullopt);
  add("process_threads", Field(fields, 20));
  const auto started = Field(fields, 22);
  const auto boot = BootTime();
  add("process_start_time_seconds", started.has_value() && boot.has_value() ? std::optional<double>(*boot + *started / ticks) : std::nullopt);
  add("process_virtual_memory_bytes", Field(fields, 23));
  const auto pages = Field(fields, 24);
  add("process_resident_memory_bytes",
      pages.has_value() ? std::optional<double>(*pages * static_cast<double>(sysconf(_SC_PAGESIZE))) : std::nullopt);
  std::error_code error;
  const std::filesystem::directory_iterator open_files("/proc/self/fd", error);
  add("process_open_fds",
      error ? std::nullopt : std::optional<double>(static_cast<double>(std::distance(begin(open_files), end(open_files)))));
  rlimit limit = {};
  add("process_max_fds", getrlimit(RLIMIT_NOFILE, &limit) == 0 ? std::optional<double>(static_cast<double>(limit.rlim_cur)) : std::nullopt);
  return families;
}

}  // namespace migrationd
