#include "server/targets/postgres/explain.h"

#include <functional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"
#include "nlohmann/json.hpp"

namespace migrationd {
namespace {

using Json = nlohmann::json;

constexpr char kRelationRows[] = R"sql(
SELECT CASE WHEN c.reltuples >= 0 THEN c.reltuples
            ELSE pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::integer * 100 END::bigint
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relname = $2)sql";

absl::StatusOr<Json> PlanOf(Connection& connection, const std::string& sql, const Parameters& parameters) {
  // VERBOSE names the schema of each relation.
  MD_ASSIGN_OR_RETURN(const QueryResult answer, connection.Query(absl::StrCat("EXPLAIN (FORMAT JSON, VERBOSE) ", sql), parameters));
  if (answer.rows() != 1) return absl::InternalError("EXPLAIN gave no plan");
  Json plan = Json::parse(answer.text(0, 0), nullptr, /*allow_exceptions=*/false);
  const Json::json_pointer root("/0/Plan");
  if (plan.is_discarded() || !plan.contains(root)) return absl::InternalError("EXPLAIN's plan cannot be read");
  return plan.at(root);
}

void Visit(const Json& node, const std::function<void(const Json&)>& visit) {
  visit(node);
  if (!node.contains("Plans")) return;
  for (const Json& child : node["Plans"]) Visit(child, visit);
}

}  // namespace

absl::Status ExplainIn(Connection& connection, const Parameters& parameters, ExplainedSql& explained) {
  MD_ASSIGN_OR_RETURN(const QueryResult text, connection.Query(absl::StrCat("EXPLAIN ", explained.sql), parameters));
  MD_ASSIGN_OR_RETURN(const Json plan, PlanOf(connection, explained.sql, parameters));
  for (int row = 0; row < text.rows(); ++row) explained.plan.push_back(text.text(row, 0));
  std::set<std::pair<std::string, std::string>> scanned;
  Visit(plan, [&](const Json& node) {
    if (node.value("Node Type", "") == "Seq Scan") scanned.emplace(node.value("Schema", ""), node.value("Relation Name", ""));
  });
  for (const auto& [schema, relation] : scanned) {
    MD_ASSIGN_OR_RETURN(const QueryResult rows, connection.Query(kRelationRows, {schema, relation}));
    if (rows.rows() == 1) explained.scans.push_back({absl::StrCat(schema, ".", relation), rows.integer(0, 0)});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> OrderingIndexIn(Connection& connection, const std::string& sql, const Parameters& parameters) {
  // A small table is read and sorted although there is an index; what is asked is whether there is one.
  constexpr char kByIndexOnly[] = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off";
  MD_RETURN_IF_ERROR(connection.Query(kByIndexOnly).status());
  MD_ASSIGN_OR_RETURN(const Json plan, PlanOf(connection, sql, parameters));
  std::string index;
  bool sorts = false;
  bool by_place = false;
  Visit(plan, [&](const Json& node) {
    const std::string type = node.value("Node Type", "");
    sorts = sorts || type == "Sort" || type == "Seq Scan";
    by_place = by_place || absl::StartsWith(type, "Tid ");
    if (index.empty()) index = node.value("Index Name", "");
  });
  if (by_place) return std::string("ctid");
  return sorts ? std::string() : index;
}

}  // namespace migrationd
