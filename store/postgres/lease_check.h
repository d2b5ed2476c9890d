// Whether a claim holds, inside a transaction that depends on it.
#pragma once

#include "absl/status/status.h"
#include "store/control_store.h"
#include "store/postgres/transaction.h"

namespace migrationd {

// OK while the claim holds; it then cannot be taken over before the transaction ends. ABORTED otherwise. Throws as
// Transaction::Execute.
absl::Status CheckLease(Transaction& transaction, const LeaseKey& key);

}  // namespace migrationd
