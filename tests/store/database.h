// What tests do to a database behind the store's back.
#pragma once

#include <memory>
#include <pqxx/pqxx>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/temp_postgres.h"

namespace migrationd {

// One database of TestCluster(). Each call uses a connection of its own, so it may be called from any thread.
class TestDatabase {
 public:
  explicit TestDatabase(std::string url) : url_(std::move(url)), name_(Ask("SELECT current_database()")) {}

  const std::string& url() const { return url_; }

  void Run(const std::string& sql) const { RunAt(url_, sql); }
  // The first value; empty for NULL and for no row.
  std::string Ask(const std::string& sql) const {
    pqxx::connection connection(url_);
    pqxx::nontransaction session(connection);
    const pqxx::result rows = session.exec(sql);
    return rows.empty() || rows[0][0].is_null() ? "" : rows[0][0].as<std::string>();
  }

  // Ends all sessions in the database, in the middle of whatever they do.
  void TerminateSessions() const {
    RunAt(TestCluster().Url(),
          absl::StrCat("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '", name_,
                       "' AND pid <> pg_backend_pid()"));
  }
  // Sessions that are there go on.
  void RefuseNewSessions() const { AllowConnections(false); }
  void SetReachable(bool reachable) const {
    AllowConnections(reachable);
    if (!reachable) TerminateSessions();
  }

 private:
  void AllowConnections(bool allowed) const {
    RunAt(TestCluster().Url(),
          absl::StrCat("ALTER DATABASE ", name_, " ALLOW_CONNECTIONS ", allowed ? "true" : "false"));
  }
  static void RunAt(const std::string& url, const std::string& sql) {
    pqxx::connection connection(url);
    pqxx::nontransaction session(connection);
    session.exec(sql);
  }

  const std::string url_;
  const std::string name_;
};

}  // namespace migrationd
