// One migration as the control store knows it: values only. Decisions are functions of it (verbs.h, server/scheduler/policy.h).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/time/time.h"
#include "migrations/model/key.h"
#include "migrations/model/reading.h"
#include "migrations/model/state.h"
#include "migrations/model/transition.h"

namespace migrationd {

// Primary key in the control store. A type of its own, so that it cannot be swapped with a count or an epoch.
struct MigrationId {
  std::int64_t value = 0;
  friend bool operator==(MigrationId a, MigrationId b) { return a.value == b.value; }
  friend bool operator<(MigrationId a, MigrationId b) { return a.value < b.value; }
};

// What was last asked for.
struct Intent {
  State state = State::kPending;
  std::string actor;
  std::string reason;
  absl::Time since = absl::InfinitePast();
  std::optional<absl::Time> until = std::nullopt;
};

struct Hold {
  HoldKind kind = HoldKind::kNone;
  std::string reason;
  std::optional<absl::Time> since = std::nullopt;
  std::optional<absl::Time> until = std::nullopt;
  std::vector<Reading> readings = {};  // behind it; not stored, so only the owner has them
};

// Codes of Halt (design 3 to 6); stored as words.
inline constexpr char kHaltAttemptsExhausted[] = "ATTEMPTS_EXHAUSTED";
inline constexpr char kHaltStatementRefused[] = "STATEMENT_REFUSED";
inline constexpr char kHaltWhereNotSatisfied[] = "WHERE_NOT_SATISFIED";
inline constexpr char kHaltFailedRanges[] = "FAILED_RANGES";  // all is done but the rows that failed
inline constexpr char kHaltErrorBudget[] = "ERROR_BUDGET";    // more rows failed than retry.max_failed_... allow
inline constexpr char kHaltRowsLeft[] = "ROWS_LEFT";
inline constexpr char kHaltVerifyInflow[] = "VERIFY_INFLOW";
inline constexpr char kHaltSchemaChanged[] = "SCHEMA_CHANGED";
inline constexpr char kHaltCheckpointLost[] = "CHECKPOINT_LOST";
inline constexpr char kHaltForeignControl[] = "FOREIGN_CONTROL";
inline constexpr char kHaltPreflightFailed[] = "PREFLIGHT_FAILED";

// How ProgressCounters::rows_estimated was found; stored as words.
inline constexpr char kEstimatedByCount[] = "COUNT";
inline constexpr char kEstimatedBySample[] = "SAMPLE";
inline constexpr char kEstimatedByStatistics[] = "STATISTICS";

struct Halt {
  std::string code;
  std::string message;
  absl::Time since = absl::InfinitePast();
};

struct LastError {
  std::string sqlstate;
  std::string message;
  absl::Time at = absl::InfinitePast();
};

// Sizes in force. `sub_batch_size` is the ceiling of one transaction.
struct Sizes {
  std::int32_t batch_size = 1000;
  std::int32_t sub_batch_size = 100;
  std::int32_t max_batch_size = 50000;
  friend bool operator==(const Sizes& a, const Sizes& b) {
    return std::tie(a.batch_size, a.sub_batch_size, a.max_batch_size) ==
           std::tie(b.batch_size, b.sub_batch_size, b.max_batch_size);
  }
};

struct SizeOverride {
  std::int32_t batch_size = 0;
  std::int32_t sub_batch_size = 0;  // 0: none was set; that of the definition stays the ceiling, lowered to fit
  std::string author;
  std::optional<absl::Time> until = std::nullopt;
};

// What SetPace may put in the place of the definition's pace; those that are not set stay the definition's.
struct PaceSettings {
  std::optional<absl::Duration> interval = std::nullopt;
  std::optional<std::int64_t> max_rows_per_second = std::nullopt;  // 0: no limit
  std::optional<std::int32_t> lanes = std::nullopt;
  std::optional<std::vector<std::string>> windows = std::nullopt;  // none: always
  std::optional<absl::Duration> target_sub_batch_time = std::nullopt;
  std::optional<absl::Duration> lock_timeout = std::nullopt;
  std::optional<absl::Duration> statement_timeout = std::nullopt;
  friend bool operator==(const PaceSettings&, const PaceSettings&) = default;
};

struct PaceOverride {
  PaceSettings settings;
  std::string author;
  std::optional<absl::Time> until = std::nullopt;
};

// From where an owner that claims it next begins. Set by Retry, consumed by that claim.
enum class RestartFrom {
  kContinue,
  kStart,      // from the first row
  kAdopt,      // take over another control store's checkpoint
  kRecheck,    // do the rows that failed again; with `where`, also look at all rows again in a new pass, those recorded as unchanged too
  kNewSchema,  // after SCHEMA_CHANGED: the table as it is now is right; then as kRecheck
};

// A look over the table of a COMPLETED migration that was asked for.
struct Verification {
  absl::Time requested_at = absl::InfinitePast();
  std::string actor;
  std::optional<absl::Time> finished_at = std::nullopt;  // nullopt: it waits, or is under way
};

// How far one lane is.
struct LaneProgress {
  std::int32_t lane = 0;
  Key cursor;
  Key upper_bound;
  std::int64_t rows = 0;
};

// Counters, written in bulk by the owner and without a new revision. Everything here can be rebuilt from the target.
struct ProgressCounters {
  Phase phase = Phase::kPrepare;
  std::int32_t pass = 0;  // 1: EXECUTE, 2 and up: VERIFY
  std::int64_t rows_done = 0;
  std::int64_t rows_estimated = 0;  // 0: unknown
  std::string estimate_method;      // kEstimatedBy...; empty: unknown
  std::int64_t batches_done = 0;
  std::int64_t sub_batches_done = 0;
  std::int64_t unchanged_rows = 0;
  std::int64_t failed_ranges = 0;
  double rows_per_second = 0;       // over about the last ten seconds
  double rows_per_second_long = 0;  // over about the last two minutes, so that rests and short holds are in it
  double fraction = 0;  // of the key range, by position, in this pass; 0 when unknown
  // Of the key range, over about the last two minutes; nullopt: too short a time to tell. Not stored, so only the owner has it.
  std::optional<double> fraction_per_second = std::nullopt;
  std::int32_t attempts = 0;
  std::optional<LastError> last_error;
  std::int32_t sub_batch_size = 0;  // the size in use right now; 0: not working
  absl::Duration working;           // time in the database, summed over lanes
  // Where the time from started_at to accounted_until went; see time_account.h.
  std::map<std::string, double> time_seconds;
  std::optional<absl::Time> accounted_until;
  std::vector<LaneProgress> lanes;
  // Of a verification that is under way: of the key range, and rows that match again so far.
  double verify_fraction = 0;
  std::int64_t verify_regressed = 0;
};

struct Migration {
  // Fixed at registration.
  MigrationId id;
  std::string target;
  std::string name;
  std::string version;  // 14 digits
  absl::Time created_at = absl::InfinitePast();

