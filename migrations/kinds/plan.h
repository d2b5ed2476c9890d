// From a checked definition and the facts of its table to the statements that are run on the target. Pure.
//
// Placeholders in the rendered SQL: $1 ... $k are the values of the lower bound, $k+1 ... $2k those of the upper bound (k key
// columns, each cast to its type), then the definition's parameters in order. Every value is bound, every identifier quoted.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "migrationcontrol/v1/definition.pb.h"
#include "migrations/model/key.h"

namespace migrationd {

class NativeMigration;
class NativeRegistry;

struct ColumnFacts {
  std::string name;
  std::string type;  // format_type(atttypid, atttypmod)
  bool not_null = false;
  bool generated = false;
  // pg_get_expr of its DEFAULT; empty: none. copy_columns needs it of destinations, to tell a default from a value that was
  // set explicitly.
  std::string default_expression;
  // Of a type that has one; 0: none.
  std::int64_t collation_oid = 0;
  // The same in words that are the same in a database made from a dump: its name, what it stands for, and the version of its order.
  std::string collation;
};

// What the target says of the table; found by Target::Inspect.
struct TableFacts {
  std::string schema;  // unquoted
  std::string name;
  std::int64_t oid = 0;
  std::vector<ColumnFacts> columns;
  std::vector<std::string> primary_key;
  // Column lists of valid, non-partial, non-expression unique indexes over not-null columns (the primary key too).
  std::vector<std::vector<std::string>> unique_keys;
  // Columns that a valid, non-partial btree index begins with, in the column's own order.
  std::vector<std::string> leading_columns;
  bool partitioned = false;
  // Whether other tables inherit from it (not as partitions): a query of it reads their rows, too.
  bool inherited = false;
  double estimated_rows = 0;  // reltuples; below 0: never analysed
};

// The work of kind `native`: a class instead of a statement.
struct NativeWork {
  std::shared_ptr<const NativeMigration> migration;
  std::string class_name;
  // The condition of the rows of a sub-batch, with the placeholders of `work`, in the four forms of `work`.
  std::string rows;
  std::string rows_first;
  std::string verify_rows;
  std::string verify_rows_first;
  // To which type the text of a value is cast before it is stored; of every column.
  std::map<std::string, std::string> types;
};

// What a kind runs. All SQL is complete except for the placeholders.
struct MigrationPlan {
  std::string schema;
  std::string table;
  std::string alias;  // unquoted
  std::int64_t table_oid = 0;
  std::vector<std::string> key;         // column names, unquoted
  std::vector<KeyType> key_types;
  std::vector<std::string> key_casts;   // the SQL type of each key column, for casts: "bigint", "uuid" ...
  std::vector<std::int64_t> key_collations;  // 0: its type has none
  // The columns, and their casts, by which rows are recorded in migration_control.failed_range: `key`, except in first_pass.
  std::vector<std::string> row_key;
  std::vector<std::string> row_key_casts;
  Key min_key;                          // of row_key, from the definition; empty: the table's
  Key max_key;
  bool has_where = false;
  // Several rows may have one key (DISTINCT): sizes count keys, and a key is done as a whole.
  bool rows_share_keys = false;

