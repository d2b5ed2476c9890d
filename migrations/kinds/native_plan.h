// Kind native, as far as it can be told without a table.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "migrationcontrol/v1/definition.pb.h"
#include "migrations/kinds/native.h"

namespace migrationd {

// The class with the definition's parameters. Errors of NativeRegistry::Make.
absl::StatusOr<std::shared_ptr<const NativeMigration>> MakeNative(const NativeRegistry& natives,
                                                                  const migrationcontrol::v1::MigrationDefinition& definition);

// What the class says that it works on. FAILED_PRECONDITION when it throws.
absl::StatusOr<NativeShape> ShapeOf(const NativeMigration& migration);

// Whether the class tells the rows that still need the work (NativeShape::where); false also when it is not known.
bool NativeTellsRows(const NativeRegistry& natives, const migrationcontrol::v1::MigrationDefinition& definition);

}  // namespace migrationd
