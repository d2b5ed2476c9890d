// The seam to one database that is migrated. Implements the exactly-once protocol of the design, section 4:
//
//   The effect of a sub-batch and the move of its lane's cursor are one transaction, whose last write is a check-and-set on the
//   lane row (epoch, token and old cursor exactly as expected). Whoever takes over first raises the epoch on the owner row and then
//   on all lane rows, so it waits for a predecessor that is committing and sees its cursor; after that the predecessor's
//   check-and-set matches nothing and its transaction is rolled back.
//
// Implementation: PostgresTarget (server/targets/postgres).
//
// Errors, for every method besides those named at each: DatabaseError statuses (migrations/model/failure.h), so SqlStateOf and
// ClassifyFailure tell what to do; UNAVAILABLE for a connection that cannot be made or broke. IsCommitUnknown(status): the
// outcome is known only after the next TakeOver. Messages hold no row values and no connection string.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "migrations/kinds/plan.h"
#include "migrations/model/key.h"
#include "migrations/pacing/signals.h"
#include "server/targets/rehearsal.h"
#include "store/control_store.h"

namespace migrationd {

// How the work of one migration is done on the target.
struct LaneRange {
  std::int32_t lane = 0;
  Key lower;   // first lane of a pass: inclusive smallest key; empty for an empty table
  Key cursor;  // last key done; empty: nothing done, `lower` is inclusive
  Key upper;   // inclusive
  std::int64_t rows = 0;  // exactly affected, over all passes of this lane number
  std::int64_t sub_batches = 0;
  bool done() const { return upper.empty() || cursor == upper; }
};

// A fencing claim on the target: what every write must show.
struct FenceClaim {
  std::string migration;  // name
  std::int64_t epoch = 0;
  std::string token;  // uuid
};

// What the target remembers of a migration.
struct Checkpoint {
  FenceClaim claim;
  std::int32_t pass = 0;  // 0: no pass begun yet; 1: EXECUTE; 2 and up: VERIFY
  std::vector<LaneRange> lanes;  // of the current pass
  std::int64_t rows_total = 0;          // over all passes
  std::int64_t sub_batches_total = 0;
  std::int64_t unchanged_rows = 0;      // recorded with kind UNCHANGED
  std::int64_t failed_rows = 0;         // recorded with kind FAILED
  std::int64_t pass_affected = 0;       // rows affected in the current pass
  std::optional<absl::Time> completed_at;
  bool frozen = false;
  std::int64_t table_oid = 0;     // 0: not recorded yet
  std::string column_digest;
  std::vector<std::string> steps_done;  // names of recorded steps, such as "prepare/0"
};

struct TakeOverRequest {
  std::string migration;
  std::string control_id;
  std::string definition_digest;
  std::int64_t store_epoch = 0;
  // Only while the store's fence state is CREATING: a missing row is inserted. Otherwise a missing row is NOT_FOUND
  // (CHECKPOINT_LOST).
  bool may_create = false;
  // Takes over a row of another control store, which otherwise is PERMISSION_DENIED (FOREIGN_CONTROL).
  bool adopt = false;
};

// What an owner may forget of what the target remembers.
enum class Forgetting {
  kProgress,  // cursors, passes, counts and the end: everything is to be done again (Retry FROM_START)
  kVerdict,   // the rows recorded as UNCHANGED, and the end: all rows are to be looked at again
};

struct SubBatchRequest {
  Key old_cursor;      // empty: none yet
  Key new_cursor;      // upper bound of this sub-batch, inclusive
  Key lane_upper;      // for the look-up of the next bounds
  std::int64_t next_size = 0;  // rows of each sub-batch to look bounds up for; 0: look none up
  std::int32_t next_count = 1;  // how many bounds; fewer at the lane's end
  Key look_from = {};  // the last bound that is known: the next ones are behind it; empty: new_cursor
  bool check_where = false;    // the first non-empty sub-batch of a lane: MD002 when every matching row still matches
};

struct SubBatchResult {
  std::int64_t affected = 0;   // rows, exactly
  std::int64_t matched = -1;   // rows that matched `where` before (with check_where, and in VERIFY); -1: not counted
  std::int64_t unchanged = 0;  // newly recorded as UNCHANGED (VERIFY)
  std::vector<Key> next_bounds;  // in order; none when next_size was 0; the lane's upper as the last one when fewer rows are left
  absl::Time at = absl::InfinitePast();  // target's clock_timestamp()
};

// A row that cannot be done: the range from `old_cursor` to `new_cursor` holds it alone, as far as was known.
struct SkipRequest {
  Key old_cursor;  // as in SubBatchRequest
  Key new_cursor;
  std::string sqlstate;  // what it failed with
  std::string message;   // without row values
};

struct SkipResult {
  std::int64_t recorded = 0;  // rows newly recorded as FAILED; 0 when the row is gone
  absl::Time at = absl::InfinitePast();  // target's clock_timestamp()
};

// One row of migration_control.failed_range.
struct RowFailure {
  Key key;
  bool unchanged = false;  // it did not fail, but still matched `where` after its turn in VERIFY
  std::int32_t pass = 0;
  std::string sqlstate;
  std::string message;
  absl::Time at = absl::InfinitePast();
};

// One row that failed, to be done again.
struct RowRetry {
  FenceClaim claim;
  const MigrationPlan* plan = nullptr;  // outlives the call
  Key key;
  absl::Duration lock_timeout = absl::Milliseconds(500);
  absl::Duration statement_timeout = absl::Seconds(5);
};

// The next rows of a range, to be looked over.
struct RangeCountRequest {
  const MigrationPlan* plan = nullptr;  // outlives the call
  LaneRange range;                      // from its cursor
  std::int64_t size = 1000;             // rows
  absl::Duration lock_timeout = absl::Milliseconds(500);
  absl::Duration statement_timeout = absl::Seconds(5);
};

struct RangeCount {
  Key upper;                 // of what was looked over; the range's own when that was the rest of it
  std::int64_t matching = 0;  // rows that match `where`, without those recorded as FAILED or UNCHANGED
  absl::Duration took;
};

// One lane's connection. For one thread at a time; destroyed when the lane ends. Holds no transaction between calls.
class LaneSession {
 public:
  virtual ~LaneSession() = default;

