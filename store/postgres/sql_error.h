// The one place where exceptions of libpqxx become absl::Status.
#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace migrationd {

// Status of an error while `doing` ("claiming a migration"). UNAVAILABLE for connections that broke and for a database
// that is starting, stopping, read-only, out of resources or too slow (08, 53, 57, 25006, 55P03); ABORTED for 40001 and
// 40P01; INTERNAL with the SQLSTATE for the rest, which is a bug. Only the first line of the server's message is kept:
// details hold values.
absl::Status StatusFromException(const std::exception& error, std::string_view doing);

// Status of a connection that could not be made: UNAVAILABLE, with the reason but no part of the connection string.
absl::Status StatusFromConnectFailure(const std::exception& error);

// True when StatusFromConnectFailure gave up after the connect timeout, so that trying again at once would take as long
// again.
bool IsConnectTimeout(const absl::Status& status);

}  // namespace migrationd
