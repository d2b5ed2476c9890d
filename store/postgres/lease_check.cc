#include "store/postgres/lease_check.h"

#include "store/mutation_rules.h"
#include "store/postgres/queries.h"
#include "store/postgres/records.h"

namespace migrationd {

absl::Status CheckLease(Transaction& transaction, const LeaseKey& key) {
  if (!transaction.Execute(queries::kCheckLease, {std::to_string(key.id.value), BoundText(key.token)}).empty()) {
    return absl::OkStatus();
  }
  return LeaseLost(key.id);
}

}  // namespace migrationd