  // The first bound of a lane, or one after an error: the key of the size-th row after `cursor` (or from `lower`, inclusive), at
  // most `upper`. Read only.
  virtual absl::StatusOr<Key> FindBound(const LaneRange& range, std::int64_t size) = 0;

  // Work, check-and-set and look-up of the next bounds: one transaction, one message. See Checkpoint protocol above.
  // MD001 ABORTED: fenced. MD002, MD003, MD004 as in failure.h. On any error nothing was committed, except IsCommitUnknown.
  absl::StatusOr<SubBatchResult> RunSubBatch(const SubBatchRequest& request) {
    const absl::Status sent = Send(request);
    if (!sent.ok()) return sent;
    return Receive();
  }

  // The same in two halves, so that the database need not wait for us between two sub-batches: up to depth() may have been sent and not
  // been answered. They run one after the other, each in its own transaction, and answers come in that order. Once one has failed, those
  // sent after it can only fail too: their old cursor never comes (MD001). Receive is to be called once for each Send that was OK, before
  // anything else of this session. An error of Send: it was not sent; what was sent before it is IsCommitUnknown when answered.
  virtual int depth() const = 0;
  virtual absl::Status Send(const SubBatchRequest& request) = 0;
  virtual absl::StatusOr<SubBatchResult> Receive() = 0;

  // Leaves a row out: records it (every row that is in the range by then) and moves the cursor past it, in one transaction with the same
  // check-and-set. Errors of RunSubBatch.
  virtual absl::StatusOr<SkipResult> SkipRow(const SkipRequest& request) = 0;

  virtual int backend_pid() const = 0;
};

struct LaneOptions {
  FenceClaim claim;
  LaneRange range;
  std::int32_t pass = 1;
  const MigrationPlan* plan = nullptr;  // outlives the call, copied as needed; of the migration: the session goes by PlanOfPass
  bool synchronous_commit = false;
  absl::Duration lock_timeout = absl::Milliseconds(500);
  absl::Duration statement_timeout = absl::Seconds(5);
};

struct QuiesceResult {
  absl::Time quiesced_at = absl::InfinitePast();  // target time
  Checkpoint checkpoint;
};

struct TargetHealth {
  bool in_recovery = false;
  int server_version = 0;  // 150018
  bool pooled = false;     // behind a transaction pooler
};

// What one look at the target's health is to find.
struct VitalsRequest {
  std::vector<std::string> tables = {};  // as definitions write them; those without a schema are looked up in the target's search_path
  // Also how long a small synchronous commit takes. It locks a row of migration_control.identity for a moment, and so writes a few bytes.
  bool measure_commit = false;
};

// A sub-batch that was cancelled since somebody else waited for it.
struct Yielded {
  std::string migration = {};
  int backend_pid = 0;
  int waiter_pid = 0;
  std::string waiter = {};  // its application_name; empty where it may not be seen
  absl::Duration waited = absl::ZeroDuration();
};

// One connection that looks after the target's health. For one thread at a time. Holds no transaction between calls, and no session
// state, so that it works behind a transaction pooler. Every call ends within a few seconds, whatever the target does.
class HealthSession {
 public:
  virtual ~HealthSession() = default;

