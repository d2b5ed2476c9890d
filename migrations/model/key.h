// Keys and cursors: the values of a table's key columns in a fixed text form, one string a column.
//
// The text form is what PostgreSQL prints with TimeZone UTC, DateStyle ISO and extra_float_digits 1, which every session of ours
// pins; so a key read from one database, stored in another and sent back names the same row.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace migrationd {

// The key column types that batches can be cut by. kTid, the place of a row version in the table's file, is nobody's column: only the
// strategy PHYSICAL walks by it.
enum class KeyType { kSmallint, kInteger, kBigint, kUuid, kText, kTimestamptz, kTid };

// As PostgreSQL's format_type() prints it: "bigint", "timestamp with time zone" ...; also accepts character varying and
// character as kText. nullopt: batches cannot be cut by such a column.
std::optional<KeyType> ParseKeyType(std::string_view type);
std::string_view KeyTypeName(KeyType type);

// A tid, as text (block,offset). nullopt: it is none.
struct Place {
  std::int64_t block = 0;
  std::int64_t offset = 0;
};
std::optional<Place> ParsePlace(std::string_view text);

// One value a key column. Empty vector: no key (a lane before its first sub-batch).
using Key = std::vector<std::string>;

// Checks that `text` is a value of `type` and returns its fixed text form: "0042" becomes "42", a uuid becomes lower case with
// dashes. Text is returned as it is. Timestamps must have the ISO form with a zone and are turned into UTC.
// INVALID_ARGUMENT with what was expected.
absl::StatusOr<std::string> NormalizeKeyValue(KeyType type, std::string_view text);

// The same for a whole key. INVALID_ARGUMENT also when the number of values differs from the number of columns.
absl::StatusOr<Key> NormalizeKey(const std::vector<KeyType>& types, const Key& key);

// For people: (1, abc).
std::string KeyText(const Key& key);

// The key as a PostgreSQL array literal, {"1","a b"}: how cursors are stored and bound. ParseKeyArray is the reverse and refuses
// anything but a one-dimensional array without NULLs (INVALID_ARGUMENT).
std::string KeyArray(const Key& key);
absl::StatusOr<Key> ParseKeyArray(std::string_view literal);

}  // namespace migrationd
