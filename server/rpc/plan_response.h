// The answer of Plan. Pure.
#pragma once

#include "migrationcontrol/v1/migration_control.pb.h"
#include "server/control/controller.h"

namespace migrationd {

migrationcontrol::v1::PlanResponse ToProto(const RehearsalReport& report);

}  // namespace migrationd
