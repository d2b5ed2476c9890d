// How single values are written in a definition file: durations, sizes, numbers, truth values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "google/protobuf/duration.pb.h"

namespace migrationd {

// Longest duration that a definition may hold: 100 years, which fits nanoseconds in 64 bits.
inline constexpr std::int64_t kLongestDurationNanoseconds = std::int64_t{36500} * 24 * 3600 * 1'000'000'000;

// `250ms 2s 10m 168h 7d 1w`, also `0.5s`: one number and one unit, exact to the nanosecond, in nanoseconds.
// INVALID_ARGUMENT with what was expected.
absl::StatusOr<std::int64_t> ParseDurationText(std::string_view text);
// The shortest such form: 168h is written as 1w.
std::string DurationText(std::int64_t nanoseconds);

// nullopt: not a valid message (its parts disagree in sign, nanos out of range) or longer than 100 years.
std::optional<std::int64_t> DurationNanoseconds(const google::protobuf::Duration& duration);
google::protobuf::Duration DurationFromNanoseconds(std::int64_t nanoseconds);

// `20GiB`: a whole number and B, KiB, MiB, GiB or TiB; without a unit, bytes.
absl::StatusOr<std::int64_t> ParseSizeText(std::string_view text);
std::string SizeText(std::int64_t bytes);

// A whole number in decimal, between the limits.
absl::StatusOr<std::int64_t> ParseWholeNumber(std::string_view text, std::int64_t lowest, std::int64_t highest);
// A finite decimal number such as 0.1 or 1e-3.
absl::StatusOr<double> ParseDecimal(std::string_view text);
std::string DecimalText(double value);

}  // namespace migrationd
