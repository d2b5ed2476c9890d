#include "server/scheduler/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/kinds/plan.h"
#include "migrations/model/status_macros.h"
#include "migrations/model/verbs.h"
#include "server/observability/log.h"

namespace migrationd {
namespace {

// Between two looks at a store that cannot be reached: doubling, capped.
constexpr absl::Duration kStoreRetryFirst = absl::Milliseconds(250);
constexpr absl::Duration kStoreRetryLongest = absl::Seconds(5);
constexpr std::size_t kHoldsPerWriteMax = 500;
// Rows of the pace log that wait for the store; what comes beyond is in the log of the process only.
constexpr std::size_t kPaceEventsMax = 200;

void AddOnce(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

}  // namespace

Scheduler::Scheduler(SchedulerOptions options, ControlStore& store, ControlStore& heartbeat_store, const TargetMap& targets,
                     Board& board, WorkerPool& workers, WorkerPool& steps, Metrics& metrics, Clock& clock)
    : options_(std::move(options)),
      store_(store),
      targets_(targets),
      board_(board),
      workers_(workers),
      steps_(steps),
      metrics_(metrics),
      clock_(clock),
      keeper_(
          heartbeat_store, clock, options_.lease_ttl,
          [this](const LeaseKey& key, absl::Time trusted_until) {
            absl::MutexLock lock(&mutex_);
            const auto run = reachable_.find(key.id.value);
            if (run != reachable_.end() && run->second->lease().token == key.token) run->second->TrustUntil(trusted_until);
          },
          [this](const LeaseKey& key) {
            {
              absl::MutexLock lock(&mutex_);
              const auto run = reachable_.find(key.id.value);
              if (run != reachable_.end() && run->second->lease().token == key.token) run->second->TrustUntil(absl::InfinitePast());
            }
            Wake();
          }) {}

Scheduler::~Scheduler() { Stop(absl::Seconds(5)); }

void Scheduler::Wake() {
  absl::MutexLock lock(&mutex_);
  woken_ = true;
  refresh_wanted_ = true;
}

void Scheduler::Interrupt(MigrationId id) {
  absl::MutexLock lock(&mutex_);
  const auto run = reachable_.find(id.value);
  if (run != reachable_.end()) {
    interrupted_at_[id.value] = clock_.Now();
    run->second->Interrupt();
  }
  woken_ = true;
  refresh_wanted_ = true;
}

absl::Time Scheduler::RunOnce() {
  absl::Time now = clock_.Now();
  for (auto& [id, run] : runs_) run->Pump();
  ReapFinished();
  Refresh(now);
  if (loaded_) {
    LookAtHealth(now);
    for (const Action& action : Decide(MakeSnapshot(now), options_.limits)) Act(action);
    for (auto& [id, run] : runs_) run->Pump();
    ReapFinished();
    Record(now);
  }
  Publish(now);
  now = clock_.Now();
  absl::Time next = std::min(next_refresh_, now + options_.poll_interval);
  if (!runs_.empty()) next = std::min({next, next_publish_, next_record_});
  for (const auto& [id, run] : runs_) next = std::min(next, run->next_due());
  if (loaded_) {
    const absl::Time change = NextChange(MakeSnapshot(now));
    if (change != absl::InfiniteFuture()) next = std::min(next, now + (change - (snapshot_.as_of + (now - snapshot_read_at_))));
  }
  return next;
}

// ---- reading ------------------------------------------------------------------------------------------------------------------

void Scheduler::Refresh(absl::Time now) {
  bool wanted = false;
  {
    absl::MutexLock lock(&mutex_);
    wanted = std::exchange(refresh_wanted_, false);
  }
  // A wake-up does not outrun the back-off of a store that is away.
  if (now < next_refresh_ && !(wanted && store_failures_ == 0)) return;
  const absl::Time asked_at = clock_.Now();
  const std::uint64_t asked_version = board_.Get()->version;
  auto read = [&]() -> absl::Status {
    if (!store_prepared_) {
      MD_RETURN_IF_ERROR(options_.prepare_store());
      store_prepared_ = true;
    }
    if (control_id_.empty()) {
      MD_ASSIGN_OR_RETURN(control_id_, store_.ControlId());
    }
    MD_ASSIGN_OR_RETURN(snapshot_, store_.Load());
    return absl::OkStatus();
  };
  absl::Status status = read();
  // Not away, but answering something else than it should: perhaps its schema is now another one, and that is what to say. Only looked at:
  // what is gone while we run (dropped, about to be restored) must not come back empty, under another identity.
  if (!status.ok() && !absl::IsUnavailable(status) && store_prepared_) {
    if (absl::Status schema = store_.CheckSchema(); !schema.ok()) status = std::move(schema);
  }
  if (status.ok()) {
    if (store_failures_ > 0) Log(LogLevel::kInfo, "control_store_back", {});
    store_failures_ = 0;
    loaded_ = true;
    snapshot_asked_at_ = asked_at;
    snapshot_asked_version_ = asked_version;
    snapshot_read_at_ = clock_.Now();
    next_refresh_ = snapshot_read_at_ + options_.poll_interval;
  } else {
    if (store_failures_ == 0) Log(LogLevel::kWarning, "control_store_unreachable", {{"status", status.ToString()}});
    next_refresh_ = clock_.Now() + BackOff(kStoreRetryFirst, kStoreRetryLongest, ++store_failures_, 0.5);
  }
  store_status_ = status;
}

StoredMigration* Scheduler::Find(MigrationId id) {
  for (StoredMigration& stored : snapshot_.migrations) {
    if (stored.migration.id == id) return &stored;
  }
  return nullptr;
}

std::string Scheduler::TargetOf(MigrationId id) {
  const StoredMigration* stored = Find(id);
  return stored == nullptr ? "" : stored->migration.target;
}

PolicySnapshot Scheduler::MakeSnapshot(absl::Time now) const {
  PolicySnapshot snapshot;
  snapshot.now = snapshot_.as_of + (now - snapshot_read_at_);
  snapshot.migrations = &snapshot_.migrations;
  snapshot.freezes = &snapshot_.freezes;
  for (const auto& [id, run] : runs_) {
    if (run->finished()) continue;
    snapshot.runs[id] = {.lease_token = run->lease().token,
                         .trusted = run->trusted(),
                         .limit_reached = run->limit_reached(),
                         .away = run->Away(),
                         .purpose = run->purpose()};
  }
  for (const auto& [name, target] : targets_) snapshot.targets[name].reachable = true;
  snapshot.health = health_;
  absl::MutexLock lock(&mutex_);
  snapshot.stopping = stopping_;
  return snapshot;
}

// ---- health -------------------------------------------------------------------------------------------------------------------

void Scheduler::LookAtHealth(absl::Time now) {
  if (options_.health == nullptr) return;
  std::map<std::string, TargetWork> work;
  // Also where others work: what holds them holds ours, and whoever asks this process is told the same.
  for (const StoredMigration& stored : snapshot_.migrations) {
    const Migration& m = stored.migration;
    const bool held = m.state == State::kPending && m.hold.kind == HoldKind::kThrottled;
    if (m.state != State::kRunning && !held) continue;
    AddOnce(work[m.target].tables, TableOf(*stored.definition));
  }
  for (const auto& [id, run] : runs_) {
    const StoredMigration* stored = Find({id});
    if (run->finished() || stored == nullptr) continue;
    const bool migrates = run->purpose() == MigrationRun::Purpose::kMigrate;
    if (!migrates && run->purpose() != MigrationRun::Purpose::kVerify) continue;
    TargetWork& there = work[stored->migration.target];
    const bool used = run->TakeAllowanceUsed();
    there.allowance_used = there.allowance_used || used;
    if (!migrates) continue;
    AddOnce(there.tables, TableOf(*stored->definition));
    if (const auto claim = run->WorkingClaim(); claim.has_value()) there.claims.push_back(*claim);
  }
  options_.health->Watch(work);
  health_ = options_.health->Verdicts();
  for (const auto& [id, run] : runs_) {
    const auto verdict = health_.find(TargetOf({id}));
    run->SetAllowed(verdict == health_.end() ? 1 : verdict->second->allowed);
  }
  LogPace(snapshot_.as_of + (now - snapshot_read_at_));
}

void Scheduler::LogPace(absl::Time database_now) {
  const auto write = [this](std::optional<EventRecord> event) {
    if (!event.has_value()) return;
    event->actor = absl::StrCat("migrationd ", options_.owner);
    Log(LogLevel::kInfo, "pace", {{"migration", event->migration}, {"target", event->target}, {"from", event->from}, {"to", event->to},
                                  {"reason", event->reason}});
    if (events_to_record_.size() < kPaceEventsMax) events_to_record_.push_back(*std::move(event));
  };
  for (const auto& [id, run] : runs_) {
    const StoredMigration* stored = Find({id});
    if (run->finished() || stored == nullptr || run->purpose() != MigrationRun::Purpose::kMigrate) continue;
    const auto found = health_.find(stored->migration.target);
    const HealthVerdict* verdict = found == health_.end() ? nullptr : found->second.get();
    const HealthStop* stop = verdict == nullptr ? nullptr : verdict->StopOf(TableOf(*stored->definition));
    if (stop != nullptr && stop->stale && run->Away()) stop = nullptr;
    write(pace_log_.Note(stored->migration, verdict, stop, database_now));
  }
  for (const YieldNote& note : options_.health->TakeYields()) {
    metrics_.Yielded(note.target);
    for (const auto& [id, run] : runs_) {
      const StoredMigration* stored = Find({id});
      if (stored == nullptr || stored->migration.target != note.target || stored->migration.name != note.yielded.migration) continue;
      write(pace_log_.NoteYield(stored->migration, note.yielded, database_now));
    }
  }
}

// ---- acting -------------------------------------------------------------------------------------------------------------------

void Scheduler::Act(const Action& action) {
  switch (action.kind) {
    case ActionKind::kClaim: return Claim(action);
    case ActionKind::kDirect: {
      const auto run = runs_.find(action.id.value);
      if (run == runs_.end()) return;
      const StoredMigration* stored = Find(action.id);
      // Under the lock, so that an Interrupt comes either before (and is seen here) or after (and is not undone).
      absl::MutexLock lock(&mutex_);
      const auto interrupted = interrupted_at_.find(action.id.value);
      const bool outdated = interrupted != interrupted_at_.end() && interrupted->second >= snapshot_asked_at_;
      // What was decided from a snapshot older than the interruption must not let it go on.
      const Directive directive = outdated && action.directive == Directive::kWork ? Directive::kHold : action.directive;
      run->second->Update(stored == nullptr ? StoredMigration{} : *stored, directive, action.hold);
      return;
    }
    case ActionKind::kShowHold: {
      StoredMigration* stored = Find(action.id);
      const Hold& before = stored->migration.hold;
      const bool same = before.kind == action.hold.kind && before.reason == action.hold.reason && before.until == action.hold.until;
      if (same) return;
      stored->migration.hold = Stamp(action.hold, before, snapshot_.as_of);
      if (holds_to_record_.size() < kHoldsPerWriteMax) holds_to_record_.push_back({action.id, stored->migration.hold});
      return;
    }
    case ActionKind::kResume:
    case ActionKind::kPauseCanary:
    case ActionKind::kEndOverride:
    case ActionKind::kEndPace: return MutateSimple(action);
  }
}

Hold Scheduler::Stamp(const Hold& hold, const Hold& before, absl::Time database_now) const {
  Hold stamped = hold;
  stamped.since = before.kind == hold.kind && before.since.has_value() ? before.since : database_now;
  if (hold.kind == HoldKind::kNone) stamped.since.reset();
  return stamped;
}

void Scheduler::Claim(const Action& action) {
  // Decided from what was read before it went away; there will be another look. One that hangs must not be waited for again and again.
  if (store_failures_ > 0) return;
  const StoredMigration* stored = Find(action.id);
  if (stored == nullptr || runs_.count(action.id.value) != 0) return;
  const absl::Time sent = clock_.Now();
  auto lease = store_.Claim(action.id, options_.owner, options_.lease_ttl);
  if (!lease.ok() || !lease->has_value()) {
    if (!lease.ok()) Log(LogLevel::kWarning, "claim_failed", {{"migration", stored->migration.name}, {"status", lease.status().ToString()}});
    return;
  }
  // The migration may have changed between the snapshot and the claim; from here on only its owner changes what matters.
  auto current = store_.Get(action.id);
  if (!current.ok()) return;  // the lease runs out by itself
  Log(LogLevel::kInfo, "claimed", {{"migration", stored->migration.name}, {"target", stored->migration.target},
                                    {"epoch", absl::StrCat((*lease)->epoch)}, {"reason", action.reason}});
  RunServices services{.store = store_,
                       .target = targets_.at(stored->migration.target),
                       .workers = workers_,
                       .steps = steps_,
                       .clock = clock_,
                       .metrics = metrics_,
                       .control_id = control_id_,
                       .actor = absl::StrCat("migrationd ", options_.owner),
                       .target_search_path = {"public"},
                       .natives = options_.natives,
                       .wake =
                           [this] {
                             absl::MutexLock lock(&mutex_);
                             woken_ = true;
                           },
                       .refresh = [this] { Wake(); }};
  if (const auto path = options_.target_search_path.find(stored->migration.target); path != options_.target_search_path.end()) {
    services.target_search_path = path->second;
  }
  const LeaseKey key{action.id, (*lease)->token};
  current->lease = **lease;
  const bool changed = current->migration.state != stored->migration.state;
  *Find(action.id) = *current;
  auto run = std::make_unique<MigrationRun>(*current, **lease, LeaseKeeper::TrustedUntil(sent, options_.lease_ttl), action.purpose,
                                            std::move(services));
  const Directive directive = action.purpose == MigrationRun::Purpose::kQuiesce ? Directive::kQuiesce : Directive::kWork;
  run->Account(snapshot_.as_of + (clock_.Now() - snapshot_read_at_));
  run->Update(*current, directive, Hold{});
  keeper_.Add(key);
  {
    absl::MutexLock lock(&mutex_);
    reachable_[action.id.value] = run.get();
    refresh_wanted_ = refresh_wanted_ || changed;
  }
  runs_[action.id.value] = std::move(run);
}

void Scheduler::MutateSimple(const Action& action) {
  if (store_failures_ > 0) return;
  MutationContext context;
  context.caller = {absl::StrCat("migrationd ", options_.owner), action.reason};
  context.call = "Service";
  const auto mutated = store_.Mutate(
      action.id, context, [&](const StoredMigration& current, absl::Time now) -> absl::StatusOr<VerbEffect> {
        switch (action.kind) {
          case ActionKind::kResume:
            // Another replica, or a person, may have been faster.
            if (!current.migration.intent.until.has_value() || *current.migration.intent.until > now) break;
            return ResumeMigration(current.migration, context.caller, now);
          case ActionKind::kPauseCanary: {
            if (current.migration.pause_after_rows == 0) break;
            MD_ASSIGN_OR_RETURN(VerbEffect effect, PauseMigration(current.migration, context.caller, now, std::nullopt));
            effect.after.pause_after_rows = 0;
            return effect;
          }
          case ActionKind::kEndOverride: {
            SizeRequest request;
            request.automatic = true;
            return migrationd::SetBatchSize(current.migration, context.caller, now, request);
          }
          case ActionKind::kEndPace: {
            PaceRequest request;
            request.automatic = true;
            return migrationd::SetPace(current.migration, context.caller, now, request);
          }
          default: break;
        }
        VerbEffect nothing;
        nothing.after = current.migration;
        nothing.changed = false;
        return nothing;
      });
  if (!mutated.ok()) {
    Log(LogLevel::kWarning, "mutation_failed", {{"reason", action.reason}, {"status", mutated.status().ToString()}});
    return;
  }
  if (StoredMigration* stored = Find(action.id); stored != nullptr) stored->migration = mutated->migration;
  absl::MutexLock lock(&mutex_);
  woken_ = true;
}

void Scheduler::ReapFinished() {
  std::vector<LeaseKey> released;
  std::vector<ProgressUpdate> last_words;
  for (auto it = runs_.begin(); it != runs_.end();) {
    MigrationRun& run = *it->second;
    if (!run.finished() || !run.idle()) {
      ++it;
      continue;
    }
    const LeaseKey key{run.id(), run.lease().token};
    const absl::Time database_now = snapshot_.as_of + (clock_.Now() - snapshot_read_at_);
    run.StampLastError(database_now);
    run.Account(database_now);
    // The last counters and job rows, while the claim still holds.
    ProgressUpdate update{run.id(), key.token, run.Counters(), Hold{}, run.TakeJobs()};
    if (const auto hold = run.parting_hold(); hold.has_value()) {
      update.hold = *hold;
      update.hold.since = database_now;
      update.hold.until = database_now + run.parting_recheck();
    }
    if (StoredMigration* stored = Find(run.id()); stored != nullptr) {
      stored->lease.reset();
      stored->migration.hold = update.hold;
      stored->migration.progress = update.counters;
    }
    if (run.release_claim()) {
      last_words.push_back(std::move(update));
      released.push_back(key);
    }
    keeper_.Remove(key);
    {
      absl::MutexLock lock(&mutex_);
      reachable_.erase(it->first);
      interrupted_at_.erase(it->first);
      refresh_wanted_ = true;
      woken_ = true;
    }
    run_holds_.erase(it->first);
    pace_log_.Forget(run.id());
    it = runs_.erase(it);
  }
  if (released.empty()) return;
  GiveBack(last_words, released);
}

void Scheduler::GiveBack(const std::vector<ProgressUpdate>& last_words, const std::vector<LeaseKey>& claims) {
  bool stopping = false;
  {
    absl::MutexLock lock(&mutex_);
    stopping = stopping_;
  }
  // A store that hangs would outlast the time there is; the claims run out by themselves.
  if (stopping && store_failures_ > 0) {
    Log(LogLevel::kWarning, "claims_not_given_back", {{"why", "the control store is unreachable"}});
    return;
  }
  const absl::Status recorded = store_.RecordProgress(last_words);
  if (!recorded.ok()) Log(LogLevel::kWarning, "progress_not_recorded", {{"status", recorded.ToString()}});
  const absl::Status released = store_.Release(claims);
  if (!released.ok()) Log(LogLevel::kWarning, "release_failed", {{"status", released.ToString()}});
}

// ---- telling ------------------------------------------------------------------------------------------------------------------

void Scheduler::Record(absl::Time now) {
  if (now < next_record_) return;
  // Also while the store is away: a time that has passed would make the loop spin.
  next_record_ = now + options_.record_interval;
  if (store_failures_ > 0) return;
  if (!holds_to_record_.empty()) {
    const absl::Status status = store_.RecordHolds(std::exchange(holds_to_record_, {}));
    if (!status.ok()) Log(LogLevel::kWarning, "holds_not_recorded", {{"status", status.ToString()}});
  }
  for (const EventRecord& event : std::exchange(events_to_record_, {})) {
    const absl::Status status = store_.AppendEvent(event);
    if (!status.ok()) Log(LogLevel::kWarning, "pace_not_recorded", {{"migration", event.migration}, {"status", status.ToString()}});
    if (absl::IsUnavailable(status)) break;  // not to wait for it again and again
  }
  std::vector<ProgressUpdate> updates;
  for (auto& [id, run] : runs_) {
    updates.push_back({run->id(), run->lease().token, run->Counters(), run_holds_[id], run->TakeJobs()});
  }
  if (updates.empty()) return;
  const absl::Status status = store_.RecordProgress(updates);
  if (status.ok()) return;
  Log(LogLevel::kWarning, "progress_not_recorded", {{"status", status.ToString()}});
  // What the store did not take is kept for the next time, up to the run's limit.
  for (ProgressUpdate& update : updates) runs_[update.id.value]->ReturnJobs(std::move(update.jobs));
}

void Scheduler::Publish(absl::Time now) {
  // A finished round of the store is shown at once; live counters a few times a second.
  const bool fresh = loaded_ && board_.Get()->read_at != snapshot_read_at_;
  const bool condition_changed = board_.Get()->store_reachable != store_status_.ok() || board_.Get()->loaded != loaded_;
  if (!fresh && !condition_changed && now < next_publish_) return;
  next_publish_ = now + options_.publish_interval;
  const absl::Duration since = published_at_ == absl::InfinitePast() ? absl::ZeroDuration() : now - published_at_;
  published_at_ = now;
  WorkFacts work;
  const LeaseKeeper::Facts leases = keeper_.facts();
  work.leases = leases.claims;
  work.renewed_at = leases.renewed_at;
  struct Live {
    ProgressCounters counters;
    Hold hold;
    LiveWork work;
    Lease lease;
  };
  std::map<std::int64_t, Live> live;
  const absl::Time database_now = snapshot_.as_of + (now - snapshot_read_at_);
  std::map<std::string, std::string> trouble;
  for (auto& [id, run] : runs_) {
    if (run->finished()) continue;
    Hold& shown = run_holds_[id];
    const std::string target = TargetOf({id});
    ++work.runs[target];
    if (shown.kind != HoldKind::kNone) metrics_.Held(target, std::string(HoldKindName(shown.kind)), since);
    shown = Stamp(run->CurrentHold(), shown, database_now);
    Lease lease = run->lease();
    lease.epoch = run->epoch();
    lease.live = true;
    run->Account(database_now);
    live[id] = {run->Counters(), shown, run->Live(), lease};
    if (const auto verdict = health_.find(target); verdict != health_.end()) {
      live[id].work.allowed = verdict->second->allowed;
      live[id].work.limited_by = verdict->second->limited_by;
    }
    if (LastError* error = live[id].counters.last_error.has_value() ? &*live[id].counters.last_error : nullptr;
        error != nullptr && error->at == absl::InfinitePast()) {
      run->StampLastError(database_now);
      error->at = database_now;
    }
    if (std::string why = run->TargetTrouble(); !why.empty()) trouble[target] = std::move(why);
  }
  board_.Edit([&](BoardSnapshot& board) {
    board.loaded = loaded_;
    board.work = work;
    board.store_reachable = store_status_.ok();
    board.store_error = store_status_.ok() ? "" : std::string(store_status_.message());
    if (fresh) {
      board.as_of = snapshot_.as_of;
      board.read_at = snapshot_read_at_;
      board.freezes = snapshot_.freezes;
      ShowStored(snapshot_.migrations, snapshot_asked_version_, board);
    }
    for (auto& [id, entry] : board.migrations) {
      const auto work = live.find(id);
      entry.live = work == live.end() ? LiveWork{} : work->second.work;
      if (work == live.end()) continue;
      entry.stored.migration.progress = work->second.counters;
      entry.stored.migration.hold = work->second.hold;
      entry.stored.lease = work->second.lease;
    }
    board.targets.clear();
    for (const auto& [name, target] : targets_) {
      const auto found = trouble.find(name);
      TargetCondition& condition = board.targets[name];
      condition.reachable = found == trouble.end();
      if (found != trouble.end()) condition.error = found->second;
      const auto verdict = health_.find(name);
      condition.known = !condition.reachable || verdict != health_.end() || work.runs.count(name) != 0;
      if (verdict == health_.end()) continue;
      condition.readings = verdict->second->readings;
      condition.read_at = verdict->second->read_at;
      condition.allowed = verdict->second->allowed;
      if (!verdict->second->stop.has_value()) continue;
      // It was not one signal: nothing at all was answered.
      if (condition.reachable && verdict->second->stop->stale && verdict->second->stop->readings.empty()) {
        condition.reachable = false;
        condition.error = verdict->second->stop->reason;
      }
      condition.hold = Hold{.kind = HoldKind::kThrottled, .reason = verdict->second->stop->reason};
      condition.hold.readings = verdict->second->stop->readings;
    }
  });
}

// ---- the thread ---------------------------------------------------------------------------------------------------------------

void Scheduler::Start() {
  keeper_.Start();
  thread_ = std::thread([this] { Loop(); });
}

void Scheduler::Loop() {
  while (true) {
    const absl::Time next = RunOnce();
    bool done = false;
    bool aborting = false;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&woken_), std::clamp(next - clock_.Now(), absl::ZeroDuration(), options_.poll_interval));
      woken_ = false;
      done = stopping_ && (runs_.empty() || aborting_);
      aborting = aborting_;
    }
    if (!done) continue;
    if (aborting) {
      for (auto& [id, run] : runs_) run->Update(StoredMigration{}, Directive::kAbandon, Hold{});
    }
    return;
  }
}

void Scheduler::Stop(absl::Duration deadline) {
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_ && !thread_.joinable()) return;
    stopping_ = true;
    woken_ = true;
  }
  if (thread_.joinable()) {
    const absl::Time end = clock_.Now() + deadline;
    std::thread watchdog([this, end] {
      absl::MutexLock lock(&mutex_);
      const auto over = [this] {
        mutex_.AssertHeld();
        return loop_over_;
      };
      mutex_.AwaitWithTimeout(absl::Condition(&over), end - clock_.Now());
      aborting_ = true;
      woken_ = true;
    });
    thread_.join();
    {
      absl::MutexLock lock(&mutex_);
      loop_over_ = true;
    }
    watchdog.join();
  }
  keeper_.Stop();
  // Tasks of abandoned runs end with their cancelled statements.
  for (auto& [id, run] : runs_) {
    while (!run->idle()) {
      run->Update(StoredMigration{}, Directive::kAbandon, Hold{});
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&woken_), absl::Milliseconds(20));
      woken_ = false;
    }
  }
  absl::MutexLock lock(&mutex_);
  reachable_.clear();
  runs_.clear();
}

}  // namespace migrationd
