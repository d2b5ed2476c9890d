// The rules of definitions, with the knowledge of what was written in a file.
#pragma once

#include <functional>
#include <string>

#include "migrations/definition/definition.h"

namespace migrationd {

// As CheckDefinition. `written(path)` tells whether the file gives that field: a written zero is a value out of range,
// not a default.
DefinitionResult CheckWrittenDefinition(const migrationcontrol::v1::MigrationDefinition& definition,
                                        const std::function<bool(const std::string& path)>& written);

}  // namespace migrationd
