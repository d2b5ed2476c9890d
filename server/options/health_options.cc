#include "server/options/health_options.h"

#include <yaml-cpp/yaml.h>

#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "migrations/definition/scalar_forms.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

constexpr char kOff[] = "off";
constexpr std::size_t kReplicasMax = 100;

absl::Status Bad(const std::string& file, const YAML::Node& node, const std::string& key, const std::string& message) {
  return absl::InvalidArgumentError(absl::StrCat(file, ":", node.Mark().line + 1, ":", node.Mark().column + 1, ": ", key, ": ", message));
}

// From `least` to an hour.
absl::StatusOr<absl::Duration> ReadDuration(const std::string& file, const std::string& key, const YAML::Node& node, absl::Duration least) {
  absl::Duration duration;
  const bool read = node.IsScalar() && absl::ParseDuration(node.Scalar(), &duration);
  if (read && duration >= least && duration <= absl::Hours(1)) return duration;
  return Bad(file, node, key, absl::StrCat("expected a duration from ", absl::FormatDuration(least), " to 1h."));
}

// In the signal's unit; nullopt: not one.
std::optional<double> ParseLimit(const SignalInfo& info, const std::string& text) {
  if (info.unit == "s") {
    absl::Duration duration;
    if (!absl::ParseDuration(text, &duration)) return std::nullopt;
    return absl::ToDoubleSeconds(duration);
  }
  if (info.unit == "bytes" || info.unit == "bytes/s") {
    const auto size = ParseSizeText(text);
    if (!size.ok()) return std::nullopt;
    return static_cast<double>(*size);
  }
  double number = 0;
  if (!absl::SimpleAtod(text, &number) || !std::isfinite(number)) return std::nullopt;
  return number;
}

std::string Expected(const SignalInfo& info) {
  const std::string form = info.unit == "s"                                         ? "a duration like 30s"
                           : info.unit == "bytes" || info.unit == "bytes/s" ? "a size like 256MiB"
                                                                            : "a number";
  return absl::StrCat("expected ", form, " above 0, or off.");
}

absl::Status ReadLimits(const std::string& file, const std::string& key, const YAML::Node& node, HealthLimits& health) {
  if (!node.IsMap()) return Bad(file, node, key, "expected a map of signals to limits.");
  for (const auto& entry : node) {
    const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "";
    const auto signal = ParseSignal(name);
    if (!signal.has_value()) {
      return Bad(file, entry.first, absl::StrCat(key, ".", name),
                 absl::StrCat("is no signal; expected one of ", absl::StrJoin(kAllSignals, ", ", [](std::string* out, Signal known) {
                                out->append(SignalName(known));
                              }), "."));
    }
    const SignalInfo& info = InfoOf(*signal);
    const std::string text = entry.second.IsScalar() ? entry.second.Scalar() : "";
    if (text == kOff) {
      health.configured[*signal] = std::nullopt;
      continue;
    }
    const std::optional<double> limit = ParseLimit(info, text);
    if (!limit.has_value() || *limit <= 0) return Bad(file, entry.second, absl::StrCat(key, ".", name), Expected(info));
    health.configured[*signal] = limit;
  }
  return absl::OkStatus();
}

absl::Status ReadReplicas(const std::string& file, const std::string& key, const YAML::Node& node, std::vector<std::string>& names) {
  if (!node.IsSequence() || node.size() > kReplicasMax) return Bad(file, node, key, "expected a list of at most 100 application_names.");
  names.clear();
  for (const auto& replica : node) {
    if (!replica.IsScalar() || replica.Scalar().empty()) return Bad(file, replica, key, "expected the application_name of a replica.");
    names.push_back(replica.Scalar());
  }
  return absl::OkStatus();
}

std::string LimitText(const SignalInfo& info, double limit) {
  if (info.unit == "s") return absl::FormatDuration(absl::Seconds(limit));
  if (info.unit == "bytes" || info.unit == "bytes/s") return SizeText(static_cast<std::int64_t>(limit));
  return absl::StrFormat("%.6g", limit);
}

}  // namespace

absl::Status ReadHealthNode(const std::string& file, const std::string& key, const YAML::Node& node, HealthLimits& health) {
  if (!node.IsMap()) return Bad(file, node, key, "expected a map.");
  for (const auto& entry : node) {
    const std::string field = entry.first.IsScalar() ? entry.first.Scalar() : "";
    const std::string place = absl::StrCat(key, ".", field);
    if (field == "interval") {
      MD_ASSIGN_OR_RETURN(health.interval, ReadDuration(file, place, entry.second, absl::Milliseconds(50)));
    } else if (field == "minimum_hold") {
      MD_ASSIGN_OR_RETURN(health.minimum_hold, ReadDuration(file, place, entry.second, absl::ZeroDuration()));
    } else if (field == "yield_after" && entry.second.IsScalar() && entry.second.Scalar() == kOff) {
      health.yield_after = absl::ZeroDuration();
    } else if (field == "yield_after") {
      MD_ASSIGN_OR_RETURN(health.yield_after, ReadDuration(file, place, entry.second, absl::Milliseconds(10)));
    } else if (field == "replicas") {
      MD_RETURN_IF_ERROR(ReadReplicas(file, place, entry.second, health.replicas));
    } else if (field == "ignore_replicas") {
      MD_RETURN_IF_ERROR(ReadReplicas(file, place, entry.second, health.ignored_replicas));
    } else if (field == "limits") {
      MD_RETURN_IF_ERROR(ReadLimits(file, place, entry.second, health));
    } else {
      return Bad(file, entry.first, place, "is not known; expected interval, minimum_hold, yield_after, replicas, ignore_replicas or limits.");
    }
  }
  return absl::OkStatus();
}

void EmitHealth(const HealthLimits& health, YAML::Emitter& out) {
  out << YAML::BeginMap;
  out << YAML::Key << "interval" << YAML::Value << absl::FormatDuration(health.interval);
  out << YAML::Key << "minimum_hold" << YAML::Value << absl::FormatDuration(health.minimum_hold);
  const bool yields = health.yield_after > absl::ZeroDuration();
  out << YAML::Key << "yield_after" << YAML::Value << (yields ? absl::FormatDuration(health.yield_after) : kOff);
  if (!health.replicas.empty()) out << YAML::Key << "replicas" << YAML::Value << YAML::Flow << health.replicas;
  if (!health.ignored_replicas.empty()) out << YAML::Key << "ignore_replicas" << YAML::Value << YAML::Flow << health.ignored_replicas;
  out << YAML::Key << "limits" << YAML::Value << YAML::BeginMap;
  for (const Signal signal : kAllSignals) {
    const std::optional<double> limit = health.LimitOf(signal);
    out << YAML::Key << std::string(SignalName(signal)) << YAML::Value << (limit.has_value() ? LimitText(InfoOf(signal), *limit) : kOff);
  }
  out << YAML::EndMap << YAML::EndMap;
}

}  // namespace migrationd
