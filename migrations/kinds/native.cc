#include "migrations/kinds/native.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/definition/text_rules.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"

namespace migrationd {
namespace {

constexpr char kTableParameter[] = "table";
// data_exception: what a statement fails with for a value that it cannot take.
constexpr char kBadRowSqlState[] = "22000";

bool IsClassName(const std::string& text) {
  return !text.empty() && text.size() <= 100 && absl::ascii_isalpha(static_cast<unsigned char>(text[0])) &&
         std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == ':' || c == '-'; });
}

bool Contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string Columns(const std::string& prefix, const std::vector<std::string>& names) {
  return absl::StrJoin(names, ", ",
                       [&](std::string* out, const std::string& name) { absl::StrAppend(out, prefix, QuoteIdentifier(name)); });
}

}  // namespace

std::string SqlArray(const NativeRow& values) {
  std::string array = "{";
  for (const std::optional<std::string>& value : values) {
    if (array.size() > 1) array += ',';
    if (!value.has_value()) {
      array += "NULL";
      continue;
    }
    array += '"';
    for (const char c : *value) {
      if (c == '"' || c == '\\') array += '\\';
      array += c;
    }
    array += '"';
  }
  return array + '}';
}

const std::string* NativeParameters::Find(const std::string& name) {
  known_.insert(name);
  const auto found = values_.find(name);
  return found == values_.end() ? nullptr : &found->second;
}

void NativeParameters::Refuse(const std::string& name, const std::string& problem) {
  known_.insert(name);
  problems_.push_back(absl::StrCat("native.parameters.", Shown(name), ": ", problem));
}

std::string NativeParameters::Table() { return Text(kTableParameter); }

std::string NativeParameters::Text(const std::string& name) {
  const std::string* value = Find(name);
  if (value == nullptr || value->empty()) {
    Refuse(name, value == nullptr ? "is missing" : "is empty");
    return "";
  }
  return *value;
}

std::string NativeParameters::Text(const std::string& name, const std::string& fallback) {
  const std::string* value = Find(name);
  return value == nullptr ? fallback : *value;
}

std::int64_t NativeParameters::ReadInteger(const std::string& name, std::int64_t lowest, std::int64_t highest,
                                           const std::int64_t* fallback) {
  const std::string* text = Find(name);
  if (text == nullptr && fallback != nullptr) return *fallback;
  std::int64_t value = lowest;
  if (text == nullptr) {
    Refuse(name, absl::StrCat("is missing; expected a whole number from ", lowest, " to ", highest));
  } else if (!absl::SimpleAtoi(*text, &value) || value < lowest || value > highest) {
    Refuse(name, absl::StrCat("'", Shown(*text), "' is not a whole number from ", lowest, " to ", highest));
    value = lowest;
  }
  return value;
}

std::int64_t NativeParameters::Integer(const std::string& name, std::int64_t lowest, std::int64_t highest) {
  return ReadInteger(name, lowest, highest, nullptr);
}

std::int64_t NativeParameters::Integer(const std::string& name, std::int64_t lowest, std::int64_t highest, std::int64_t fallback) {
  return ReadInteger(name, lowest, highest, &fallback);
}

bool NativeParameters::Boolean(const std::string& name, bool fallback) {
  const std::string* value = Find(name);
  if (value == nullptr) return fallback;
  if (*value == "true" || *value == "false") return *value == "true";
  Refuse(name, absl::StrCat("'", Shown(*value), "' is neither true nor false"));
  return fallback;
}

std::string NativeParameters::Column(const std::string& name) {
  const std::string* value = Find(name);
  if (value == nullptr || value->empty()) {
    Refuse(name, "is missing; name a column of the table");
  } else if ((*value)[0] == '"') {
    Refuse(name, "is a column's name as it is in the table; write it without SQL's quotes");
  } else if (value->size() > 63) {
    Refuse(name, "is longer than the 63 bytes that PostgreSQL keeps of a name");
  } else {
    return *value;
  }
  return "";
}

absl::Status NativeParameters::status() const {
  std::vector<std::string> problems = problems_;
  std::vector<std::string> known(known_.begin(), known_.end());
  if (!Contains(known, kTableParameter)) known.push_back(kTableParameter);
  std::sort(known.begin(), known.end());
  for (const auto& [name, value] : values_) {
    if (Contains(known, name)) continue;
    const std::string meant = ClosestTo(name, known);
    const std::string hint =
        meant.empty() ? absl::StrCat("known are ", absl::StrJoin(known, ", ")) : absl::StrCat("did you mean ", meant, "?");
    problems.push_back(absl::StrCat("native.parameters.", Shown(name), ": is not known; ", hint));
  }
  return problems.empty() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrJoin(problems, "; "));
}

// FOR NO KEY UPDATE is what an UPDATE of other columns takes, so nobody who only refers to the rows has to wait.
absl::StatusOr<std::vector<NativeRow>> NativeBatch::Select(const std::vector<std::string>& columns) {
  const std::string prefix = absl::StrCat(QuoteIdentifier(range_.alias), ".");
  std::string list;
  for (const auto* names : {&range_.key, &columns}) {
    for (const std::string& name : *names) absl::StrAppend(&list, list.empty() ? "" : ", ", prefix, QuoteIdentifier(name), "::text");
  }
  return session_.Query(absl::StrCat("SELECT ", list, " FROM ", range_.table, " AS ", QuoteIdentifier(range_.alias), " WHERE ", range_.rows,
                                     " ORDER BY ", Columns(prefix, range_.key), " FOR NO KEY UPDATE OF ", QuoteIdentifier(range_.alias)),
                        range_.values);
}

