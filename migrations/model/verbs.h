// What each verb and each report of the service does to a migration: pure functions from one value to the next.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "migrations/model/migration.h"

namespace migrationd {

// Who asks and why; goes into the event.
struct Caller {
  std::string actor;
  std::string reason;
};

// The migration afterwards, and the event to record with it. `changed` is false when the verb had nothing to do: then nothing is
// written and the revision stays.
struct VerbEffect {
  Migration after;
  bool changed = true;
  std::string event_kind;  // TRANSITION, SETTING, DEFINITION ...
  std::string event_from;
  std::string event_to;
  std::string event_reason;
};

// All of these return FAILED_PRECONDITION, naming the state and the verbs that are possible, when transition.h forbids them.
// `now` is the control store's time.

absl::StatusOr<VerbEffect> StartMigration(const Migration& migration, const Caller& caller, absl::Time now);

// INVALID_ARGUMENT when `until` is not after `now`.
absl::StatusOr<VerbEffect> PauseMigration(const Migration& migration, const Caller& caller, absl::Time now,
                                          std::optional<absl::Time> until);
absl::StatusOr<VerbEffect> ResumeMigration(const Migration& migration, const Caller& caller, absl::Time now);

struct RetryOptions {
  // nullopt: what an earlier Retry asked for and no owner has begun, otherwise kContinue. kContinue takes an earlier kStart back.
  std::optional<RestartFrom> from = std::nullopt;
  bool has_where = false;           // of the definition
  bool acknowledge_repeat = false;  // the caller accepts that rows may be done twice
};
// FAILED_PRECONDITION also for kStart without `where` unless acknowledged, for kContinue after CHECKPOINT_LOST or FOREIGN_CONTROL,
// and for kAdopt when nothing foreign was found. kStart also lets the next owner make a lost checkpoint anew (fence CREATING: there
// may be one).
absl::StatusOr<VerbEffect> RetryMigration(const Migration& migration, const Caller& caller, absl::Time now,
                                          const RetryOptions& options);
// `clean_up`: the definition says that cleanup follows by itself; so in CompleteMigration.
absl::StatusOr<VerbEffect> AcceptRows(const Migration& migration, const Caller& caller, absl::Time now, std::int64_t accepted_rows,
                                      bool clean_up);
absl::StatusOr<VerbEffect> CancelMigration(const Migration& migration, const Caller& caller, absl::Time now);
absl::StatusOr<VerbEffect> RequestCleanup(const Migration& migration, const Caller& caller, absl::Time now);
// Nothing changes while one is under way. FAILED_PRECONDITION also when the definition has no `where`, by which rows could be told apart.
absl::StatusOr<VerbEffect> RequestVerification(const Migration& migration, const Caller& caller, absl::Time now, bool has_where);

// Only checks that Delete is possible; the store removes the row. `leaves_objects`: the definition has a cleanup. FAILED_PRECONDITION while
// that was not run, though something may be there.
absl::StatusOr<VerbEffect> DeleteMigration(const Migration& migration, const Caller& caller, absl::Time now, bool leaves_objects);

struct SizeRequest {
  bool automatic = false;  // end the override
  std::int32_t batch_size = 0;
  std::int32_t sub_batch_size = 0;  // 0: keep the one in force, lowered to fit
  std::optional<absl::Time> until = std::nullopt;
};
// INVALID_ARGUMENT outside [1, max_batch_size], for a sub-batch larger than the batch, or an `until` that is not after `now`.
absl::StatusOr<VerbEffect> SetBatchSize(const Migration& migration, const Caller& caller, absl::Time now,
                                        const SizeRequest& request);

struct PaceRequest {
  bool automatic = false;  // end the override
  PaceSettings settings;   // added to what was set before
  std::optional<absl::Time> until = std::nullopt;  // of all that is set; none: as it was
};
// What was set ends together. A request that sets all of it anew replaces it, with its own `until` or none.
// INVALID_ARGUMENT for a value that the definition would not allow either (windows are checked by the caller), for nothing at all, or an
// `until` that is not after `now`. FAILED_PRECONDITION for one that would move the end of something that it does not set.
absl::StatusOr<VerbEffect> SetPace(const Migration& migration, const Caller& caller, absl::Time now, const PaceRequest& request);

// Sizes that are in force: the override while it lasts, the definition's otherwise.
Sizes EffectiveSizes(const Migration& migration, absl::Time now);

// By the service.
absl::StatusOr<VerbEffect> BeginMigration(const Migration& migration, const Caller& caller, absl::Time now);
absl::StatusOr<VerbEffect> QuiesceMigration(const Migration& migration, const Caller& caller, absl::Time now);
absl::StatusOr<VerbEffect> HaltMigration(const Migration& migration, const Caller& caller, absl::Time now,
                                         const std::string& code, const std::string& message);
absl::StatusOr<VerbEffect> CompleteMigration(const Migration& migration, const Caller& caller, absl::Time now,
                                             std::int64_t accepted_rows, bool clean_up);
// What a verification came to: so many rows match again; nullopt: it ended without a result, and the caller's reason says why. ABORTED: it
// is not asked for any more.
// One that was asked for is not wanted any more; none: unchanged. FAILED_PRECONDITION unless COMPLETED.
absl::StatusOr<VerbEffect> StopVerification(const Migration& migration, const Caller& caller, absl::Time now);
absl::StatusOr<VerbEffect> EndVerification(const Migration& migration, const Caller& caller, absl::Time now,
                                           std::optional<std::int64_t> regressed);
// COMPLETED, but the target's cursors went back.
absl::StatusOr<VerbEffect> ReopenRewound(const Migration& migration, const Caller& caller, absl::Time now);
// Another database stands behind the target's name.
absl::StatusOr<VerbEffect> RestartOnNewTarget(const Migration& migration, const Caller& caller, absl::Time now);

}  // namespace migrationd
