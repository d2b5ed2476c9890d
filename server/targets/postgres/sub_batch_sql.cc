#include "server/targets/postgres/sub_batch_sql.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/substitute.h"
#include "migrations/kinds/identifiers.h"
#include "migrations/model/failure.h"

namespace migrationd {
namespace {

// $1::bigint, $2::text, ...
std::string Placeholders(const std::vector<std::string>& types) {
  std::string text;
  for (std::size_t i = 0; i < types.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ", ", "$", i + 1, "::", types[i]);
  }
  return text;
}

void Append(std::vector<std::string>& to, const std::vector<std::string>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

std::string Raise(std::string_view sqlstate, const std::string& message) {
  return absl::StrCat("RAISE EXCEPTION USING ERRCODE = ", QuoteLiteral(std::string(sqlstate)),
                      ", MESSAGE = ", QuoteLiteral(message), ";\n");
}

std::string CheckTable(const MigrationPlan& plan) {
  return absl::StrCat("IF NOT (", TableIsSameSql(plan), ") THEN\n  ",
                      Raise(kSqlStateSchemaChanged, kTableReplacedMessage), "END IF;\nIF NOT (", KeyIsSameSql(plan), ") THEN\n  ",
                      Raise(kSqlStateSchemaChanged, kKeyCollationMessage), "END IF;\n");
}

}  // namespace

SubBatchStatements StatementsFor(const MigrationPlan& plan, bool first, bool verify) {
  SubBatchStatements statements;
  if (verify) {
    statements.work = first ? plan.verify_work_first : plan.verify_work;
  } else {
    statements.work = first ? plan.work_first : plan.work;
  }
  statements.matching = first ? plan.select_unchanged_first : plan.select_unchanged;
  statements.bound = first ? plan.next_bound_first : plan.next_bound;
  return statements;
}

std::string StillMatching(const MigrationPlan& plan, bool first, const std::string& before) {
  return absl::StrCat("WITH md_turn(md_key) AS (SELECT unnest(", before, "))", Embedded(first ? plan.select_left_first : plan.select_left));
}

std::string Embedded(const std::string& statement) {
  std::string text = statement;
  while (!text.empty() && (absl::ascii_isspace(static_cast<unsigned char>(text.back())) || text.back() == ';')) {
    text.pop_back();
  }
  return absl::StrCat("\n", text, "\n");
}

std::string TableIsSameSql(const MigrationPlan& plan) {
  const std::string name = absl::StrCat(QuoteIdentifier(plan.schema), ".", QuoteIdentifier(plan.table));
  return absl::StrCat("pg_catalog.to_regclass(", QuoteLiteral(name), ")::oid IS NOT DISTINCT FROM ", plan.table_oid,
                      "::oid");
}

std::string KeyIsSameSql(const MigrationPlan& plan) {
  std::vector<std::string> columns;
  for (std::size_t i = 0; i < plan.key_collations.size(); ++i) {
    if (plan.key_collations[i] == 0) continue;
    columns.push_back(absl::StrCat("(SELECT md_a.attcollation FROM pg_catalog.pg_attribute AS md_a WHERE md_a.attrelid = ", plan.table_oid,
                                   "::oid AND md_a.attname = ", QuoteLiteral(plan.key[i]), ") IS NOT DISTINCT FROM ",
                                   plan.key_collations[i], "::oid"));
  }
  return columns.empty() ? "true" : absl::StrJoin(columns, " AND ");
}

Parameters WorkParameters(const MigrationPlan& plan, const Key& lower, const Key& upper) {
  Parameters parameters(lower.begin(), lower.end());
  parameters.insert(parameters.end(), upper.begin(), upper.end());
  parameters.insert(parameters.end(), plan.parameter_values.begin(), plan.parameter_values.end());
  return parameters;
}

LaneFunctions::LaneFunctions(const LaneOptions& options, bool first)
    : options_(options),
      plan_(*options.plan),
      first_(first),
      statements_(StatementsFor(plan_, first, options.pass > 1)),
      tag_("$md$") {
  const std::string all = absl::StrCat(statements_.work, statements_.matching, statements_.bound, plan_.schema,
                                       plan_.table, options.claim.migration);
  for (int i = 0; all.find(tag_) != std::string::npos; ++i) tag_ = absl::StrCat("$md", i, "$");
}

std::vector<std::string> LaneFunctions::BoundTypes() const {
  std::vector<std::string> types = plan_.key_casts;
  Append(types, plan_.key_casts);
  types.push_back("bigint");
  return types;
}

std::vector<std::string> LaneFunctions::SubBatchTypes() const {
  std::vector<std::string> types = plan_.key_casts;
  Append(types, plan_.key_casts);
  Append(types, plan_.parameter_types);
  Append(types, {"text[]", "text[]", "text[]", "bigint", "boolean", "text[]", "integer"});
  Append(types, plan_.key_casts);
  return types;
}

std::string LaneFunctions::Extra(std::size_t n) const {
  return absl::StrCat("$", 2 * plan_.key_casts.size() + plan_.parameter_types.size() + n);
}

std::string LaneFunctions::CreateBound() const {
  std::string columns;
  for (std::size_t i = 0; i < plan_.key.size(); ++i) absl::StrAppend(&columns, i == 0 ? "" : ", ", "md_k", i);
  return absl::StrCat("CREATE OR REPLACE FUNCTION pg_temp.md_bound", suffix(), "(", absl::StrJoin(BoundTypes(), ", "),
                      ") RETURNS text[] LANGUAGE plpgsql AS ", tag_,
                      "\n#variable_conflict use_column\nDECLARE\n  md_bound text[];\nBEGIN\nSELECT ARRAY[", columns,
                      "]::text[] INTO md_bound FROM (", Embedded(statements_.bound), ") AS md_keys(", columns,
                      ");\nRETURN md_bound;\nEND\n", tag_);
}

// In EXECUTE. Whether `where` became false is asked of the very rows that matched before: others may come in meanwhile.
std::string LaneFunctions::ExecuteBody() const {
  const std::string work = absl::StrCat(Embedded(statements_.work), ";\nGET DIAGNOSTICS md_affected = ROW_COUNT;\n");
  if (!plan_.has_where) return work;
  const std::string matching = Embedded(statements_.matching);
  return absl::StrCat("IF ", Extra(5), " THEN\n  md_keys := ARRAY(SELECT md_m.md_key::text FROM (", matching,
                      ") AS md_m(md_key));\n  md_matched := cardinality(md_keys);\nEND IF;\n", work,
                      "IF md_matched > 0 THEN\n  IF (SELECT count(*) FROM (", StillMatching(plan_, first_, "md_keys"),
                      ") AS md_m(md_key)) = md_matched THEN\n    ",
                      Raise(kSqlStateWhereNotSatisfied, kWhereNotSatisfiedMessage), "  END IF;\nEND IF;\n");
}

// In VERIFY. Nothing is written where nothing matches, so looking over a finished table costs reads only. Only rows
// that had their turn are recorded as unchanged: one that came in meanwhile is for the next pass.
std::string LaneFunctions::VerifyBody() const {
  const std::string matching = Embedded(statements_.matching);
  return absl::StrCat(
      "md_keys := ARRAY(SELECT md_m.md_key::text FROM (", matching,
      ") AS md_m(md_key));\nmd_matched := cardinality(md_keys);\nmd_affected := 0;\nIF md_matched > 0 THEN\n",
      Embedded(statements_.work),
      ";\n  GET DIAGNOSTICS md_affected = ROW_COUNT;\n"
      "  INSERT INTO migration_control.failed_range AS md_f (migration, key, kind, pass)\n  SELECT ",
      QuoteLiteral(options_.claim.migration), ", md_m.md_key, 'UNCHANGED', ", options_.pass, " FROM (",
      StillMatching(plan_, first_, "md_keys"), ") AS md_m(md_key) ON CONFLICT DO NOTHING;\n"
      "  GET DIAGNOSTICS md_unchanged = ROW_COUNT;\nEND IF;\n");
}

std::string LaneFunctions::LaneIsOurs() const {
  return absl::Substitute("md_l.migration = $0 AND md_l.lane = $1 AND md_l.epoch = $2 AND md_l.token = $3\n"
                          "   AND md_l.cursor IS NOT DISTINCT FROM $4 AND NOT md_l.frozen",
                          QuoteLiteral(options_.claim.migration), options_.range.lane, options_.claim.epoch,
                          QuoteLiteral(options_.claim.token), Extra(1));
}

std::string LaneFunctions::Refuse() const {
  return absl::StrCat("PERFORM migration_control.refuse(", QuoteLiteral(options_.claim.migration), ", ", options_.range.lane, ");\n");
}

// A look that spares the work what the check-and-set would refuse: above all what was sent behind a sub-batch that failed.
std::string LaneFunctions::CheckFirst() const {
  return absl::StrCat("IF NOT EXISTS (SELECT FROM migration_control.lane AS md_l WHERE ", LaneIsOurs(), ") THEN\n  ", Refuse(), "END IF;\n");
}

std::string LaneFunctions::CheckAndSet() const {
  return absl::StrCat("UPDATE migration_control.lane AS md_l\n   SET cursor = ", Extra(2),
                      ", rows = md_l.rows + md_affected, sub_batches = md_l.sub_batches + 1\n WHERE ", LaneIsOurs(),
                      ";\nIF NOT FOUND THEN\n  ", Refuse(), "END IF;\n");
}

// Each behind the one before it, all in one flat array.
std::string LaneFunctions::NextBounds() const {
  const std::size_t columns = plan_.key.size();
  std::vector<std::string> arguments;
  for (std::size_t i = 0; i < columns; ++i) arguments.push_back(absl::StrCat("md_from[", i + 1, "]::", plan_.key_casts[i]));
  for (std::size_t i = 0; i < columns; ++i) arguments.push_back(Extra(8 + i));
  arguments.push_back(Extra(4));
  return absl::StrCat("IF ", Extra(4), " > 0 THEN\n  md_from := ", Extra(6), ";\n  FOR md_i IN 1 .. ", Extra(7),
                      " LOOP\n    md_from := coalesce(pg_temp.md_bound(", absl::StrJoin(arguments, ", "), "), ", Extra(3),
                      ");\n    md_next := md_next || md_from;\n    EXIT WHEN md_from = ", Extra(3), ";\n  END LOOP;\nEND IF;\n");
}

std::string LaneFunctions::CreateSubBatch() const {
  return absl::StrCat(
      "CREATE OR REPLACE FUNCTION pg_temp.md_sub_batch", suffix(), "(", absl::StrJoin(SubBatchTypes(), ", "),
      ", OUT md_affected bigint, OUT md_matched bigint, OUT md_unchanged bigint, OUT md_next text[], OUT md_at "
      "bigint)\n"
      "LANGUAGE plpgsql AS ",
      tag_,
      "\n#variable_conflict use_column\nDECLARE\n  md_keys text[];\n  md_from text[];\nBEGIN\nmd_matched := -1;\nmd_unchanged := 0;\n",
      CheckFirst(), CheckTable(plan_), options_.pass > 1 ? VerifyBody() : ExecuteBody(),
      // Again, now that the work holds its lock: between the first look and that lock the table may have been swapped.
      CheckTable(plan_),
      // Deferred constraints and triggers would otherwise run at commit, outside the statement's timeout.
      "SET CONSTRAINTS ALL IMMEDIATE;\n",
      // The last write.
      CheckAndSet(), NextBounds(), "md_at := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;\nEND\n", tag_);
}

std::string LaneFunctions::CallBound() const {
  return absl::StrCat("SELECT pg_temp.md_bound", suffix(), "(", Placeholders(BoundTypes()), ")");
}

std::string LaneFunctions::CallSubBatch() const {
  return absl::StrCat("SELECT md_affected, md_matched, md_unchanged, md_next, md_at FROM pg_temp.md_sub_batch",
                      suffix(), "(", Placeholders(SubBatchTypes()), ")");
}

}  // namespace migrationd
