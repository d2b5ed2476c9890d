// DISTINCT: ranges of the values of one column that need not be unique. Sizes count values, and one value is indivisible.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/kinds/columns.h"
#include "migrations/kinds/walk_strategy.h"
#include "migrations/kinds/walked_key.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

class Distinct : public WalkStrategy {
 public:
  std::string_view name() const override { return "DISTINCT"; }
  WalkTraits traits() const override { return {.rows_share_keys = true}; }

  absl::Status Resolve(const TableFacts& table, const WalkRequest& request, MigrationPlan& plan) const override {
    const std::string field = request.kind + ".key";
    if (request.key.size() != 1) {
      return absl::FailedPreconditionError(
          absl::StrCat(field, ": DISTINCT walks the values of one column; name that column, like [tenant_id], or use KEYSET"));
    }
    MD_RETURN_IF_ERROR(ResolveColumns(table, request.key, field, plan));
    const auto& leading = table.leading_columns;
    if (std::find(leading.begin(), leading.end(), plan.key[0]) != leading.end()) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        field, ": no complete btree index of ", TableText(table), " begins with ", plan.key[0],
        ", so every batch would sort the table; create one (CREATE INDEX CONCURRENTLY)",
        leading.empty() ? "" : absl::StrCat(", or use a column that has one: ", absl::StrJoin(leading, ", "))));
  }

  std::string Range(const MigrationPlan& plan, bool first) const override { return KeyRange(plan, first); }

  // From one value to the next larger one, by the index, whatever number of rows a value has.
  std::string NextBound(const MigrationPlan& plan, bool first) const override {
    const std::string column = OnAlias(plan, plan.key)[0];
    const std::string one = absl::StrCat(" ORDER BY ", column, " LIMIT 1");
    const std::string upper = Positions(plan, 2)[0];
    return absl::StrCat("WITH RECURSIVE md_walk(md_value, md_n) AS ((SELECT ", column, ", 1::bigint", FromTable(plan), " WHERE ",
                        Range(plan, first), one, ") UNION ALL SELECT md_next.md_value, md_walk.md_n + 1 FROM md_walk CROSS JOIN LATERAL (SELECT ",
                        column, " AS md_value", FromTable(plan), " WHERE ", column, " > md_walk.md_value AND ", column, " <= ", upper, one,
                        ") AS md_next WHERE md_walk.md_n < $3::bigint) SELECT md_walk.md_value::text FROM md_walk WHERE md_walk.md_n = $3::bigint");
  }
};

}  // namespace

const WalkStrategy& DistinctStrategy() {
  static const Distinct strategy;
  return strategy;
}

}  // namespace migrationd