absl::StatusOr<std::int64_t> NativeBatch::Update(const std::vector<std::string>& columns, const std::vector<NativeRow>& rows) {
  if (columns.empty()) return absl::InvalidArgumentError("Update: names no column to set.");
  if (rows.empty()) return 0;
  std::vector<std::string> all = range_.key;
  all.insert(all.end(), columns.begin(), columns.end());
  for (const std::string& column : columns) {
    if (Contains(range_.key, column)) {
      return absl::InvalidArgumentError(
          absl::StrCat("Update: ", column, " is a column of the key that batches are cut by, which must not change."));
    }
  }
  // One array a column: $1 ..., each of the column's own type.
  std::vector<NativeRow> arrays(all.size());
  for (const NativeRow& row : rows) {
    if (row.size() != all.size()) {
      return absl::InvalidArgumentError(absl::StrCat("Update: a row has ", row.size(), " values; expected the ", range_.key.size(),
                                                     " of the key and ", columns.size(), " new ones."));
    }
    for (std::size_t i = 0; i < row.size(); ++i) arrays[i].push_back(row[i]);
  }
  NativeRow values;
  std::vector<std::string> unnested;
  std::vector<std::string> names;
  std::vector<std::string> sets;
  std::vector<std::string> matches;
  const std::string alias = QuoteIdentifier(range_.alias);
  const std::string with = range_.alias == "md_v" ? "md_w" : "md_v";  // the new values
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto type = range_.types.find(all[i]);
    if (type == range_.types.end()) return absl::InvalidArgumentError(absl::StrCat("Update: the table has no column ", all[i], "."));
    values.push_back(SqlArray(arrays[i]));
    unnested.push_back(absl::StrCat("$", i + 1, "::text[]"));
    names.push_back(absl::StrCat("v", i));
    // Cast one by one: the text of a value that is an array itself cannot be an element of an array.
    const std::string value = absl::StrCat(with, ".v", i, "::", type->second);
    const std::string column = QuoteIdentifier(all[i]);
    if (i < range_.key.size()) {
      matches.push_back(absl::StrCat(alias, ".", column, " = ", value));
    } else {
      sets.push_back(absl::StrCat(column, " = ", value));
    }
  }
  return session_.Execute(absl::StrCat("UPDATE ", range_.table, " AS ", alias, " SET ", absl::StrJoin(sets, ", "), " FROM unnest(",
                                       absl::StrJoin(unnested, ", "), ") AS ", with, "(", absl::StrJoin(names, ", "), ") WHERE ",
                                       absl::StrJoin(matches, " AND ")),
                          values);
}

absl::Status BadRowError(const std::string& message) { return DatabaseError(kBadRowSqlState, message); }

void NativeRegistry::Add(const std::string& name, Factory factory) {
  if (!status_.ok()) return;
  if (!IsClassName(name)) {
    status_ = absl::InvalidArgumentError(
        absl::StrCat("'", Shown(name), "' is no name of a native class; it is a letter, then letters, digits, '_', '.', ':' or '-'"));
  } else if (!factory) {
    status_ = absl::InvalidArgumentError(absl::StrCat("the native class ", name, " has no factory"));
  } else if (!factories_.emplace(name, std::move(factory)).second) {
    status_ = absl::AlreadyExistsError(absl::StrCat("the native class ", name, " is registered twice"));
  }
}

std::vector<std::string> NativeRegistry::names() const {
  std::vector<std::string> names;
  for (const auto& [name, factory] : factories_) names.push_back(name);
  return names;
}

absl::StatusOr<std::shared_ptr<const NativeMigration>> NativeRegistry::Make(const std::string& name,
                                                                            const std::map<std::string, std::string>& parameters) const {
  const auto found = factories_.find(name);
  if (found == factories_.end()) {
    return absl::NotFoundError(absl::StrCat("native.class: '", Shown(name), "' is not registered in this migrationd; registered: ",
                                            factories_.empty() ? "none" : absl::StrJoin(names(), ", ")));
  }
  NativeParameters reader(parameters);
  absl::Status failed = absl::InternalError("its factory made nothing");
  try {
    absl::StatusOr<std::unique_ptr<NativeMigration>> made = found->second(reader);
    if (made.ok() && *made != nullptr) {
      MD_RETURN_IF_ERROR(reader.status());
      return std::shared_ptr<const NativeMigration>(*std::move(made));
    }
    if (!made.ok()) failed = made.status();
  } catch (const std::exception& error) {
    failed = absl::InternalError(absl::StrCat("its factory threw: ", error.what()));
  } catch (...) {
    failed = absl::InternalError("its factory threw something that is no std::exception");
  }
  // A wrong parameter is probably why. What it had not read yet when it gave up is not said to be unknown.
  if (!reader.problems_.empty()) return absl::InvalidArgumentError(absl::StrJoin(reader.problems_, "; "));
  return absl::FailedPreconditionError(absl::StrCat("native.class: ", name, ": ", std::string(failed.message())));
}

}  // namespace migrationd