  // Guarded by `revision`: written only together with it (ControlStore::Mutate).
  std::int64_t revision = 1;
  State state = State::kPending;
  Intent intent;
  std::optional<Halt> halt;
  bool start_requested = false;  // AUTO, or Start was called
  bool enqueued = false;         // AUTO, or Enqueue was called: only then it can block others
  std::map<std::string, std::string> parameters;
  Sizes sizes;
  std::optional<SizeOverride> size_override;
  std::optional<PaceOverride> pace_override;
  FenceState fence = FenceState::kNone;
  RestartFrom restart_from = RestartFrom::kContinue;
  std::int64_t pause_after_rows = 0;  // canary; 0: none
  bool cleanup_requested = false;
  bool cleaned_up = false;
  std::int64_t accepted_rows = 0;
  std::int64_t regressed_rows = 0;  // found by the last verification
  std::optional<Verification> verification;
  std::optional<absl::Time> started_at;
  std::optional<absl::Time> finished_at;
  std::string definition_digest;
  std::string catalog_digest;  // of the file as it is now; differs: definition_changed
  std::string catalog_file;    // empty: came by RPC
  bool catalog_missing = false;
  std::map<std::string, std::string> labels;

  // Not guarded by `revision`.
  Hold hold;
  ProgressCounters progress;

  TransitionFacts facts() const {
    return {.started = started_at.has_value(),
            .rows_left = halt.has_value() && halt->code == kHaltRowsLeft,
            .rows_regressed = regressed_rows > 0};
  }
  // One that was asked for and has not ended.
  bool verifying() const { return state == State::kCompleted && verification.has_value() && !verification->finished_at.has_value(); }
  bool definition_changed() const { return !catalog_digest.empty() && catalog_digest != definition_digest; }
};

// A claim on a migration, kept in the control store. Only its holder works on the target.
struct Lease {
  std::string owner;  // host:pid:random
  std::string token;  // uuid, fresh at every claim
  std::int64_t epoch = 0;
  absl::Time expires_at = absl::InfinitePast();  // database time
  bool live = false;                             // as judged by the database when it was read
};

}  // namespace migrationd
