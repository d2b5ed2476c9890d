#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"
#include "server/targets/postgres/connection.h"
#include "server/targets/postgres/postgres_target.h"

namespace migrationd {
namespace {

// Ordinary and partitioned tables only: there is nothing to walk in a view.
constexpr char kFindTable[] = R"sql(
SELECT c.oid::bigint, n.nspname, c.relname, c.relkind,
       EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = c.oid)
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.oid = pg_catalog.to_regclass($1))sql";

// A collation by its name, that of the database by its locale, with the version of its order in the libraries that the server runs with: an
// upgrade of these, or a standby with others, orders texts in another way.
constexpr char kColumns[] = R"sql(
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated <> '',
       coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), ''),
       a.attcollation::bigint,
       coalesce(concat_ws('/', n.nspname, o.collname,
                          CASE WHEN o.collprovider = 'd'
                               THEN (SELECT b.datcollate FROM pg_catalog.pg_database AS b WHERE b.datname = pg_catalog.current_database()) END,
                          CASE WHEN o.oid IS NOT NULL THEN pg_catalog.pg_collation_actual_version(o.oid) END), '')
  FROM pg_catalog.pg_attribute AS a
  LEFT JOIN pg_catalog.pg_collation AS o ON o.oid = a.attcollation
  LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = o.collnamespace
  LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''
 WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum)sql";

// Unique indexes that surely tell rows apart: valid, checked at once, over plain not-null columns of all rows. The
// primary key first.
constexpr char kUniqueKeys[] = R"sql(
SELECT i.indisprimary, array_agg(a.attname::text ORDER BY k.position)::text[]
  FROM pg_catalog.pg_index AS i
 CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND a.attnotnull
 WHERE i.indrelid = $1::bigint::oid AND i.indisunique AND i.indisvalid AND i.indisready AND i.indimmediate
   AND i.indpred IS NULL AND i.indexprs IS NULL AND k.position <= i.indnkeyatts
 GROUP BY i.indexrelid, i.indisprimary, i.indnkeyatts
HAVING count(*) = i.indnkeyatts
 ORDER BY i.indisprimary DESC, i.indexrelid)sql";

// Of indexes that give the column's values in its own order: with its collation and the type's default operators.
constexpr char kLeadingColumns[] = R"sql(
SELECT DISTINCT a.attname
  FROM pg_catalog.pg_index AS i
  JOIN pg_catalog.pg_opclass AS o ON o.oid = i.indclass[0] AND o.opcdefault
  JOIN pg_catalog.pg_am AS m ON m.oid = o.opcmethod AND m.amname = 'btree'
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] AND a.attcollation = i.indcollation[0]
 WHERE i.indrelid = $1::bigint::oid AND i.indisvalid AND i.indisready AND i.indpred IS NULL
 ORDER BY a.attname)sql";

// Partitions have the rows; their parent may never have been analysed. (pg_partition_tree knows nothing of an ordinary
// table.)
constexpr char kEstimate[] = R"sql(
SELECT CASE WHEN bool_and(c.reltuples < 0) THEN -1 ELSE sum(greatest(c.reltuples, 0)) END
  FROM pg_catalog.pg_class AS c
 WHERE c.relkind = 'r'
   AND c.oid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree($1::oid::regclass) AS t UNION SELECT $1::oid))sql";

}  // namespace

absl::StatusOr<TableFacts> ReadTableFacts(Connection& connection, const TableName& table) {
  const std::string quoted = table.schema.empty()
                                 ? QuoteIdentifier(table.name)
                                 : absl::StrCat(QuoteIdentifier(table.schema), ".", QuoteIdentifier(table.name));
  MD_ASSIGN_OR_RETURN(const QueryResult found, connection.Query(kFindTable, {quoted}));
  if (found.rows() == 0) {
    return absl::NotFoundError(
        absl::StrCat("There is no table ", quoted, " in this database",
                     table.schema.empty() ? " (looked for in the target's search_path); name its schema." : "."));
  }
  TableFacts facts;
  facts.oid = found.integer(0, 0);
  facts.schema = found.text(0, 1);
  facts.name = found.text(0, 2);
  const std::string kind = found.text(0, 3);
  if (kind != "r" && kind != "p") {
    return absl::FailedPreconditionError(
        absl::StrCat(quoted, " is not a table (kind ", kind, "); only ordinary and partitioned tables can be walked."));
  }
  facts.partitioned = kind == "p";
  facts.inherited = !facts.partitioned && found.boolean(0, 4);
  const Parameters oid = {absl::StrCat(facts.oid)};
  MD_ASSIGN_OR_RETURN(const QueryResult columns, connection.Query(kColumns, oid));
  for (int i = 0; i < columns.rows(); ++i) {
    facts.columns.push_back({columns.text(i, 0), columns.text(i, 1), columns.boolean(i, 2), columns.boolean(i, 3), columns.text(i, 4),
                             columns.integer(i, 5), columns.text(i, 6)});
  }
  MD_ASSIGN_OR_RETURN(const QueryResult keys, connection.Query(kUniqueKeys, oid));
  for (int i = 0; i < keys.rows(); ++i) {
    MD_ASSIGN_OR_RETURN(const Key names, ParseKeyArray(keys.text(i, 1)));
    if (keys.boolean(i, 0)) facts.primary_key = names;
    facts.unique_keys.push_back(names);
  }
  MD_ASSIGN_OR_RETURN(const QueryResult leading, connection.Query(kLeadingColumns, oid));
  for (int i = 0; i < leading.rows(); ++i) facts.leading_columns.push_back(leading.text(i, 0));
  MD_ASSIGN_OR_RETURN(const QueryResult estimate, connection.Query(kEstimate, oid));
  // Printed like 1e+06.
  if (estimate.rows() == 1 && !estimate.null(0, 0))
    facts.estimated_rows = std::strtod(estimate.text(0, 0).c_str(), nullptr);
  return facts;
}

}  // namespace migrationd
