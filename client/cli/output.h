// The formats of --output, and messages in those that are for programs.
#pragma once

#include <string>

#include "google/protobuf/message.h"

namespace migrationctl {

enum class OutputFormat { kTable, kWide, kJson, kYaml, kName };

// For a person, not for a program.
inline bool IsText(OutputFormat format) { return format == OutputFormat::kTable || format == OutputFormat::kWide; }

// protobuf's JSON as grpcurl prints it: camelCase, enums as names, fields with their default value left out. Ends with
// a newline.
std::string ToJson(const google::protobuf::Message& message);
// The same on one line, for streams.
std::string ToJsonLine(const google::protobuf::Message& message);
// The same data as YAML. Ends with a newline.
std::string ToYaml(const google::protobuf::Message& message);

}  // namespace migrationctl
