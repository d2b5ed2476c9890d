// KEYSET: ranges of a unique key, in the order of its index.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/kinds/walk_strategy.h"
#include "migrations/kinds/walked_key.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

class Keyset : public WalkStrategy {
 public:
  std::string_view name() const override { return "KEYSET"; }

  absl::Status Resolve(const TableFacts& table, const WalkRequest& request, MigrationPlan& plan) const override {
    return ResolveKey(table, request.key, request.kind + ".key", plan);
  }

  std::string Range(const MigrationPlan& plan, bool first) const override { return KeyRange(plan, first); }

  std::string NextBound(const MigrationPlan& plan, bool first) const override {
    const std::vector<std::string> columns = OnAlias(plan, plan.key);
    std::vector<std::string> named;
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < columns.size(); ++i) {
      named.push_back(absl::StrCat(columns[i], " AS md_", i));
      texts.push_back(absl::StrCat("md_b.md_", i, "::text"));
    }
    // As text outside: inside, it would be made of every row that is passed over, which takes as long as passing over it.
    return absl::StrCat("SELECT ", absl::StrJoin(texts, ", "), " FROM (SELECT ", absl::StrJoin(named, ", "), FromTable(plan), " WHERE ",
                        Range(plan, first), " ORDER BY ", absl::StrJoin(columns, ", "), " OFFSET $", 2 * plan.key.size() + 1,
                        "::bigint - 1 LIMIT 1) AS md_b");
  }
};

}  // namespace

const WalkStrategy& KeysetStrategy() {
  static const Keyset strategy;
  return strategy;
}

}  // namespace migrationd
