// The sub-batch on PostgreSQL, in two forms with the same protocol.
//
// Direct: a function in pg_temp made when the lane opens, with the statements inside: plans are cached, rows are counted exactly, and
// work, check-and-set and the look-up of the next bound are one message, one transaction, one commit.
//
// Pooled (a transaction pooler in between, or no right to make temporary functions): an ordinary transaction of several messages
// without any session state.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/targets/postgres/connection.h"
#include "server/targets/target.h"

namespace migrationd {

// What every statement of ours runs under: fixed text forms, a pinned search_path, limits.
struct SessionSettings {
  std::string search_path;
  std::string application_name;
  bool synchronous_commit = true;
  absl::Duration lock_timeout = absl::Milliseconds(500);
  absl::Duration statement_timeout = absl::Seconds(5);
};

// SELECT set_config(...), ...; for the session, or for the transaction (behind a pooler).
std::string SettingsSql(const SessionSettings& settings, bool local);

// migrationd/<first 8 hex digits of token>/<epoch>/<name>, cut to the 63 bytes that PostgreSQL keeps.
std::string ApplicationName(const FenceClaim& claim);
// The part of it that is the same for all connections of a claim.
std::string ApplicationNamePrefix(const std::string& token, std::int64_t epoch);

// A connection with that lane's settings and functions. `direct_allowed` false: the pooled form whatever the connection is.
absl::StatusOr<std::unique_ptr<LaneSession>> OpenLaneSession(std::unique_ptr<Connection> connection, const LaneOptions& options,
                                                             bool direct_allowed);

}  // namespace migrationd
