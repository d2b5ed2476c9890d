#include "client/status_conversion.h"

#include <vector>

#include "absl/strings/cord.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"

namespace migrationcontrol {
namespace {

using ::google::protobuf::internal::WireFormatLite;
using ::google::protobuf::io::CodedInputStream;

constexpr char kRetryInfoUrl[] = "type.googleapis.com/google.rpc.RetryInfo";
// google.rpc.Status.details and google.rpc.RetryInfo.retry_delay.
constexpr int kDetailsField = 3;
constexpr int kRetryDelayField = 1;

// The length-delimited values of one field of a serialized message. The messages of google.rpc are read by their wire
// format, so that this library registers no descriptors that its user's program may register, too. A malformed rest is
// ignored.
std::vector<std::string> FieldValues(const std::string& serialized, int field) {
  CodedInputStream input(reinterpret_cast<const std::uint8_t*>(serialized.data()), static_cast<int>(serialized.size()));
  const std::uint32_t wanted = WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  std::vector<std::string> values;
  while (const std::uint32_t tag = input.ReadTag()) {
    if (tag != wanted) {
      if (!WireFormatLite::SkipField(&input, tag)) break;
      continue;
    }
    std::string value;
    if (!WireFormatLite::ReadBytes(&input, &value)) break;
    values.push_back(std::move(value));
  }
  return values;
}

}  // namespace

absl::Status ToAbslStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = status.error_code();
  const bool known = code > 0 && code <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  absl::Status result(known ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown, status.error_message());
  for (const std::string& serialized : FieldValues(status.error_details(), kDetailsField)) {
    google::protobuf::Any detail;
    if (detail.ParseFromString(serialized)) result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return result;
}

std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const absl::optional<absl::Cord> retry_info = status.GetPayload(kRetryInfoUrl);
  if (!retry_info.has_value()) return std::nullopt;
  const std::vector<std::string> delays = FieldValues(std::string(*retry_info), kRetryDelayField);
  google::protobuf::Duration delay;
  if (delays.empty() || !delay.ParseFromString(delays.back())) return std::nullopt;
  const absl::Duration duration = absl::Seconds(delay.seconds()) + absl::Nanoseconds(delay.nanos());
  if (duration < absl::ZeroDuration()) return std::nullopt;
  return duration;
}

}  // namespace migrationcontrol
