// Which migrations this process should claim, work on, hold, or let go, and why: a pure function of one snapshot.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "migrations/pacing/windows.h"
#include "server/execution/migration_run.h"
#include "server/health/health_source.h"
#include "server/scheduler/board.h"
#include "store/control_store.h"

namespace migrationd {

struct PolicyLimits {
  // Migrations that may work on one target at once.
  int per_target = 2;
  // Claims this process may hold.
  int runs = 64;
};

// A run of this process, as the policy sees it.
struct RunFacts {
  std::string lease_token;
  bool trusted = true;        // its lease still is to be trusted by the process clock
  bool limit_reached = false; // canary
  bool away = false;          // it has no connection, and tries to get one
  MigrationRun::Purpose purpose = MigrationRun::Purpose::kMigrate;
};

struct PolicySnapshot {
  absl::Time now = absl::InfinitePast();  // database time
  const std::vector<StoredMigration>* migrations = nullptr;  // by (target, version, name)
  const std::vector<FreezeRecord>* freezes = nullptr;
  std::map<std::int64_t, RunFacts> runs;                     // of this process, by migration
  std::map<std::string, TargetCondition> targets;            // configured here
  HealthVerdicts health = {};                                // of targets that are looked after
  bool stopping = false;                                     // this process is shutting down
};

enum class ActionKind {
  kClaim,        // and work on it; `purpose` says what for
  kDirect,       // a run of ours: `directive`, with `hold` while kHold
  kShowHold,     // nobody owns it: remember why it waits
  kResume,       // a pause with `until` is over
  kPauseCanary,  // it has done as many rows as it was let
  kEndOverride,  // a batch size with `until` is over
  kEndPace,      // what SetPace set until now is over
};

struct Action {
  ActionKind kind = ActionKind::kShowHold;
  MigrationId id;
  MigrationRun::Purpose purpose = MigrationRun::Purpose::kMigrate;
  Directive directive = Directive::kWork;
  Hold hold;
  std::string reason;  // one sentence, for log and tests
};

// Deterministic; looks at nothing but its arguments. At most one kDirect for each run; actions come in the order in which they should
// be carried out.
std::vector<Action> Decide(const PolicySnapshot& snapshot, const PolicyLimits& limits);

// Why a migration that wants to work may not right now, apart from limits on how many may: NONE when it may.
Hold WhyNot(const PolicySnapshot& snapshot, const StoredMigration& stored);

// The next database time at which Decide may come to something else by itself; InfiniteFuture when only events change it.
absl::Time NextChange(const PolicySnapshot& snapshot);

}  // namespace migrationd
