// Migrations in C++: the interface of a class that does the work of kind `native`, and the registry by which migrationd finds it.
//
// Installed as migrationd/native.h. A program of one's own registers its classes and calls RunMigrationd (migrationd/run.h); the README,
// "Migrations in C++", has all of it in one piece.
//
// What is promised: everything that a sub-batch does through its NativeBatch is one transaction with the move of the cursor, so its effect
// in the target is there exactly once for each row. What it does elsewhere (a file, another service) happens at least once: a sub-batch
// that is rolled back is done again.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace migrationd {

// One row of a query, or the values bound to a statement: the text forms that PostgreSQL prints and reads (TimeZone UTC, DateStyle ISO).
// nullopt is NULL.
using NativeRow = std::vector<std::optional<std::string>>;

// "quoted", for an identifier that stands in SQL.
std::string QuoteIdentifier(const std::string& name);
// 'quoted', for a text that stands in SQL where nothing can be bound, as in NativeShape::where.
std::string QuoteLiteral(const std::string& text);
// Values as one value of an array type, to be bound: {"a","b c",NULL}.
std::string SqlArray(const NativeRow& values);

// The `native.parameters` of a definition, read by name. Each method returns the value, or, when it is missing or wrong, something of its
// type after remembering what is wrong; whoever made these throws away what was built of them and reports all that is wrong at once, also
// parameters that were given and that nobody read. Not thread-safe.
class NativeParameters {
 public:
  explicit NativeParameters(std::map<std::string, std::string> values) : values_(std::move(values)) {}

  // The table that is migrated, `schema.table`, quoted as in SQL where needed. Always there.
  std::string Table();
  // Not empty.
  std::string Text(const std::string& name);
  std::string Text(const std::string& name, const std::string& fallback);
  // From `lowest` to `highest`; decimal digits.
  std::int64_t Integer(const std::string& name, std::int64_t lowest, std::int64_t highest);
  std::int64_t Integer(const std::string& name, std::int64_t lowest, std::int64_t highest, std::int64_t fallback);
  // `true` or `false`.
  bool Boolean(const std::string& name, bool fallback);
  // The name of a column as it is in the table, without SQL's quotes.
  std::string Column(const std::string& name);
  // For rules of one's own: says that this parameter is wrong, and what would be right.
  void Refuse(const std::string& name, const std::string& problem);

  // INVALID_ARGUMENT naming each parameter that is missing, wrong or not known; otherwise OK. Call it when all have been read.
  absl::Status status() const;

 private:
  friend class NativeRegistry;
  // Remembers that the class knows it; nullptr when it was not given.
  const std::string* Find(const std::string& name);
  std::int64_t ReadInteger(const std::string& name, std::int64_t lowest, std::int64_t highest, const std::int64_t* fallback);

  std::map<std::string, std::string> values_;
  std::set<std::string> known_;
  std::vector<std::string> problems_;
};

// What a class works on, once it has its parameters. The same at each call.
struct NativeShape {
  // Unique, not-null, indexed columns by which batches are cut, as in sql_batch.key; empty: the primary key.
  std::vector<std::string> key;
  // An SQL condition on columns of the table, which has its own last name as alias: rows that still need the work, and which the work must
  // make false. With it VERIFY looks over the whole table until nothing matches. Empty: every row, once.
  std::string where;
  // Columns that the class reads or writes, without quotes. That they exist is checked, and the migration is HALTED (SCHEMA_CHANGED) when
  // one of them changes under way. Empty: all columns of the table.
  std::vector<std::string> columns;
};

// A column as the target has it.
struct NativeColumn {
  std::string name;
  std::string type;  // as format_type() prints it: "bigint", "character varying(20)"
  bool not_null = false;
  bool generated = false;
};

// The transaction of one sub-batch. For the thread it was given to, until the call it was given for returns. An implementation for tests
// of a class is a few lines.
class NativeSession {
 public:
  virtual ~NativeSession() = default;

  // One statement, values bound as $1, $2 ...; at most 65,535 of them, so pass lists as arrays (SqlArray). Errors: those of the database,
  // with their SQLSTATE; return them as they are, and the right thing is done: tried again, tried with fewer rows, or the one row at fault
  // found and left out. Refused, and the migration HALTED: what begins or ends a transaction (savepoints are fine), what changes settings
  // beyond it, COPY. After an error other than in a savepoint nothing more can be done in the transaction.
  virtual absl::StatusOr<std::vector<NativeRow>> Query(const std::string& sql, const NativeRow& values) = 0;
  // The same; rows that an INSERT, UPDATE, DELETE or MERGE affected.
  virtual absl::StatusOr<std::int64_t> Execute(const std::string& sql, const NativeRow& values) = 0;

