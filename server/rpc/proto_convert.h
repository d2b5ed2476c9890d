// From the values of the model to the messages of the contract. Pure.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/timestamp.pb.h"
#include "migrationcontrol/v1/migration.pb.h"
#include "migrationcontrol/v1/migration_control.pb.h"
#include "server/scheduler/board.h"
#include "server/targets/target.h"
#include "store/control_store.h"

namespace migrationd {

// The moment at which messages are made.
struct ConvertTimes {
  absl::Time as_of;  // when what is shown was true; database time
  absl::Time now;    // database time
};
// `process_now` is Clock::Now(). While the store is away, as_of stays behind.
ConvertTimes TimesOf(const BoardSnapshot& snapshot, absl::Time process_now);

migrationcontrol::v1::State ToProto(State state);
migrationcontrol::v1::Phase ToProto(Phase phase);
migrationcontrol::v1::HoldKind ToProto(HoldKind kind);
// INVALID_ARGUMENT for UNSPECIFIED and numbers that are no state.
absl::StatusOr<State> FromProto(migrationcontrol::v1::State state);

// Every field of the message is filled in.
migrationcontrol::v1::Migration ToProto(const StoredMigration& stored, const LiveWork& live, const ConvertTimes& times);
migrationcontrol::v1::Event ToProto(const EventRecord& event);
migrationcontrol::v1::Job ToProto(const JobRecord& job);
migrationcontrol::v1::RowFailure ToProto(const RowFailure& failure);
migrationcontrol::v1::FreezeInfo ToProto(const FreezeRecord& freeze);
// `running`: migrations of this process that work there.
migrationcontrol::v1::TargetInfo ToProto(const std::string& name, const TargetCondition& condition, int running);

// Nothing for InfinitePast and InfiniteFuture.
std::optional<google::protobuf::Timestamp> ToTimestamp(absl::Time time);
// INVALID_ARGUMENT outside the years 1 to 9999 or with nanos outside [0, 999999999]; the field is for the message.
absl::StatusOr<absl::Time> FromTimestamp(const google::protobuf::Timestamp& timestamp, const std::string& field);

}  // namespace migrationd
