// The schema's steps and how they are applied.
#pragma once

#include "absl/status/status.h"
#include "store/postgres/transaction.h"

namespace migrationd {

// Applies the steps that are missing, each in a transaction with its row in migrationd.version and under one lock, so
// any number of processes may do it at once, and one that dies half-way leaves whole steps. Idempotent. May wait up to
// a minute for others. FAILED_PRECONDITION: the schema needs a newer program.
absl::Status UpgradeSchema(const TransactionRunner& transactions);

// Checks that the schema is there, has all steps this program knows, and lets this program use it. FAILED_PRECONDITION
// otherwise.
absl::Status CheckSchemaVersion(const TransactionRunner& transactions);

}  // namespace migrationd
