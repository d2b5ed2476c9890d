// All that differs between libpqxx 6.4 (Debian 12), 7.8 (Ubuntu 24.04) and 7.10 (Debian 13). Only store/postgres
// includes it.
#pragma once

#include <memory>
#include <pqxx/pqxx>
#include <string>
#include <vector>

namespace migrationd::pqxx_compat {

// Runs one statement with bound values through the extended protocol, without naming it, so that it works through a
// pooler in transaction mode. Throws what libpqxx throws.
inline pqxx::result ExecuteBound(pqxx::transaction_base& transaction, const std::string& sql,
                                 const std::vector<std::string>& values) {
#if PQXX_VERSION_MAJOR < 7
  return transaction.exec_params(sql, pqxx::prepare::make_dynamic_params(values));
#else
  pqxx::params bound;
  bound.reserve(values.size());
  for (const std::string& value : values) bound.append(value);
#if PQXX_VERSION_MAJOR == 7 && PQXX_VERSION_MINOR < 10
  return transaction.exec_params(sql, bound);
#else
  return transaction.exec(sql, bound);
#endif
#endif
}

// Connects. Nothing is printed on stderr by the connection: errors come as exceptions, and notices are of no interest.
inline std::unique_ptr<pqxx::connection> Connect(const std::string& connection_string) {
  auto connection = std::make_unique<pqxx::connection>(connection_string);
#if PQXX_VERSION_MAJOR < 7
  // 6.4 connects anew without saying so when a connection breaks, and half of what a transaction relies on would be
  // gone. The switch is marked deprecated there because 7 does not reconnect at all.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  connection->inhibit_reactivation(true);
#pragma GCC diagnostic pop
#endif
#if PQXX_VERSION_MAJOR < 7 || (PQXX_VERSION_MAJOR == 7 && PQXX_VERSION_MINOR < 10)
  // Owned by the connection.
  new pqxx::quiet_errorhandler(*connection);
#else
  connection->set_notice_handler([](pqxx::zview) noexcept {});
#endif
  return connection;
}

// True for 40001 and 40P01, which are exceptions of their own and no sql_error in 6.4.
inline bool IsConflict(const std::exception& error) {
  return dynamic_cast<const pqxx::serialization_failure*>(&error) != nullptr ||
         dynamic_cast<const pqxx::deadlock_detected*>(&error) != nullptr;
}

}  // namespace migrationd::pqxx_compat
