#include "client/cli/output.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cli/text.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace migrationctl {
namespace {

using Json = nlohmann::ordered_json;

std::string Encode(const google::protobuf::Message& message, bool whitespace) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = whitespace;
  std::string json;
  // Fails only for an Any of an unknown type and for times out of range: the contract has no Any, and a server that
  // sends such a time is shown with what could be printed.
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok() && json.empty()) json = "{}";
  return json;
}

// Words that YAML reads as a string without quotes: they begin with a letter and are no boolean or null in any version
// of YAML.
bool IsPlainWord(const std::string& text) {
  if (text.empty() || !absl::ascii_isalpha(static_cast<unsigned char>(text[0]))) return false;
  for (const char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-' && c != '/' && c != '.')
      return false;
  }
  const std::string lower = absl::AsciiStrToLower(text);
  for (const char* reserved : {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}) {
    if (lower == reserved) return false;
  }
  return true;
}

// A JSON string is a YAML string. Text beyond ASCII stays; what JSON allows and a terminal should not see is escaped in
// a way that YAML reads, too.
std::string YamlScalar(const Json& value) {
  if (value.is_string() && IsPlainWord(value.get_ref<const std::string&>())) return value.get<std::string>();
  return Printable(value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

bool IsBlock(const Json& value) { return value.is_structured() && !value.empty(); }

void AppendYaml(const Json& value, int indent, std::string& out) {
  const std::string margin(static_cast<std::size_t>(indent), ' ');
  if (value.is_object()) {
    for (const auto& [key, item] : value.items()) {
      absl::StrAppend(&out, margin, YamlScalar(Json(key)), ":");
      if (IsBlock(item)) {
        out += '\n';
        AppendYaml(item, indent + (item.is_array() ? 0 : 2), out);
      } else {
        absl::StrAppend(&out, " ", YamlScalar(item), "\n");
      }
    }
    return;
  }
  for (const Json& item : value) {
    if (!IsBlock(item)) {
      absl::StrAppend(&out, margin, "- ", YamlScalar(item), "\n");
      continue;
    }
    // The first line of the item stands behind the dash.
    std::string block;
    AppendYaml(item, indent + 2, block);
    block.replace(static_cast<std::size_t>(indent), 2, "- ");
    out += block;
  }
}

}  // namespace

std::string ToJson(const google::protobuf::Message& message) {
  std::string json = Encode(message, true);
  if (json.empty() || json.back() != '\n') json += '\n';
  return json;
}

std::string ToJsonLine(const google::protobuf::Message& message) { return Encode(message, false) + "\n"; }

std::string ToYaml(const google::protobuf::Message& message) {
  const Json json = Json::parse(Encode(message, false), nullptr, /*allow_exceptions=*/false);
  if (!IsBlock(json)) return "{}\n";
  std::string yaml;
  AppendYaml(json, 0, yaml);
  return yaml;
}

}  // namespace migrationctl