  // A signal that cannot be read, for want of a privilege for instance, is in `unreadable`, with the reason; that is no error.
  // After an error (the connection broke, the target did not answer) open another session.
  virtual absl::StatusOr<TargetVitals> Read(const VitalsRequest& request) = 0;

  // Cancels what the backends of these claims execute for which a session that is not ours has waited for at least `patience`. Nothing
  // of theirs commits. Returns what was cancelled, each backend once, at most ten.
  virtual absl::StatusOr<std::vector<Yielded>> YieldToWaiters(const std::vector<FenceClaim>& claims, absl::Duration patience) = 0;
};

// One database. Thread-safe: each call uses a connection of its own or a pooled one, at most a configured number at once.
class Target {
 public:
  virtual ~Target() = default;
  virtual const std::string& name() const = 0;

  // The same database. Once `stop` is requested, calls through what this returns, and sessions opened through it, end soon with
  // UNAVAILABLE, whatever they wait for; the server then ends what they had begun by itself: within seconds where it can look for a lost
  // client meanwhile (client_connection_check_interval: PostgreSQL 14 on Linux), otherwise at the end of the statement or its timeout.
  virtual std::shared_ptr<Target> WithStop(std::stop_token stop) = 0;

  // Connects, creates or upgrades the schema migration_control under a lock, and reads the identity (made when there is none and
  // `may_create_identity`). `identity.uuid` is empty when there is none and it may not be made.
  // FAILED_PRECONDITION: a standby; schema newer than this program; privileges missing, with the hint `migrationctl target-sql`.
  virtual absl::StatusOr<TargetIdentity> Open(bool may_create_identity) = 0;
  virtual absl::StatusOr<TargetHealth> Health() = 0;

  // NOT_FOUND: no such table, naming it.
  virtual absl::StatusOr<TableFacts> Inspect(const TableName& table) = 0;
  // Parses a statement of the definition (as rendered) through the extended protocol, without running it: exactly one statement.
  // INVALID_ARGUMENT with the database's message and position.
  virtual absl::Status CheckStatement(const std::string& sql, const std::vector<std::string>& parameter_types,
                                      const std::string& search_path) = 0;
  // Runs a query of one boolean (skip_if, preflight checks), read only. INVALID_ARGUMENT when it is not that.
  virtual absl::StatusOr<bool> AskBoolean(const std::string& sql, const std::string& search_path) = 0;

  // The fence. Locks the owner row, sets epoch := greatest(epoch, store_epoch) + 1 on the row itself with a fresh token,
  // synchronously, then updates and returns all lanes. NOT_FOUND: no row, or no schema migration_control at all, and may_create is
  // false. PERMISSION_DENIED: the row belongs to another control store. FAILED_PRECONDITION without SQLSTATE: the row is a tombstone
  // of Delete.
  virtual absl::StatusOr<Checkpoint> TakeOver(const TakeOverRequest& request) = 0;

  // Forgets, and returns the checkpoint as it then is. Not part of TakeOver: whoever wakes up late and takes over must first be told by
  // the control store that it still owns the migration. Fenced: ABORTED (MD001).
  virtual absl::StatusOr<Checkpoint> Reset(const FenceClaim& claim, Forgetting what) = 0;

  // Records table oid and column digest for SCHEMA_CHANGED. Fenced: ABORTED (MD001).
  virtual absl::Status RecordTable(const FenceClaim& claim, std::int64_t table_oid, const std::string& column_digest) = 0;

  // Smallest and largest key now, within the plan's min and max; and inner bounds that split it into about equal `lanes` parts.
  // Returns the ranges of the lanes: one with empty bounds for an empty table. `plan`: of the pass that is to begin (PlanOfPass).
  virtual absl::StatusOr<std::vector<LaneRange>> PlanLanes(const MigrationPlan& plan, int lanes) = 0;

  // How much of each range lies between its lower bound and its cursor, 0 to 1, by the statistics of the table; nullopt where they tell
  // nothing. `plan`: of the pass that the ranges are of (PlanOfPass). Cheap.
  virtual absl::StatusOr<std::vector<std::optional<double>>> KeyFractions(const MigrationPlan& plan, const std::vector<LaneRange>& ranges) = 0;

