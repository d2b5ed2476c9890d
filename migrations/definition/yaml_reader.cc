#include "migrations/definition/yaml_reader.h"

#include <cstdint>
#include <limits>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/duration.pb.h"
#include "migrations/definition/scalar_forms.h"
#include "migrations/definition/text_rules.h"
#include "migrations/definition/yaml_fields.h"

namespace migrationd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::string Join(const std::string& path, const std::string& name) {
  return path.empty() ? name : absl::StrCat(path, ".", name);
}

// For a field that stands in the wrong message: where it belongs, `pace.batch_size`.
std::string FoundElsewhere(const Descriptor& message, const std::string& name) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (field.is_repeated() || field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (FindYamlField(*field.message_type(), name) != nullptr) return absl::StrCat(YamlName(field), ".", name);
  }
  return "";
}

std::string UnknownField(const Descriptor& message, const std::string& name) {
  std::string meant = FoundElsewhere(message, name);
  if (meant.empty()) meant = ClosestTo(name, YamlFieldNames(message));
  if (!meant.empty()) return absl::StrCat("unknown field; did you mean ", meant, "?");
  return absl::StrCat("unknown field; expected one of ", absl::StrJoin(YamlFieldNames(message), ", "));
}

class MessageReader {
 public:
  MessageReader(YamlPlaces& places, std::vector<DefinitionProblem>& problems) : places_(places), problems_(problems) {}

  void ReadMessage(const YamlNode& node, Message& message, const std::string& path) {
    if (node.kind == YamlNode::Kind::kRefused) return;
    if (node.kind != YamlNode::Kind::kMap) {
      return Problem(node.line, node.column, path, "is not a mapping; write its fields as `name: value`");
    }
    for (std::size_t i = 0; i < node.items.size(); ++i) ReadEntry(node.keys[i], node.items[i], message, path);
  }

 private:
  void Problem(int line, int column, const std::string& path, std::string message) {
    problems_.push_back({line, column, path, std::move(message)});
  }
  void Problem(const YamlNode& node, const std::string& path, std::string message) {
    Problem(node.line, node.column, path, std::move(message));
  }

  void ReadEntry(const YamlKey& key, const YamlNode& value, Message& message, const std::string& path) {
    if (value.kind == YamlNode::Kind::kRefused) return;
    const FieldDescriptor* field = FindYamlField(*message.GetDescriptor(), key.text);
    const std::string field_path = Join(path, Shown(key.text));
    if (field == nullptr) {
      return Problem(key.line, key.column, field_path, UnknownField(*message.GetDescriptor(), key.text));
    }
    // A scalar is its own place; what begins on the next line is better found by its key.
    const bool scalar = value.kind == YamlNode::Kind::kScalar;
    places_[field_path] = {scalar ? value.line : key.line, scalar ? value.column : key.column};
    if (value.kind == YamlNode::Kind::kNull) {
      return Problem(key.line, key.column, field_path,
                     "has no value; write one, or remove the line (quote a text \"null\")");
    }
    if (field->real_containing_oneof() != nullptr && !CheckOneof(key, *field, message, field_path)) return;
    if (field->is_map()) return ReadMap(value, *field, message, field_path);
    if (field->is_repeated()) return ReadList(value, *field, message, field_path);
    ReadValue(value, *field, message, field_path);
  }

  bool CheckOneof(const YamlKey& key, const FieldDescriptor& field, const Message& message, const std::string& path) {
    const FieldDescriptor* set =
        message.GetReflection()->GetOneofFieldDescriptor(message, field.real_containing_oneof());
    if (set == nullptr) return true;
    Problem(key.line, key.column, path,
            absl::StrCat("a migration is of exactly one kind, and ", YamlName(*set),
                         " is given already; remove one of them"));
    return false;
  }

