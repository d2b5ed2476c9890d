// The thresholds of a target's health in the configuration file:
//
//   health:
//     interval: 1s
//     minimum_hold: 2s
//     yield_after: 500ms         # or off
//     replicas: [standby1]
//     limits: {replica_lag: 10s, slot_retention: 20GiB, vacuum_debt: off}
#pragma once

#include <string>

#include "absl/status/status.h"
#include "migrations/pacing/signals.h"

namespace YAML {
class Emitter;
class Node;
}  // namespace YAML

namespace migrationd {

// `key`: of the node, for messages. INVALID_ARGUMENT with the place and what was expected.
absl::Status ReadHealthNode(const std::string& file, const std::string& key, const YAML::Node& node, HealthLimits& health);

// Everything that is in force, defaults too.
void EmitHealth(const HealthLimits& health, YAML::Emitter& out);

}  // namespace migrationd
