// The program after this one, as far as schemas go: all steps of this program, one that adds to every table in the ways a release may, and
// one that takes away what this program needs.
#pragma once

#include "migrations/model/schema_steps.h"

namespace migrationd {

const SchemaSteps& NextControlSchemaSteps();
const SchemaSteps& NextTargetSchemaSteps();

}  // namespace migrationd
