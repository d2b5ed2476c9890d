// One private PostgreSQL cluster a test program, removed at its end; a fresh database a test.
#pragma once

#include <string>

#include "server/dev/private_postgres.h"

namespace migrationd {

// Shared by all tests of the process; started at the first call. Aborts the program when it cannot be started.
PrivatePostgres& TestCluster();

// URL of a new, empty database in TestCluster(). Names never repeat within a cluster.
std::string FreshDatabase();

}  // namespace migrationd