  // How many rows the work is for: counted, for as long as `patience`; else counted in a sample of the table, as long; else as the planner
  // guesses. Without `where` the statistics of the table tell, if it was ever analysed. Method empty: not to be found out. Read only.
  virtual absl::StatusOr<RowEstimate> EstimateRows(const MigrationPlan& plan, absl::Duration patience) = 0;

  // Tries the plan out, and keeps nothing: also where there is no schema migration_control. Takes the locks of one sub-batch. What could
  // not be found out is told in the answer; an error only when the target cannot be asked at all. What a transaction does not take back
  // stays: sequences that were advanced, and what functions do elsewhere.
  virtual absl::StatusOr<Rehearsal> Rehearse(const RehearsalRequest& request) = 0;

  // Counts what is left to do in the next rows of a range. Read only, and not fenced: it disturbs nobody, whoever owns the migration.
  // FAILED_PRECONDITION without `where`, by which rows can be told apart.
  virtual absl::StatusOr<RangeCount> CountLeft(const RangeCountRequest& request) = 0;

  // Begins a pass: replaces the lane rows by these. Fenced. Returns the checkpoint with new lanes.
  virtual absl::StatusOr<Checkpoint> BeginPass(const FenceClaim& claim, std::int32_t pass,
                                               const std::vector<LaneRange>& lanes) = 0;

  // Cuts the lanes of the pass anew, so that at least `wanted` are not done, as far as there are keys enough; what is done stays done, and
  // counts stay. Fenced: sessions of the claim in force are refused from then on. `plan`: of the pass (PlanOfPass). Returns the checkpoint
  // with the new lanes and claim.
  virtual absl::StatusOr<Checkpoint> SplitLanes(const FenceClaim& claim, const MigrationPlan& plan, int wanted) = 0;

  virtual absl::StatusOr<std::unique_ptr<LaneSession>> OpenLane(const LaneOptions& options) = 0;

  // Runs one statement of prepare or cleanup once: in one fenced transaction with the record that `step` is done. Does nothing
  // when it is recorded already. MD003: frozen; it is not begun.
  virtual absl::Status RunStep(const FenceClaim& claim, const std::string& step, const std::string& sql,
                               const std::string& search_path, absl::Duration lock_timeout) = 0;

  // Forgets that steps were run, so that each runs again. Fenced.
  virtual absl::Status ForgetSteps(const FenceClaim& claim) = 0;

  // Does one row that is recorded as FAILED: one fenced transaction takes the record away and runs the work for just that key, and counts
  // what it affected. Rows affected; 0 when it is not recorded any more. When the work fails again, the record stays, with the new error,
  // which is returned; likewise when it cannot be locked or takes too long (kRetrySmaller). MD003: frozen.
  virtual absl::StatusOr<std::int64_t> RetryRow(const RowRetry& retry) = 0;

  // Rows recorded as FAILED or UNCHANGED, in the order of their key's text, after `after` (empty: from the first); at most `limit`.
  // Empty when there is no schema migration_control.
  virtual absl::StatusOr<std::vector<RowFailure>> ListFailures(const std::string& migration, const Key& after, int limit) = 0;

  // Who keeps the backend with that pid waiting for a lock: "pid 4711 (psql, idle in transaction for 12s)". Looks again and again for
  // `patience`; empty: nobody seen. Names no statement and no row.
  virtual absl::StatusOr<std::string> FindBlocker(int backend_pid, absl::Duration patience) = 0;

  // A writing, synchronous transaction on the owner row: after OK all sub-batches of this claim are durable. With `completed`, the
  // row says so from now on (is_completed). Fenced.
  virtual absl::Status Barrier(const FenceClaim& claim, bool completed) = 0;

  // Fences whoever owns it (an upsert, so also before anybody did), cancels their backends and waits for them to be gone, at most
  // `wait`. After OK nothing of an earlier claim commits. Errors of TakeOver.
  virtual absl::StatusOr<QuiesceResult> Revoke(const TakeOverRequest& request, absl::Duration wait) = 0;

  // Leaves a tombstone, so that the name is never begun again here.
  virtual absl::Status Forget(const std::string& migration, const std::string& control_id) = 0;

  // UNAVAILABLE: no connection.
  virtual absl::StatusOr<std::unique_ptr<HealthSession>> OpenHealth() = 0;

  // The freeze flag of migration_control.freeze(): its reason, nullopt when not frozen.
  virtual absl::StatusOr<std::optional<std::string>> FrozenReason() = 0;
};

}  // namespace migrationd
