// What a rehearsal looks like to a person. Pure.
#pragma once

#include <string>

#include "client/cli/terminal.h"
#include "migrationcontrol/v1/migration_control.pb.h"

namespace migrationctl {

namespace v1 = migrationcontrol::v1;

// In lines: whether it can be run, rows, bounds, sample and duration, then what was found, then the plans.
std::string DescribePlan(const v1::PlanResponse& plan, const Terminal& terminal);

}  // namespace migrationctl
