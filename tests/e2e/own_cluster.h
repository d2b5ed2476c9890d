// A PostgreSQL cluster that a test may stop, put back to an earlier moment, or fill with roles.
#pragma once

#include <memory>
#include <string>

#include "tests/support/process.h"
#include "tests/support/temp_postgres.h"

namespace migrationd {

class OwnCluster {
 public:
  OwnCluster();
  ~OwnCluster();

  // Makes it unless it exists; its URL, as the superuser or as another role.
  std::string Database(const std::string& name);
  std::string UrlAs(const std::string& role, const std::string& database) const;
  // A streaming replica of it under that application_name, made from a base backup. Stopped by its destructor, which has to come first.
  std::unique_ptr<PrivatePostgres> MakeStandby(const std::string& name);
  // As a crash of the machine.
  void Crash();
  void Restart();
  // A physical backup, as of now, and back to it. Both stop the cluster for a moment.
  void Backup();
  void Restore();

 private:
  void Copy(const std::string& from, const std::string& to);

  TempFolder folder_;
  std::unique_ptr<PrivatePostgres> postgres_;
};

}  // namespace migrationd
