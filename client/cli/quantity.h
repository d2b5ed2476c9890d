// Numbers, durations and times as people read and write them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace migrationctl {

// 1,234,567.
std::string FormatCount(std::int64_t count);
// Three digits: 0, 0.5, 42, 1.2k, 123k, 12M, 1.2G.
std::string FormatShort(double number);
// Two units at most: 350ms, 12s, 3m05s, 2h03m, 4d06h, 12w3d. Negative ones are 0s.
std::string HumanDuration(absl::Duration duration);
// 63.2%. Rounded down, and below 100% unless `complete`: what is not done is never shown as done.
std::string FormatPercent(double fraction, bool complete);
// 2026-11-20T22:00:00Z.
std::string HumanTime(absl::Time time);

// 250ms, 2s, 1h30m, 7d, 1w: parts of a number and a unit. INVALID_ARGUMENT saying what is accepted, also for negative
// ones and ones that do not fit.
absl::StatusOr<absl::Duration> ParseDuration(const std::string& text);
// A time in RFC 3339, or a duration from `now`. INVALID_ARGUMENT, also when it is not after `now`.
absl::StatusOr<absl::Time> ParseTimeOrDuration(const std::string& text, absl::Time now);

absl::Time FromProto(const google::protobuf::Timestamp& timestamp);
absl::Duration FromProto(const google::protobuf::Duration& duration);
google::protobuf::Timestamp ToProto(absl::Time time);
google::protobuf::Duration ToProto(absl::Duration duration);

}  // namespace migrationctl
