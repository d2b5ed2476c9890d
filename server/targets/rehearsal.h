// What a target tells of a migration before it is run: how many rows it is for, how its statements would be executed, which rights are
// missing, and what one sub-batch does that is rolled back. Values only.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "migrations/kinds/plan.h"
#include "migrations/model/migration.h"

namespace migrationd {

struct RowEstimate {
  std::int64_t rows = 0;
  std::string method;  // kEstimatedBy... (migrations/model/migration.h); empty: unknown
};

struct RehearsalRequest {
  const MigrationPlan* plan = nullptr;  // outlives the call
  // In its place where there is no schema migration_control yet; null: the same.
  const MigrationPlan* plan_without_schema = nullptr;
  std::string migration;                // name, for application_name
  std::int64_t batch_size = 1000;
  std::int64_t sub_batch_size = 100;
  // Of the sample, as in sub-batches.
  absl::Duration lock_timeout = absl::Milliseconds(500);
  absl::Duration statement_timeout = absl::Seconds(5);
  // Of each count (RowEstimate has up to two).
  absl::Duration count_patience = absl::Seconds(2);
  // For all of it. What there is no time for is left out, with an error that says so.
  absl::Duration patience = absl::Seconds(30);
  // False: nothing is run that takes a lock on a row.
  bool with_sample = true;
};

// A sequential scan in a statement's plan.
struct SequentialScan {
  std::string relation;   // schema.table
  std::int64_t rows = 0;  // of the whole relation, by its statistics
};

struct ExplainedSql {
  std::string name;  // `work`, `next bound`, `verify`
  std::string sql;
  std::vector<std::string> plan;  // EXPLAIN's text, a line each
  std::vector<SequentialScan> scans;
  absl::Status error;  // then the plan is empty
};

// One sub-batch that was rolled back.
struct SampleOutcome {
  std::int64_t rows = 0;           // in the range of keys
  std::int64_t matched = -1;       // before; -1: no `where`
  std::int64_t still_matched = -1;  // afterwards
  std::int64_t affected = 0;
  absl::Duration took;   // the work, with triggers and deferred constraints
  absl::Duration look;   // counting what matches in the range
  std::int64_t wal_bytes = 0;
};

struct Rehearsal {
  std::string role;  // that the service has there
  bool in_recovery = false;
  // Of SELECT, INSERT, UPDATE, DELETE and TRIGGER on the table, those that the role lacks. One that it has on single columns counts as had.
  std::set<std::string> lacking;
  bool owns_table = false;       // or is a member of the role that does
  bool row_security = false;     // the role is subject to the row-level security of the table
  bool control_schema = false;   // migration_control is there
  bool may_create_schema = false;  // CREATE on the database
  bool may_make_temporary = false;
  // Of the rights on migration_control that the service needs, those that the role lacks: "INSERT on owner".
  std::vector<std::string> control_lacking;
  std::optional<std::string> frozen;  // reason given to migration_control.freeze()

  RowEstimate to_do;
  bool empty = false;  // there is no row in the definition's range
  // An index that gives bounds in order; the key itself where that is the place on disk; empty: none.
  std::string bound_index;
  std::vector<ExplainedSql> statements;
  std::int64_t skipped = 0;  // rows before the first one that matches `where`, as far as was looked
  // Unset: not run, or failed.
  std::optional<SampleOutcome> sample;
  absl::Status sample_error;
};

}  // namespace migrationd
