#include "migrations/definition/yaml_fields.h"

#include <string_view>

#include "absl/strings/match.h"
#include "google/protobuf/duration.pb.h"

namespace migrationd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;

constexpr std::string_view kUnspecified = "UNSPECIFIED";

}  // namespace

std::string YamlName(const FieldDescriptor& field) {
  // `class` is no name that C++ could have.
  return field.name() == "class_name" ? "class" : field.name();
}

const FieldDescriptor* FindYamlField(const Descriptor& message, const std::string& name) {
  for (int i = 0; i < message.field_count(); ++i) {
    if (YamlName(*message.field(i)) == name) return message.field(i);
  }
  return nullptr;
}

std::vector<std::string> YamlFieldNames(const Descriptor& message) {
  std::vector<std::string> names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(YamlName(*message.field(i)));
  return names;
}

std::string YamlEnumWord(const EnumValueDescriptor& value) {
  // Value 0 of every enum of ours is PREFIX_UNSPECIFIED.
  const std::size_t prefix = value.type()->value(0)->name().size() - kUnspecified.size();
  return value.name().substr(prefix);
}

std::vector<std::string> YamlEnumWords(const EnumDescriptor& type) {
  std::vector<std::string> words;
  for (int i = 1; i < type.value_count(); ++i) words.push_back(YamlEnumWord(*type.value(i)));
  return words;
}

const EnumValueDescriptor* FindYamlEnum(const EnumDescriptor& type, const std::string& word) {
  for (int i = 1; i < type.value_count(); ++i) {
    if (YamlEnumWord(*type.value(i)) == word) return type.value(i);
  }
  return nullptr;
}

bool IsDuration(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
         field.message_type() == google::protobuf::Duration::descriptor();
}

bool IsSize(const FieldDescriptor& field) { return absl::EndsWith(field.name(), "_bytes"); }

}  // namespace migrationd
