// One connection of a test to a database: what an application, or a DBA with psql, would do there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace migrationd {

// Each call is a transaction of its own, unless the statements say otherwise. For one thread at a time. Throws what
// libpqxx throws: in a test that is a failure that names the statement.
class Sql {
 public:
  explicit Sql(const std::string& url);
  ~Sql();
  Sql(const Sql&) = delete;
  Sql& operator=(const Sql&) = delete;

  void Run(const std::string& statements);
  // First column of the first row; empty for NULL and for no row.
  std::string Text(const std::string& query);
  // 0 for NULL and for no row.
  std::int64_t Number(const std::string& query);
  bool True(const std::string& query) { return Text(query) == "t"; }
  std::vector<std::vector<std::string>> Rows(const std::string& query);
  // SQLSTATE and message of a statement that must fail; empty when it does not.
  std::string ErrorOf(const std::string& statements);

  // Digest over every table's definition and rows outside `ignored_schemas`, and the list of schemas: equal when
  // nothing changed.
  std::string Fingerprint(const std::string& ignored_schemas = "''");

 private:
  class Connection;
  std::unique_ptr<Connection> connection_;
};

}  // namespace migrationd
