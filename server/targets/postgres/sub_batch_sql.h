// The SQL of a lane's sub-batches, as text.
//
// Written into functions in pg_temp when the lane opens, so that one call does all of it: one message, one transaction,
// one commit. Statements of the definition stand in the functions as they are (static SQL of PL/pgSQL: plans are
// cached, rows counted exactly).
#pragma once

#include <string>
#include <vector>

#include "server/targets/postgres/connection.h"
#include "server/targets/target.h"

namespace migrationd {

// The plan's statements for a lane: `first` while it has no cursor.
struct SubBatchStatements {
  std::string work;      // empty for a native class
  std::string matching;  // before the work: what tells the rows apart that match `where`; empty without where
  std::string bound;
};
// After the work: the keys of those of `before` (an expression of text[], what `matching` gave) that still match, as a query of one column.
std::string StillMatching(const MigrationPlan& plan, bool first, const std::string& before);
SubBatchStatements StatementsFor(const MigrationPlan& plan, bool first, bool verify);

// A statement as it may stand inside another or inside a function: on lines of its own, so that a comment at its end
// hides nothing, and without a semicolon at its end.
std::string Embedded(const std::string& statement);

// Whether the plan's table still is the one of that name: a boolean expression.
std::string TableIsSameSql(const MigrationPlan& plan);
// Whether the columns of its key still have the collations by which positions were compared so far: a boolean expression, "true" where none
// has one. Which columns they are, and in which order they are compared, stands in the plan's statements, whatever the table's index says.
std::string KeyIsSameSql(const MigrationPlan& plan);

// What the placeholders of the plan's statements stand for: lower key, upper key, parameters.
Parameters WorkParameters(const MigrationPlan& plan, const Key& lower, const Key& upper);

// Messages of the refusals that both forms of the sub-batch raise.
inline constexpr char kTableReplacedMessage[] = "the table was replaced by another one of that name, or is gone";
inline constexpr char kKeyCollationMessage[] =
    "the collation of a column of the key was changed, so rows have another order than the positions that were recorded; change it back, then Retry, or "
    "retry --from start";
inline constexpr char kWhereNotSatisfiedMessage[] =
    "every row of the first sub-batch still matches `where` after the statement, which must make it false";

// The session functions of one lane: pg_temp.md_bound... and pg_temp.md_sub_batch..., and the statements that call
// them.
//
// md_sub_batch takes the work's placeholders, then old cursor, new cursor and the lane's upper bound as text[], the
// next size (0: no look-up), whether to check `where`, the key to look up from as text[], how many bounds, and the lane's upper bound by
// column. It returns md_affected, md_matched (-1: not counted), md_unchanged, md_next (the columns of all bounds in a row) and md_at
// (microseconds since 1970).
class LaneFunctions {
 public:
  // `first`: for the sub-batch that begins at the lane's inclusive lower bound.
  LaneFunctions(const LaneOptions& options, bool first);

  // "" or "_first": ends the names of functions and prepared statements.
  std::string suffix() const { return first_ ? "_first" : ""; }

  std::string CreateBound() const;
  // Calls md_bound (not _first), which must be there already.
  std::string CreateSubBatch() const;
  std::string CallBound() const;
  std::string CallSubBatch() const;

 private:
  std::string ExecuteBody() const;
  std::string VerifyBody() const;
  // Whether the lane is where this sub-batch begins, and still ours: a condition on md_l.
  std::string LaneIsOurs() const;
  std::string Refuse() const;
  std::string CheckFirst() const;
  std::string CheckAndSet() const;
  std::string NextBounds() const;
  std::vector<std::string> BoundTypes() const;
  std::vector<std::string> SubBatchTypes() const;
  // The n-th argument (from 1) after the work's placeholders.
  std::string Extra(std::size_t n) const;

  const LaneOptions& options_;
  const MigrationPlan& plan_;
  const bool first_;
  const SubBatchStatements statements_;
  std::string tag_;  // dollar quote that occurs in no statement
};

}  // namespace migrationd
