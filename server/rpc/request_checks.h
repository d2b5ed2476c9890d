// What every request is checked for before anything is done with it: lengths, signs, characters, exactly-one-of. Pure.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "google/protobuf/timestamp.pb.h"
#include "migrationcontrol/v1/migration_control.pb.h"
#include "migrations/model/verbs.h"

namespace migrationd {

// INVALID_ARGUMENT, naming the field: text that is too long or not printable UTF-8, too many repeated values. Looks
// at every field of `request` but definitions, which have checks of their own.
absl::Status CheckText(const google::protobuf::Message& request);

// INVALID_ARGUMENT when it is empty.
absl::Status CheckNamed(const std::string& migration);

// nullopt when it is not set.
absl::StatusOr<std::optional<absl::Time>> OptionalTime(bool is_set, const google::protobuf::Timestamp& timestamp,
                                                       const std::string& field);

absl::Status CheckSizes(const migrationcontrol::v1::SetBatchSizeRequest& request);

// What the request sets; durations and windows are of their form, limits are the verb's to check.
absl::StatusOr<PaceRequest> PaceFrom(const migrationcontrol::v1::SetPaceRequest& request);

}  // namespace migrationd
