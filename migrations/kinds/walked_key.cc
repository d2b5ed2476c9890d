#include "migrations/kinds/walked_key.h"

#include <algorithm>
#include <cstdint>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/kinds/columns.h"
#include "migrations/kinds/walk_strategy.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

// The type that bounds are cast to, so that the comparison is the index's own. Without a length: a cast to character
// varying(3) would cut a bound. character needs its own operators, everything else of text those of text.
std::string CastOf(KeyType type, const std::string& column_type) {
  switch (type) {
    case KeyType::kSmallint:
      return "smallint";
    case KeyType::kInteger:
      return "integer";
    case KeyType::kBigint:
      return "bigint";
    case KeyType::kUuid:
      return "uuid";
    case KeyType::kTimestamptz:
      return "timestamptz";
    case KeyType::kTid:
      return "tid";
    case KeyType::kText:
      break;
  }
  const bool padded = column_type == "character" || absl::StartsWith(column_type, "character(");
  return padded ? "bpchar" : "text";
}

std::string ListText(const std::vector<std::string>& columns) {
  return absl::StrCat("[", absl::StrJoin(columns, ", "), "]");
}

// What could be the key instead.
std::string Candidates(const TableFacts& table) {
  std::vector<std::string> lists;
  for (const std::vector<std::string>& columns : table.unique_keys) lists.push_back(ListText(columns));
  if (lists.empty()) return "the table has no unique index over not-null columns; create one first";
  return absl::StrCat("possible: ", absl::StrJoin(lists, " or "));
}

// Unique, and indexed in that very order: otherwise every batch would sort the table.
absl::Status CheckUnique(const TableFacts& table, const std::vector<std::string>& key, const std::string& field) {
  if (key == table.primary_key) return absl::OkStatus();
  const auto& lists = table.unique_keys;
  if (std::find(lists.begin(), lists.end(), key) != lists.end()) return absl::OkStatus();
  const std::set<std::string> wanted(key.begin(), key.end());
  for (const std::vector<std::string>& columns : lists) {
    if (wanted != std::set<std::string>(columns.begin(), columns.end())) continue;
    return absl::FailedPreconditionError(absl::StrCat(field, ": the unique index of ", TableText(table),
                                                      " has the columns in another order; write ", ListText(columns)));
  }
  return absl::FailedPreconditionError(absl::StrCat(field, ": ", ListText(key), " has no unique, complete index of ",
                                                    TableText(table), " over not-null columns; ", Candidates(table)));
}

// One value as it is, several as a row.
std::string AsRow(const std::vector<std::string>& values) {
  return values.size() == 1 ? values[0] : absl::StrCat("(", absl::StrJoin(values, ", "), ")");
}

// <0, 0, >0; 0 also where only the database knows the order (text has collations).
int CompareValues(KeyType type, const std::string& a, const std::string& b) {
  if (type == KeyType::kUuid) return a.compare(b);
  if (type != KeyType::kSmallint && type != KeyType::kInteger && type != KeyType::kBigint) return 0;
  std::int64_t left = 0;
  std::int64_t right = 0;
  if (!absl::SimpleAtoi(a, &left) || !absl::SimpleAtoi(b, &right)) return 0;
  return left < right ? -1 : (left > right ? 1 : 0);
}

bool IsAbove(const MigrationPlan& plan, const Key& a, const Key& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    return CompareValues(plan.key_types[i], a[i], b[i]) > 0;
  }
  return false;
}

absl::StatusOr<Key> NormalizeBound(const MigrationPlan& plan, const std::vector<std::string>& bound,
                                   const std::string& field) {
  if (bound.empty()) return Key();
  absl::StatusOr<Key> key = NormalizeKey(plan.key_types, bound);
  if (!key.ok()) return absl::InvalidArgumentError(absl::StrCat(field, ": ", key.status().message()));
  return key;
}

}  // namespace

absl::Status ResolveColumns(const TableFacts& table, const std::vector<std::string>& wanted, const std::string& field,
                            MigrationPlan& plan) {
  plan.key = wanted;
  for (const std::string& name : plan.key) {
    MD_ASSIGN_OR_RETURN(const ColumnFacts* column, FindColumn(table, name, field));
    const std::optional<KeyType> type = ParseKeyType(column->type);
    if (!type.has_value()) {
      return absl::FailedPreconditionError(
          absl::StrCat(field, ": batches cannot be cut by column ", name, " of type ", column->type,
                       "; a key is of smallint, integer, bigint, uuid, text or timestamptz"));
    }
    if (!column->not_null) {
      return absl::FailedPreconditionError(
          absl::StrCat(field, ": column ", name, " of ", TableText(table),
                       " may be null, and such rows would never be reached; make it NOT NULL "
                       "or choose another key; ",
                       Candidates(table)));
    }
    plan.key_types.push_back(*type);
    plan.key_casts.push_back(CastOf(*type, column->type));
    plan.key_collations.push_back(column->collation_oid);
  }
  plan.row_key = plan.key;
  plan.row_key_casts = plan.key_casts;
  return absl::OkStatus();
}

absl::Status ResolveKey(const TableFacts& table, const std::vector<std::string>& wanted, const std::string& field,
                        MigrationPlan& plan) {
  if (wanted.empty() && table.primary_key.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(field, ": table ", TableText(table),
                                                      " has no primary key; name a unique key; ", Candidates(table)));
  }
  MD_RETURN_IF_ERROR(ResolveColumns(table, wanted.empty() ? table.primary_key : wanted, field, plan));
  return CheckUnique(table, plan.key, field);
}

std::string KeyRange(const MigrationPlan& plan, bool first) {
  const std::string row = AsRow(OnAlias(plan, plan.key));
  return absl::StrCat(row, first ? " >= " : " > ", AsRow(Positions(plan, 1)), " AND ", row,
                      " <= ", AsRow(Positions(plan, plan.key.size() + 1)));
}

absl::Status ResolveBounds(const std::vector<std::string>& min_key, const std::vector<std::string>& max_key,
                           const std::string& kind, MigrationPlan& plan) {
  MD_ASSIGN_OR_RETURN(plan.min_key, NormalizeBound(plan, min_key, kind + ".min_key"));
  MD_ASSIGN_OR_RETURN(plan.max_key, NormalizeBound(plan, max_key, kind + ".max_key"));
  if (!plan.min_key.empty() && !plan.max_key.empty() && IsAbove(plan, plan.min_key, plan.max_key)) {
    return absl::InvalidArgumentError(absl::StrCat(kind, ".min_key: ", KeyText(plan.min_key), " is above max_key ",
                                                   KeyText(plan.max_key), ", so no row would be reached"));
  }
  return absl::OkStatus();
}

}  // namespace migrationd
