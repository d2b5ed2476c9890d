// PgBouncer in transaction mode before the test cluster.
#pragma once

#include <sys/types.h>

#include <string>

namespace migrationd {

class PgBouncer {
 public:
  // Starts it, as an unprivileged user when this process is root (it refuses root); aborts the test program when it
  // does not start. At most two server connections a database, so that clients share them.
  PgBouncer();
  ~PgBouncer();
  PgBouncer(const PgBouncer&) = delete;
  PgBouncer& operator=(const PgBouncer&) = delete;

  // The URL of the same database through it.
  std::string UrlFor(const std::string& url) const;

  static bool Installed();

 private:
  std::string directory_;
  pid_t pid_ = -1;
};

// One for the test program, started at the first call.
PgBouncer& SharedPgBouncer();

}  // namespace migrationd
