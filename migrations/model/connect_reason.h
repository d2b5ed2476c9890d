// Why a connection to a database could not be made, in words that may be shown.
#pragma once

#include <string>
#include <string_view>

namespace migrationd {

// From what libpq says. That names parts of the connection string, and where a password was not percent-encoded, parts of the password ("could
// not translate host name "..."", "invalid integer value "..." for connection option "port""). Kept is only what it says behind the names of
// host and port, which is the server's or the system's reason.
std::string ConnectReason(std::string_view libpq_message);

}  // namespace migrationd