  void ReadList(const YamlNode& node, const FieldDescriptor& field, Message& message, const std::string& path) {
    if (node.kind != YamlNode::Kind::kList) {
      return Problem(node, path, "is not a list; write [a, b] or lines that begin with '- '");
    }
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      const YamlNode& item = node.items[i];
      const std::string item_path = absl::StrCat(path, "[", i, "]");
      places_[item_path] = {item.line, item.column};
      if (item.kind == YamlNode::Kind::kRefused) continue;
      if (item.kind == YamlNode::Kind::kNull) {
        Problem(item, item_path, "has no value; write one, or remove it (quote a text \"null\")");
        continue;
      }
      ReadValue(item, field, message, item_path);
    }
  }

  // All maps of definitions are from text to text.
  void ReadMap(const YamlNode& node, const FieldDescriptor& field, Message& message, const std::string& path) {
    if (node.kind != YamlNode::Kind::kMap) {
      return Problem(node, path, "is not a mapping; write its entries as `name: value`");
    }
    const Descriptor& entry_type = *field.message_type();
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      const YamlKey& key = node.keys[i];
      const YamlNode& value = node.items[i];
      if (value.kind == YamlNode::Kind::kRefused) continue;
      const std::string entry_path = Join(path, Shown(key.text));
      places_[entry_path] = {key.line, key.column};
      if (value.kind != YamlNode::Kind::kScalar) {
        Problem(key.line, key.column, entry_path, "is not a single value; write text, in quotes where in doubt");
        continue;
      }
      Message& entry = *message.GetReflection()->AddMessage(&message, &field);
      entry.GetReflection()->SetString(&entry, entry_type.map_key(), key.text);
      entry.GetReflection()->SetString(&entry, entry_type.map_value(), value.text);
    }
  }

  // One value: of a singular field, or to be added to a repeated one.
  void ReadValue(const YamlNode& node, const FieldDescriptor& field, Message& message, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !IsDuration(field)) {
      Message* child =
          field.is_repeated() ? reflection.AddMessage(&message, &field) : reflection.MutableMessage(&message, &field);
      return ReadMessage(node, *child, path);
    }
    if (node.kind != YamlNode::Kind::kScalar) return Problem(node, path, "is not a single value");
    const absl::Status status = field.is_repeated() ? AddScalar(node, field, message) : SetScalar(node, field, message);
    if (!status.ok()) Problem(node, path, std::string(status.message()));
  }

  // The only repeated scalars of definitions are texts.
  static absl::Status AddScalar(const YamlNode& node, const FieldDescriptor& field, Message& message) {
    message.GetReflection()->AddString(&message, &field, node.text);
    return absl::OkStatus();
  }

  static absl::Status SetScalar(const YamlNode& node, const FieldDescriptor& field, Message& message) {
    const Reflection& reflection = *message.GetReflection();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING:
        // Empty is how a message says "not set": taking it would turn a forgotten `where` into every row.
        if (node.text.empty() && !field.has_presence()) {
          return absl::InvalidArgumentError("is empty; write a value or remove the line");
        }
        reflection.SetString(&message, &field, node.text);
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_BOOL:
        if (node.text != "true" && node.text != "false") {
          return absl::InvalidArgumentError(absl::StrCat("'", Shown(node.text), "' is neither true nor false"));
        }
        reflection.SetBool(&message, &field, node.text == "true");
        return absl::OkStatus();
      case FieldDescriptor::CPPTYPE_ENUM:
        return SetEnum(node, field, message);
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return SetDuration(node, field, message);
      default:
        return SetNumber(node, field, message);
    }
  }

  static absl::Status SetEnum(const YamlNode& node, const FieldDescriptor& field, Message& message) {
    const EnumValueDescriptor* value = FindYamlEnum(*field.enum_type(), node.text);
    if (value == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("'", Shown(node.text), "' is not known; expected ",
                                                     absl::StrJoin(YamlEnumWords(*field.enum_type()), " or ")));
    }
    message.GetReflection()->SetEnum(&message, &field, value);
    return absl::OkStatus();
  }

  static absl::Status SetDuration(const YamlNode& node, const FieldDescriptor& field, Message& message) {
    const absl::StatusOr<std::int64_t> nanoseconds = ParseDurationText(node.text);
    if (!nanoseconds.ok()) return nanoseconds.status();
    message.GetReflection()->MutableMessage(&message, &field)->CopyFrom(DurationFromNanoseconds(*nanoseconds));
    return absl::OkStatus();
  }

  static absl::Status SetNumber(const YamlNode& node, const FieldDescriptor& field, Message& message) {
    const Reflection& reflection = *message.GetReflection();
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
      const absl::StatusOr<double> value = ParseDecimal(node.text);
      if (value.ok()) reflection.SetDouble(&message, &field, *value);
      return value.status();
    }
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
      using Limits = std::numeric_limits<std::int32_t>;
      const absl::StatusOr<std::int64_t> value = ParseWholeNumber(node.text, Limits::min(), Limits::max());
      if (value.ok()) reflection.SetInt32(&message, &field, static_cast<std::int32_t>(*value));
      return value.status();
    }
    using Limits = std::numeric_limits<std::int64_t>;
    const absl::StatusOr<std::int64_t> value =
        IsSize(field) ? ParseSizeText(node.text) : ParseWholeNumber(node.text, Limits::min(), Limits::max());
    if (value.ok()) reflection.SetInt64(&message, &field, *value);
    return value.status();
  }

  YamlPlaces& places_;
  std::vector<DefinitionProblem>& problems_;
};

}  // namespace

void ReadYamlMessage(const YamlNode& root, Message& message, YamlPlaces& places,
                     std::vector<DefinitionProblem>& problems) {
  MessageReader(places, problems).ReadMessage(root, message, "");
}

}  // namespace migrationd
