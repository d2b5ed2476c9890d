#include "migrations/kinds/walk_strategy.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "migrations/kinds/identifiers.h"

namespace migrationd {

const WalkStrategy* FindWalkStrategy(std::string_view name) {
  static const std::array<const WalkStrategy*, 3> kStrategies = {&KeysetStrategy(), &DistinctStrategy(), &PhysicalStrategy()};
  const auto found = std::find_if(kStrategies.begin(), kStrategies.end(),
                                  [&](const WalkStrategy* strategy) { return strategy->name() == name; });
  return found == kStrategies.end() ? nullptr : *found;
}

std::vector<std::string> OnAlias(const MigrationPlan& plan, const std::vector<std::string>& columns) {
  std::vector<std::string> qualified;
  for (const std::string& column : columns) {
    qualified.push_back(absl::StrCat(QuoteIdentifier(plan.alias), ".", QuoteIdentifier(column)));
  }
  return qualified;
}

std::string FromTable(const MigrationPlan& plan) {
  return absl::StrCat(" FROM ", QualifiedTable(plan), " AS ", QuoteIdentifier(plan.alias));
}

std::vector<std::string> Positions(const MigrationPlan& plan, std::size_t n) {
  std::vector<std::string> placeholders;
  for (std::size_t i = 0; i < plan.key_casts.size(); ++i) {
    placeholders.push_back(absl::StrCat("$", n + i, "::", plan.key_casts[i]));
  }
  return placeholders;
}

}  // namespace migrationd
