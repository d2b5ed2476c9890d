// Between our records and the JSON objects, by column names, that the queries take and return. Times travel as JSON
// strings and numbers as JSON numbers, so nothing depends on settings of a session.
//
// Decoding throws std::exception for a document that is not what the schema promises; TransactionRunner makes INTERNAL
// of it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "store/control_store.h"
#include "store/postgres/transaction.h"

namespace migrationd {

// Columns of migrationd.migration, as for insert_migration and update_migration.
nlohmann::json EncodeMigration(const Migration& migration);
// Columns of migrationd.progress.
nlohmann::json EncodeProgress(const ProgressCounters& counters, const Hold& hold);
// Only the hold.
nlohmann::json EncodeHold(const Hold& hold);
nlohmann::json EncodeJob(const JobRecord& job);
// `written_by`: uuid of the call.
nlohmann::json EncodeEvent(const EventRecord& event, const std::string& written_by);
nlohmann::json EncodeFreeze(const FreezeRecord& freeze);
nlohmann::json EncodeTarget(const std::string& name, const TargetIdentity& identity);
nlohmann::json EncodeLeaseKeys(const std::vector<LeaseKey>& keys);

absl::Time DecodeTime(const nlohmann::json& value);
// A document of load_migrations; the definition is left empty, its digest is in the migration.
struct MigrationDocument {
  StoredMigration stored;
  absl::Time as_of;
};
MigrationDocument DecodeMigration(const nlohmann::json& document);
Lease DecodeLease(const nlohmann::json& lease);
JobRecord DecodeJob(const nlohmann::json& row);
EventRecord DecodeEvent(const nlohmann::json& row);
FreezeRecord DecodeFreeze(const nlohmann::json& row);
TargetIdentity DecodeTarget(const nlohmann::json& row);

// Database time.
absl::Time ReadClock(Transaction& transaction);

// The text that is bound. What PostgreSQL cannot keep in text (the character NUL, bytes that are not UTF-8) becomes
// U+FFFD.
std::string BoundJson(const nlohmann::json& value);
std::string BoundText(const std::string& text);

}  // namespace migrationd
