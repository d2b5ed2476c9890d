// How batches are cut from a table: in which order its rows are walked, how a position in that order is told, and how the position of the
// n-th row after another one is found. Pure: a strategy reads facts of the table and renders SQL.
//
// A position is a Key of the plan: one text value for each of plan.key, cast to plan.key_casts. It is all that sessions, lanes, cursors,
// bisection and take-overs know of an order, so they serve every strategy alike.
//
// To add one: derive from this class in a file beside keyset.cc, and name it in the table of walk_strategy.cc. A definition chooses it by a
// word of `enum Strategy` (definition.proto), so it needs one there, too; a kind of one's own may hand it to RenderBatchQueries itself. What
// is asked of it:
//   - Positions are ordered as Range compares them, and a row keeps its position while nobody changes it.
//   - Range is cheap: one condition of an index or of the file, not a filter over the table (look at EXPLAIN).
//   - NextBound reads about as many rows as it is asked for, and a bounded stretch where there are none.
//   - Where a row that is written meanwhile can jump behind the cursor and match `where` there, verify() must be another strategy: VERIFY
//     concludes from a pass that found nothing that nothing is left.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "migrations/kinds/plan.h"

namespace migrationd {

// What of a definition a strategy looks at.
struct WalkRequest {
  std::vector<std::string> key;  // empty: the primary key, where the strategy takes it
  std::string kind;              // the definition's field, such as sql_batch, for messages
  bool has_where = false;
};

// What rendering must respect.
struct WalkTraits {
  // Several rows may have one position and one row_key: they are done, recorded and retried together.
  bool rows_share_keys = false;
  // The work itself gives rows that it changes another position: they may be met again, and only `where` tells them apart.
  bool work_moves_rows = false;
};

// Has no state; safe to use from any thread.
class WalkStrategy {
 public:
  virtual ~WalkStrategy() = default;

  // The word in the definition, such as KEYSET.
  virtual std::string_view name() const = 0;
  virtual WalkTraits traits() const { return {}; }

  // Fills in key, key_types, key_casts, key_collations, row_key and row_key_casts. FAILED_PRECONDITION, naming the field, the reason and what would be
  // right, for a table that cannot be walked like this.
  virtual absl::Status Resolve(const TableFacts& table, const WalkRequest& request, MigrationPlan& plan) const = 0;

  // The strategy of VERIFY. When it is another one, the plan that it resolved is what Resolve of this one is given.
  virtual const WalkStrategy& verify() const { return *this; }

  // A condition on plan.alias: after the lower position ($1 ...; `first`: from it on) and up to the upper one.
  virtual std::string Range(const MigrationPlan& plan, bool first) const = 0;
  // MigrationPlan::next_bound.
  virtual std::string NextBound(const MigrationPlan& plan, bool first) const = 0;
  // MigrationPlan::lane_bounds.
  virtual std::string LaneBounds(const MigrationPlan&) const { return ""; }
};

// Ranges of a unique key, in the order of its index.
const WalkStrategy& KeysetStrategy();
// Ranges of the values of one column, each of which may have many rows: a loose index scan. One value is indivisible.
const WalkStrategy& DistinctStrategy();
// Ranges of places in the table's file, in the order of the disk.
const WalkStrategy& PhysicalStrategy();

// nullptr: there is none of that name.
const WalkStrategy* FindWalkStrategy(std::string_view name);

// For strategies: "alias"."column" of each, "schema"."table" AS "alias" after FROM, and $n, $n+1 ... cast to the types of the key.
std::vector<std::string> OnAlias(const MigrationPlan& plan, const std::vector<std::string>& columns);
std::string FromTable(const MigrationPlan& plan);
std::vector<std::string> Positions(const MigrationPlan& plan, std::size_t n);

}  // namespace migrationd
