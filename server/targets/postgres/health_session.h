// The signals of a target's health, from its catalogs: one connection, short statements, PostgreSQL 14 to 17.
#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/target.h"

namespace migrationd {

// Longest wait for one answer, or for the connection. Its statements have less, so that the server gives up first.
inline constexpr absl::Duration kHealthAnswerTime = absl::Seconds(2);

// `search_path`: quoted, for tables without a schema.
std::unique_ptr<HealthSession> MakeHealthSession(std::unique_ptr<Connection> connection, const std::string& search_path);

}  // namespace migrationd