  // The condition of the rows in a range, on the alias. Placeholders: lower, upper.
  std::string range;
  std::string range_first;
  // Kind native: set, and work, work_first, verify_work, verify_work_first are empty.
  std::shared_ptr<const NativeWork> native;
  // The work, with {{batch}} replaced; `work_first` for a lane that has no cursor yet (its lower bound is inclusive). Both
  // take the same placeholders.
  std::string work;
  std::string work_first;
  // The same for VERIFY: rows recorded in migration_control.failed_range are left out.
  std::string verify_work;
  std::string verify_work_first;
  // SELECT count(*) of rows in the range that match `where`; empty without where. Same placeholders.
  std::string count_matching;
  std::string count_matching_first;
  // SELECT of two counts over a sample of the table: of rows in the range that match `where`, and of rows in the range; empty without
  // where. Placeholders: those of work_first, then the share of the table in percent, 0 to 100.
  std::string sample_matching_first;
  // The same as count_matching, without rows recorded in migration_control.failed_range.
  std::string count_verify;
  std::string count_verify_first;
  // Before the work: SELECT of one text[] a row in the range that matches `where` and is not recorded, which tells the row apart until the
  // transaction ends (mostly its key); empty without where.
  std::string select_unchanged;
  std::string select_unchanged_first;
  // After the work: SELECT of ARRAY[key::text, ...] once for each row that had its turn and still matches, wherever it is by then. It reads
  // those that had it from md_turn(md_key), a CTE that stands before it and holds what select_unchanged gave, as text. Empty without where.
  std::string select_left;
  std::string select_left_first;
  // SELECT of ARRAY[key::text, ...] of the rows in the range that are not recorded, without `where`, so that it can be asked about a row
  // that `where` itself fails on; always there.
  std::string select_keys;
  std::string select_keys_first;
  // SELECT k columns: the key of the n-th row after the lower bound and not above the upper bound; no row when fewer are left.
  // Placeholders: lower, upper, then $2k+1 = n (bigint, from 1). No parameters.
  std::string next_bound;
  std::string next_bound_first;
  // SELECT k columns: where the first lane begins (included), then where each lane ends, in order; no row for an empty table. $1 = lanes
  // (bigint). Empty: the lanes are cut at quantiles of the key.
  std::string lane_bounds;
  // Types of the definition's parameters, in order, and their values.
  std::vector<std::string> parameter_types;
  std::vector<std::string> parameter_values;

  // Statements by the kind itself, before and after those of the definition (the trigger of copy_columns).
  std::vector<std::string> prepare;
  std::vector<std::string> cleanup;

  // Digest over name, type, collation, nullability and generation of the key columns and of every column that statement or where name:
  // when it changes under way, the migration is HALTED with SCHEMA_CHANGED. Before it, a digest over the key alone; see HasSameKey.
  std::string column_digest;

  // search_path while it runs: pg_catalog, schema of the table, the target's, pg_temp last; quoted.
  std::string search_path;

  // What EXECUTE runs where it walks in another order than VERIFY (PHYSICAL), over other keys; nullptr: the same. See PlanOfPass.
  std::shared_ptr<const MigrationPlan> first_pass;
};

// What lanes, bounds and sub-batches of that pass (1: EXECUTE) go by. Rows are recorded, listed and retried by `plan` itself, whatever the
// pass. Lives as long as `plan`.
const MigrationPlan& PlanOfPass(const MigrationPlan& plan, std::int32_t pass);

// Whether positions recorded under the one column digest mean the same under the other: the same columns in the same order, each with values
// in the same order.
bool HasSameKey(const std::string& column_digest, const std::string& other);

struct PlanContext {
  std::string name;                                // of the migration
  std::map<std::string, std::string> parameters;  // bound ones
  std::vector<std::string> target_search_path = {"public"};
  // The classes of kind `native`; null: none. Outlives the call.
  const NativeRegistry* natives = nullptr;
};

// INVALID_ARGUMENT for bounds or parameters that are no values of their type, or not those of the native class. UNIMPLEMENTED for a kind
// that is not served. NOT_FOUND: no such native class, naming those there are.
// FAILED_PRECONDITION, precise, for what the table does not allow: no such column, a key without a unique index over not-null
// columns, a key type that cannot be walked, no primary key where none is named, a generated source, a missing destination ...
absl::StatusOr<MigrationPlan> MakePlan(const migrationcontrol::v1::MigrationDefinition& normalized, const TableFacts& table,
                                       const PlanContext& context);

// Table name of the definition as written ("public.\"Odd Table\""), split and unquoted; schema empty when not given.
struct TableName {
  std::string schema;
  std::string name;
};
absl::StatusOr<TableName> ParseTableName(const std::string& text);
// The definition's table, whatever its kind.
std::string TableOf(const migrationcontrol::v1::MigrationDefinition& definition);

// Whether there is something to clean up: its own statements, or the trigger of copy_columns.
bool HasCleanup(const migrationcontrol::v1::MigrationDefinition& definition);

// Whether cleanup follows by itself once it is COMPLETED (`cleanup.when: AUTO`).
bool CleansUpByItself(const migrationcontrol::v1::MigrationDefinition& definition);

// "quoted"; the one function that quotes identifiers.
std::string QuoteIdentifier(const std::string& name);

}  // namespace migrationd
