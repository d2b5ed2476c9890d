// The schema's steps and how they are applied.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "migrations/model/schema_steps.h"
#include "store/postgres/transaction.h"

namespace migrationd {

// The steps of this program.
const SchemaSteps& ControlSchemaSteps();

// The application_name of connections, which says what their program knows: by that, contracting finds older ones.
std::string NameWithVersion(const std::string& name, const SchemaSteps& steps);

// Applies the steps that are missing, each in a transaction with its row in migrationd.version and under one lock, so
// any number of processes may do it at once, and one that dies half-way leaves whole steps. Idempotent. May wait up to
// a minute for others. FAILED_PRECONDITION: the schema needs a newer program; or a step that takes something away is due
// and a server that still uses it is connected (of those that this role may see).
absl::Status UpgradeSchema(const TransactionRunner& transactions, const SchemaSteps& steps, Contracting contracting);

// Checks that the schema is there, has all steps that add and that this program knows, and lets this program use it.
// FAILED_PRECONDITION otherwise.
absl::Status CheckSchemaVersion(const TransactionRunner& transactions, const SchemaSteps& steps);

}  // namespace migrationd
