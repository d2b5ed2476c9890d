// Names of fields and enum values as YAML writes them; shared by reader and writer.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

namespace migrationd {

// `class` for Native.class_name, else the field's name.
std::string YamlName(const google::protobuf::FieldDescriptor& field);
const google::protobuf::FieldDescriptor* FindYamlField(const google::protobuf::Descriptor& message,
                                                       const std::string& name);
std::vector<std::string> YamlFieldNames(const google::protobuf::Descriptor& message);

// KEYSET for STRATEGY_KEYSET.
std::string YamlEnumWord(const google::protobuf::EnumValueDescriptor& value);
// All words but UNSPECIFIED.
std::vector<std::string> YamlEnumWords(const google::protobuf::EnumDescriptor& type);
const google::protobuf::EnumValueDescriptor* FindYamlEnum(const google::protobuf::EnumDescriptor& type,
                                                          const std::string& word);

bool IsDuration(const google::protobuf::FieldDescriptor& field);
// Fields that end in _bytes are written like 20GiB.
bool IsSize(const google::protobuf::FieldDescriptor& field);

}  // namespace migrationd
