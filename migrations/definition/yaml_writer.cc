#include <google/protobuf/message.h>

#include <algorithm>
#include <map>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/duration.pb.h"
#include "migrations/definition/definition.h"
#include "migrations/definition/scalar_forms.h"
#include "migrations/definition/yaml_fields.h"

namespace migrationd {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Longest list that is written on one line.
constexpr std::size_t kFlowBytes = 90;

std::string Indent(int depth) { return std::string(static_cast<std::size_t>(depth) * 2, ' '); }

// Words that other readers of YAML take for something else than text.
bool IsSpecialWord(const std::string& text) {
  const std::string lower = absl::AsciiStrToLower(text);
  static constexpr const char* kWords[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
  return std::any_of(std::begin(kWords), std::end(kWords), [&](const char* word) { return lower == word; });
}

bool IsPlainText(const std::string& text) {
  return !text.empty() && (absl::ascii_isalpha(static_cast<unsigned char>(text[0])) || text[0] == '_') &&
         std::all_of(
             text.begin(), text.end(),
             [](unsigned char c) { return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '/' || c == '-'; }) &&
         !IsSpecialWord(text);
}

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c == '"' || c == '\\') {
      absl::StrAppend(&quoted, "\\", text.substr(i, 1));
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (c < 0x20 || c == 0x7F) {
      absl::StrAppendFormat(&quoted, "\\x%02x", c);
    } else {
      quoted += text[i];
    }
  }
  return quoted + "\"";
}

// Texts of several lines read best as a block; only those whose form a block keeps exactly.
bool IsBlockText(const std::string& text) {
  if (text.find('\n') == std::string::npos || text.front() == '\n' || absl::EndsWith(text, "\n\n")) return false;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    // A line that begins with white space could be taken for the block's indentation, a blank one would lose it.
    if (!line.empty() && std::all_of(line.begin(), line.end(), absl::ascii_isspace)) return false;
    if (!std::all_of(line.begin(), line.end(), [](unsigned char c) { return c >= 0x20 && c != 0x7F; })) return false;
  }
  return text.front() != ' ';
}

std::string BlockText(const std::string& text, int depth) {
  const bool ends_line = absl::EndsWith(text, "\n");
  std::string block = ends_line ? "|" : "|-";
  for (const absl::string_view line : absl::StrSplit(ends_line ? text.substr(0, text.size() - 1) : text, '\n')) {
    absl::StrAppend(&block, "\n", line.empty() ? "" : Indent(depth), line);
  }
  return block;
}

std::string TextValue(const std::string& text, int depth) {
  if (IsPlainText(text)) return text;
  return IsBlockText(text) ? BlockText(text, depth) : Quoted(text);
}

std::string ScalarValue(const Message& message, const FieldDescriptor& field, int depth) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return TextValue(reflection.GetString(message, &field), depth);
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return YamlEnumWord(*reflection.GetEnum(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return DecimalText(reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      google::protobuf::Duration duration;
      duration.CopyFrom(reflection.GetMessage(message, &field));
      return DurationText(DurationNanoseconds(duration).value_or(0));
    }
    default: {
      const std::int64_t value = reflection.GetInt64(message, &field);
      return IsSize(field) ? SizeText(value) : absl::StrCat(value);
    }
  }
}

std::string MessageLines(const Message& message, int depth);

std::string TextList(const Message& message, const FieldDescriptor& field, int depth) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<std::string> flow;
  std::string lines;
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const std::string text = reflection.GetRepeatedString(message, &field, i);
    flow.push_back(IsPlainText(text) ? text : Quoted(text));
    absl::StrAppend(&lines, "\n", Indent(depth + 1), "- ", TextValue(text, depth + 2));
  }
  const std::string one_line = absl::StrCat(" [", absl::StrJoin(flow, ", "), "]\n");
  return one_line.size() <= kFlowBytes ? one_line : lines + "\n";
}

std::string MessageList(const Message& message, const FieldDescriptor& field, int depth) {
  const Reflection& reflection = *message.GetReflection();
  std::string lines = "\n";
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    // The first field shares its line with the dash.
    const std::string item = MessageLines(reflection.GetRepeatedMessage(message, &field, i), depth + 2);
    if (item.empty()) {
      absl::StrAppend(&lines, Indent(depth + 1), "- {}\n");
    } else {
      absl::StrAppend(&lines, Indent(depth + 1), "- ", item.substr(Indent(depth + 2).size()));
    }
  }
  return lines;
}

std::string TextMap(const Message& message, const FieldDescriptor& field, int depth) {
  const Reflection& reflection = *message.GetReflection();
  std::map<std::string, std::string> sorted;
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
    sorted[entry.GetReflection()->GetString(entry, field.message_type()->map_key())] =
        entry.GetReflection()->GetString(entry, field.message_type()->map_value());
  }
  std::string lines = "\n";
  for (const auto& [key, value] : sorted) {
    absl::StrAppend(&lines, Indent(depth + 1), IsPlainText(key) ? key : Quoted(key), ": ", TextValue(value, depth + 2),
                    "\n");
  }
  return lines;
}

// What follows `name:`, with its line break.
std::string FieldValue(const Message& message, const FieldDescriptor& field, int depth) {
  const Reflection& reflection = *message.GetReflection();
  if (field.is_map()) return TextMap(message, field, depth);
  if (field.is_repeated()) {
    return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE ? MessageList(message, field, depth)
                                                                : TextList(message, field, depth);
  }
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !IsDuration(field)) {
    const std::string lines = MessageLines(reflection.GetMessage(message, &field), depth + 1);
    return lines.empty() ? " {}\n" : "\n" + lines;
  }
  return absl::StrCat(" ", ScalarValue(message, field, depth + 1), "\n");
}

std::string MessageLines(const Message& message, int depth) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  std::string lines;
  for (const FieldDescriptor* field : fields) {
    absl::StrAppend(&lines, Indent(depth), YamlName(*field), ":", FieldValue(message, *field, depth));
  }
  return lines;
}

}  // namespace

std::string ToYaml(const migrationcontrol::v1::MigrationDefinition& definition) { return MessageLines(definition, 0); }

}  // namespace migrationd
