#include "tests/e2e/sql.h"

#include <pqxx/pqxx>
#include <utility>

#include "absl/strings/str_cat.h"

namespace migrationd {

class Sql::Connection {
 public:
  explicit Connection(const std::string& url) : connection_(url) {}
  pqxx::result Execute(const std::string& statements) {
    pqxx::nontransaction transaction(connection_);
    return transaction.exec(statements);
  }

 private:
  pqxx::connection connection_;
};

Sql::Sql(const std::string& url) : connection_(std::make_unique<Connection>(url)) {
  connection_->Execute("SET application_name = 'end-to-end test'; SET client_min_messages = warning");
}
Sql::~Sql() = default;

void Sql::Run(const std::string& statements) { connection_->Execute(statements); }

std::string Sql::Text(const std::string& query) {
  const auto rows = Rows(query);
  return rows.empty() || rows[0].empty() ? "" : rows[0][0];
}

std::int64_t Sql::Number(const std::string& query) {
  const std::string text = Text(query);
  return text.empty() ? 0 : std::stoll(text);
}

std::vector<std::vector<std::string>> Sql::Rows(const std::string& query) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& row : connection_->Execute(query)) {
    auto& cells = rows.emplace_back();
    for (const auto& field : row) cells.emplace_back(field.is_null() ? "" : field.c_str());
  }
  return rows;
}

std::string Sql::ErrorOf(const std::string& statements) {
  try {
    Run(statements);
    return "";
  } catch (const pqxx::sql_error& error) {
    return absl::StrCat(error.sqlstate(), ": ", error.what());
  }
}

std::string Sql::Fingerprint(const std::string& ignored_schemas) {
  std::string all = Text(
      "SELECT string_agg(nspname, ',' ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN "
      "(" +
      ignored_schemas + ")");
  const auto tables = Rows(
      "SELECT format('%I.%I', n.nspname, c.relname), "
      "  (SELECT string_agg(format('%s %s', attname, format_type(atttypid, atttypmod)), ',' ORDER BY attnum) "
      "   FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped), "
      "  (SELECT string_agg(tgname, ',' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal) "
      "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
      "WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND n.nspname NOT "
      "IN (" +
      ignored_schemas + ") ORDER BY 1");
  for (const auto& table : tables) {
    absl::StrAppend(&all, "\n", table[0], " (", table[1], ") ", table[2], " ",
                    Text("SELECT md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\"), '')) FROM " +
                         table[0] + " t"));
  }
  return all;
}

}  // namespace migrationd
