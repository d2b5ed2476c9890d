#include "server/rpc/request_checks.h"

#include <cstdlib>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "migrations/model/status_macros.h"
#include "migrations/pacing/windows.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/proto_convert.h"

namespace migrationd {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr int kRepeatedMax = 100;
constexpr std::size_t kTextBytesDefault = 200;
constexpr std::size_t kFileBytesMax = 256 * 1024;

// Longest value of a field, by its name; what is not here has kTextBytesDefault.
std::size_t LongestText(const std::string& field) {
  static const auto& longest = *new std::map<std::string, std::size_t>{
      {"reason", 1000},           {"request_id", 128}, {"page_token", 2000}, {"resume_token", 200},
      {"content", kFileBytesMax}, {"order_by", 50},    {"value", 10000},     {"file_name", 300},
  };
  const auto found = longest.find(field);
  return found == longest.end() ? kTextBytesDefault : found->second;
}

// Length of the UTF-8 sequence at `text[i]`; 0 when there is none, or it is an overlong form, a surrogate or beyond
// U+10FFFF.
std::size_t SequenceLength(const std::string& text, std::size_t i) {
  const auto byte = [&](std::size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U; };
  const auto follows = [&](std::size_t n) {
    for (std::size_t k = 1; k <= n; ++k) {
      if ((byte(i + k) & 0xC0) != 0x80) return false;
    }
    return true;
  };
  const unsigned lead = byte(i);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return follows(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const bool overlong = lead == 0xE0 && byte(i + 1) < 0xA0;
    const bool surrogate = lead == 0xED && byte(i + 1) > 0x9F;
    return follows(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool overlong = lead == 0xF0 && byte(i + 1) < 0x90;
    const bool beyond = lead == 0xF4 && byte(i + 1) > 0x8F;
    return follows(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

// Printable UTF-8; line breaks and tabs are allowed in what people write.
bool IsPrintable(const std::string& text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = SequenceLength(text, i);
    if (length == 0) return false;
    const auto c = static_cast<unsigned char>(text[i]);
    if (length == 1 && (c == 0x7F || (c < 0x20 && c != '\n' && c != '\t' && c != '\r'))) return false;
    i += length;
  }
  return true;
}

absl::Status CheckValue(const std::string& path, const std::string& name, const std::string& text) {
  const std::size_t longest = LongestText(name);
  if (text.size() > longest)
    return FieldError(path, absl::StrCat("has ", text.size(), " bytes; expected at most ", longest, "."));
  // Content of a file has checks of its own, with places.
  if (name != "content" && !IsPrintable(text)) return FieldError(path, "is not printable UTF-8 text.");
  return absl::OkStatus();
}

bool IsDefinition(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
         field.message_type() == migrationcontrol::v1::MigrationDefinition::descriptor();
}

absl::Status CheckMessage(const Message& message, const std::string& prefix) {
  const auto& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (IsDefinition(*field)) continue;
    const std::string path = absl::StrCat(prefix, field->name());
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    if (count > kRepeatedMax) {
      return FieldError(path, absl::StrCat("has ", count, " values; expected at most ", kRepeatedMax, "."));
    }
    for (int i = 0; i < count; ++i) {
      const std::string place = field->is_repeated() ? absl::StrCat(path, "[", i, "]") : path;
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        std::string scratch;
        const std::string& text = field->is_repeated()
                                      ? reflection.GetRepeatedStringReference(message, field, i, &scratch)
                                      : reflection.GetStringReference(message, field, &scratch);
        MD_RETURN_IF_ERROR(CheckValue(place, field->name(), text));
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        const Message& inner = field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i)
                                                    : reflection.GetMessage(message, field);
        MD_RETURN_IF_ERROR(CheckMessage(inner, absl::StrCat(place, ".")));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckText(const Message& request) { return CheckMessage(request, ""); }

absl::Status CheckNamed(const std::string& migration) {
  if (!migration.empty()) return absl::OkStatus();
  return FieldError("migration", "no migration is named; expected its name, target/name, version or file name.");
}

absl::StatusOr<std::optional<absl::Time>> OptionalTime(bool is_set, const google::protobuf::Timestamp& timestamp,
                                                       const std::string& field) {
  if (!is_set) return std::optional<absl::Time>();
  MD_ASSIGN_OR_RETURN(const absl::Time time, FromTimestamp(timestamp, field));
  return std::optional<absl::Time>(time);
}

absl::Status CheckSizes(const migrationcontrol::v1::SetBatchSizeRequest& request) {
  if (request.automatic()) {
    if (request.batch_size() == 0 && request.sub_batch_size() == 0 && !request.has_until()) return absl::OkStatus();
    return FieldError(
        "automatic", "goes back to the definition's sizes, so batch_size, sub_batch_size and until must not be given.");
  }
  if (request.batch_size() < 1) {
    return FieldError("batch_size",
                      absl::StrCat("is ", request.batch_size(), "; expected 1 to max_batch_size, or `automatic`."));
  }
  if (request.sub_batch_size() < 0) {
    return FieldError("sub_batch_size",
                      absl::StrCat("is ", request.sub_batch_size(), "; expected 1 to batch_size, or 0 to keep it."));
  }
  return absl::OkStatus();
}

namespace {

absl::StatusOr<std::optional<absl::Duration>> OptionalDuration(bool is_set, const google::protobuf::Duration& duration, const std::string& field) {
  if (!is_set) return std::optional<absl::Duration>();
  // google/protobuf/duration.proto: about 10,000 years, and one sign for both parts.
  const bool of_its_form = std::abs(duration.seconds()) <= 315'576'000'000 && std::abs(duration.nanos()) < 1'000'000'000 &&
                           (duration.seconds() == 0 || duration.nanos() == 0 || (duration.seconds() < 0) == (duration.nanos() < 0));
  if (!of_its_form) return FieldError(field, "is no duration; expected one like 250ms (\"0.250s\" in JSON).");
  return std::optional<absl::Duration>(absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos()));
}

absl::StatusOr<std::optional<std::vector<std::string>>> OptionalWindows(const google::protobuf::RepeatedPtrField<std::string>& windows) {
  if (windows.empty()) return std::optional<std::vector<std::string>>();
  if (windows.size() == 1 && windows[0] == "ALWAYS") return std::optional<std::vector<std::string>>(std::in_place);
  for (int i = 0; i < windows.size(); ++i) {
    const auto window = ParseWindow(windows[i]);
    if (!window.ok()) return FieldError(absl::StrCat("windows[", i, "]"), std::string(window.status().message()));
  }
  return std::optional<std::vector<std::string>>(std::in_place, windows.begin(), windows.end());
}

}  // namespace

absl::StatusOr<PaceRequest> PaceFrom(const migrationcontrol::v1::SetPaceRequest& request) {
  PaceRequest pace;
  pace.automatic = request.automatic();
  PaceSettings& set = pace.settings;
  MD_ASSIGN_OR_RETURN(set.interval, OptionalDuration(request.has_interval(), request.interval(), "interval"));
  if (request.has_max_rows_per_second()) set.max_rows_per_second = request.max_rows_per_second();
  if (request.has_lanes()) set.lanes = request.lanes();
  MD_ASSIGN_OR_RETURN(set.windows, OptionalWindows(request.windows()));
  MD_ASSIGN_OR_RETURN(set.target_sub_batch_time,
                      OptionalDuration(request.has_target_sub_batch_time(), request.target_sub_batch_time(), "target_sub_batch_time"));
  MD_ASSIGN_OR_RETURN(set.lock_timeout, OptionalDuration(request.has_lock_timeout(), request.lock_timeout(), "lock_timeout"));
  MD_ASSIGN_OR_RETURN(set.statement_timeout, OptionalDuration(request.has_statement_timeout(), request.statement_timeout(), "statement_timeout"));
  MD_ASSIGN_OR_RETURN(pace.until, OptionalTime(request.has_until(), request.until(), "until"));
  return pace;
}

}  // namespace migrationd