  // False when the work should end, since migrationd is stopping, the migration is not to run any more, or the sub-batch has had its time
  // (`statement_timeout` of the definition, from its begin). What computes for long asks now and then, and returns any error: nothing was
  // committed, and the rows are done later, fewer at once if it was time that ran out.
  virtual bool MayGoOn() const = 0;
};

// One sub-batch, as its class sees it. For one thread.
class NativeBatch {
 public:
  // The SQL around it, made by migrationd; see the accessors.
  struct Range {
    std::string table;
    std::string alias;
    std::vector<std::string> key;
    std::string rows;
    NativeRow values;
    std::map<std::string, std::string> types;
  };
  // Both outlive it.
  NativeBatch(NativeSession& session, const Range& range) : session_(session), range_(range) {}

  // For statements of one's own. They must stay within this sub-batch's rows, and must not change the key.
  NativeSession& session() { return session_; }
  // "schema"."table"
  const std::string& table() const { return range_.table; }
  // "alias", by which rows() and where call the table.
  const std::string& alias() const { return range_.alias; }
  // Unquoted, in order.
  const std::vector<std::string>& key() const { return range_.key; }
  // The condition that is true of exactly the rows of this sub-batch: the range of keys AND `where`, without rows that were left out. Its
  // placeholders are $1 to $n of values(), to which a statement may append its own.
  const std::string& rows() const { return range_.rows; }
  const NativeRow& values() const { return range_.values; }

  // The rows of this sub-batch in the order of the key: first the key, then `columns` as text. Locked until the end of the transaction, so
  // that nobody changes them between reading and writing. Errors of NativeSession::Query.
  absl::StatusOr<std::vector<NativeRow>> Select(const std::vector<std::string>& columns);
  // Sets `columns` of the rows named: each of `rows` is a key, as Select gave it, then the new values. Rows affected. INVALID_ARGUMENT: a
  // row with another number of values, a column of the key, or one that the table has not.
  absl::StatusOr<std::int64_t> Update(const std::vector<std::string>& columns, const std::vector<NativeRow>& rows);

  bool MayGoOn() const { return session_.MayGoOn(); }

 private:
  NativeSession& session_;
  const Range& range_;
};

// One migration of kind `native`, with its parameters. Made anew when a definition is checked and whenever a process begins to work on it.
// Methods are const and called from several threads at once (one a lane). What they throw is caught and counts as a failed attempt.
class NativeMigration {
 public:
  virtual ~NativeMigration() = default;

  virtual NativeShape Shape() const = 0;

  // Whether the columns of Shape (or all) are as the work needs them. An error keeps the migration from beginning; its message says what
  // is wrong and what would be right.
  virtual absl::Status CheckColumns(const std::vector<NativeColumn>& columns) const {
    (void)columns;
    return absl::OkStatus();
  }

  // Does the work for exactly the rows of the batch; returns how many rows of the table it affected, exactly. Errors: those of the session
  // as they are; BadRowError for rows that cannot be done; anything else uses an attempt (`retry.max_attempts`). Messages are shown in
  // Status and logs, so they must hold no values of rows; so must what it throws.
  virtual absl::StatusOr<std::int64_t> RunSubBatch(NativeBatch& batch) const = 0;
};

// A row of the batch cannot be done, whatever is tried. The batch is tried again in halves until the row is alone, which is then recorded
// with this message (`migrationctl failures`) and left out while the error budget lasts; Retry does it again. `message` without values.
absl::Status BadRowError(const std::string& message);

// Classes by the name that definitions give as `native.class`. Filled before RunMigrationd, not changed after; reading is thread-safe.
class NativeRegistry {
 public:
  // Reads its parameters and makes the migration; errors are for what NativeParameters cannot say.
  using Factory = std::function<absl::StatusOr<std::unique_ptr<NativeMigration>>(NativeParameters& parameters)>;

  // `name`: a letter, then letters, digits, '_', '.', ':' or '-', at most 100 of them. What is wrong (a bad name, one that is taken) is
  // remembered in status(), and keeps migrationd from starting.
  void Add(const std::string& name, Factory factory);
  const absl::Status& status() const { return status_; }

  bool Has(const std::string& name) const { return factories_.count(name) != 0; }
  // Sorted.
  std::vector<std::string> names() const;

  // NOT_FOUND: no such class, naming those there are. INVALID_ARGUMENT: parameters, naming each that is missing, wrong or not known. What a
  // factory returns otherwise, or throws, is FAILED_PRECONDITION.
  absl::StatusOr<std::shared_ptr<const NativeMigration>> Make(const std::string& name,
                                                              const std::map<std::string, std::string>& parameters) const;

 private:
  std::map<std::string, Factory> factories_;
  absl::Status status_;
};

}  // namespace migrationd
