#include "server/scheduler/policy.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "migrations/kinds/plan.h"
#include "migrations/pacing/pace.h"

namespace migrationd {
namespace {

using migrationcontrol::v1::ORDER_STRICT;

std::string FullName(const Migration& m) { return absl::StrCat(m.target, "/", m.name); }

Hold MakeHold(HoldKind kind, std::string reason, std::optional<absl::Time> until = std::nullopt) {
  Hold hold;
  hold.kind = kind;
  hold.reason = std::move(reason);
  hold.until = until;
  return hold;
}

std::vector<std::string> WindowsOf(const StoredMigration& stored, absl::Time now) {
  return PaceOf(*stored.definition, stored.migration.pace_override, now).windows;
}

bool WantsWork(const StoredMigration& stored) {
  return stored.migration.state == State::kPending || stored.migration.state == State::kRunning;
}

bool WantsQuiesce(const StoredMigration& stored) {
  return stored.migration.state == State::kPausing || stored.migration.state == State::kCancelling;
}

bool WantsCleanup(const StoredMigration& stored) {
  const Migration& m = stored.migration;
  return (m.state == State::kCompleted || m.state == State::kCancelled) && m.cleanup_requested && !m.cleaned_up;
}

// An owner that could not clean up, or verify, asked to be left alone for a while.
bool BacksOff(const StoredMigration& stored, absl::Time now) {
  const Hold& hold = stored.migration.hold;
  return hold.kind == HoldKind::kBackoff && hold.until.has_value() && *hold.until > now;
}

bool CleanupIsDue(const StoredMigration& stored, absl::Time now) { return WantsCleanup(stored) && !BacksOff(stored, now); }

// Once it is cleaned up, when that was asked for, too.
bool WantsVerification(const StoredMigration& stored) { return stored.migration.verifying() && !WantsCleanup(stored); }

// One look at the snapshot, with indexes.
class View {
 public:
  explicit View(const PolicySnapshot& snapshot) : snapshot_(snapshot) {
    for (const StoredMigration& stored : *snapshot.migrations) by_name_[FullName(stored.migration)] = &stored;
  }

  Hold WhyNot(const StoredMigration& stored) const {
    const Migration& m = stored.migration;
    if (m.state == State::kPending && !m.start_requested) {
      return MakeHold(HoldKind::kNeedsStart, m.enqueued ? "MANUAL: waits for Start" : "MANUAL: waits for Enqueue or Start");
    }
    if (const FreezeRecord* freeze = FreezeOf(m.target); freeze != nullptr) {
      return MakeHold(HoldKind::kFrozen,
                      absl::StrCat(freeze->target.empty() ? "all targets" : "this target", " frozen by ", freeze->actor,
                                   freeze->reason.empty() ? "" : ": ", freeze->reason),
                      freeze->until);
    }
    if (m.state == State::kPending) {
      if (Hold hold = AfterOthers(stored); hold.kind != HoldKind::kNone) return hold;
      if (Hold hold = BehindStrict(stored); hold.kind != HoldKind::kNone) return hold;
    }
    if (Hold hold = Throttled(stored); hold.kind != HoldKind::kNone) return hold;
    if (Hold hold = OutOfWindow(stored); hold.kind != HoldKind::kNone) return hold;
    const auto target = snapshot_.targets.find(m.target);
    if (target == snapshot_.targets.end()) {
      return MakeHold(HoldKind::kNoOwner, absl::StrCat("no process here has a target \"", m.target, "\""));
    }
    // What an owner found out lately and asked to be left alone for a while.
    const bool found_by_owner = m.hold.kind == HoldKind::kSkipped || m.hold.kind == HoldKind::kPreflight;
    if (m.state == State::kPending && found_by_owner && m.hold.until.has_value() && *m.hold.until > snapshot_.now) return m.hold;
    return Hold{};
  }

  // Why a verification may not go on now, apart from limits.
  Hold WhyNotVerify(const StoredMigration& stored) const {
    if (const FreezeRecord* freeze = FreezeOf(stored.migration.target); freeze != nullptr) {
      return MakeHold(HoldKind::kFrozen, absl::StrCat("frozen by ", freeze->actor, freeze->reason.empty() ? "" : ": ", freeze->reason),
                      freeze->until);
    }
    return OutOfWindow(stored);
  }

  const FreezeRecord* FreezeOf(const std::string& target) const {
    for (const FreezeRecord& freeze : *snapshot_.freezes) {
      const bool over = freeze.until.has_value() && *freeze.until <= snapshot_.now;
      if (!over && (freeze.target.empty() || freeze.target == target)) return &freeze;
    }
    return nullptr;
  }

 private:
  std::string Qualified(const Migration& m, const std::string& reference) const {
    return reference.find('/') == std::string::npos ? absl::StrCat(m.target, "/", reference) : reference;
  }

  Hold AfterOthers(const StoredMigration& stored) const {
    for (const std::string& reference : stored.definition->after()) {
      const std::string name = Qualified(stored.migration, reference);
      const auto found = by_name_.find(name);
      if (found == by_name_.end()) return MakeHold(HoldKind::kWaitingTurn, absl::StrCat("waits for ", name, ", which is not known"));
      const State state = found->second->migration.state;
      if (state == State::kCompleted) continue;
      if (state == State::kCancelled) {
        return MakeHold(HoldKind::kWaitingTurn, absl::StrCat("waits for ", name, ", which was cancelled: Retry that one, or Cancel this one"));
      }
      if (std::set<std::string> seen; Reaches(name, FullName(stored.migration), seen)) {
        return MakeHold(HoldKind::kWaitingTurn, absl::StrCat("waits for ", name, ", which waits for this one: `after` is a cycle"));
      }
      return MakeHold(HoldKind::kWaitingTurn, absl::StrCat("waits for ", name, " (", std::string(StateName(state)), ")"));
    }
    return Hold{};
  }

  // Whether `from` waits, directly or not, for `to`.
  bool Reaches(const std::string& from, const std::string& to, std::set<std::string>& seen) const {
    if (from == to) return true;
    const auto found = by_name_.find(from);
    if (found == by_name_.end() || !seen.insert(from).second) return false;
    const auto& after = found->second->definition->after();
    return std::any_of(after.begin(), after.end(), [&](const std::string& reference) {
      return Reaches(Qualified(found->second->migration, reference), to, seen);
    });
  }

  // STRICT ones wait for all earlier STRICT ones of their target that are to run at all.
  Hold BehindStrict(const StoredMigration& stored) const {
    if (stored.definition->order() != ORDER_STRICT) return Hold{};
    const Migration& m = stored.migration;
    for (const StoredMigration& other : *snapshot_.migrations) {
      const Migration& o = other.migration;
      const bool earlier = std::tie(o.version, o.name) < std::tie(m.version, m.name);
      if (o.target != m.target || !earlier || other.definition->order() != ORDER_STRICT) continue;
      const bool over = o.state == State::kCompleted || o.state == State::kCancelled;
      const bool asleep = o.state == State::kPending && (!o.enqueued || o.hold.kind == HoldKind::kSkipped);
      if (over || asleep) continue;
      return MakeHold(HoldKind::kWaitingTurn,
                      absl::StrCat("waits for the earlier ", o.name, " (", std::string(StateName(o.state)), ")"));
    }
    return Hold{};
  }

  Hold Throttled(const StoredMigration& stored) const {
    const auto verdict = snapshot_.health.find(stored.migration.target);
    const HealthStop* stop = verdict == snapshot_.health.end() ? nullptr : verdict->second->StopOf(TableOf(*stored.definition));
    if (stop == nullptr) return Hold{};
    // Who has lost the target himself says better why, and has to try again to find it back.
    const auto run = snapshot_.runs.find(stored.migration.id.value);
    if (stop->stale && run != snapshot_.runs.end() && run->second.away) return Hold{};
    Hold hold = MakeHold(HoldKind::kThrottled, stop->reason);
    hold.readings = stop->readings;
    return hold;
  }

  Hold OutOfWindow(const StoredMigration& stored) const {
    std::vector<Window> windows;
    const std::vector<std::string> texts = WindowsOf(stored, snapshot_.now);
    for (const std::string& text : texts) {
      const auto window = ParseWindow(text);
      // Validated when it was registered; a zone that this machine lacks must not open the window.
      if (!window.ok()) return MakeHold(HoldKind::kOutOfWindow, std::string(window.status().message()));
      windows.push_back(*window);
    }
    if (windows.empty() || InWindow(windows, snapshot_.now)) return Hold{};
    return MakeHold(HoldKind::kOutOfWindow, absl::StrCat("outside ", absl::StrJoin(texts, ", ")),
                    NextOpening(windows, snapshot_.now));
  }

  const PolicySnapshot& snapshot_;
  std::map<std::string, const StoredMigration*> by_name_;
};

// Who may work at once: at most `per_target` a target, one a table.
class Slots {
 public:
  explicit Slots(const PolicyLimits& limits) : limits_(limits) {}

  Hold TryTake(const StoredMigration& stored) {
    const Migration& m = stored.migration;
    std::vector<const Migration*>& busy = busy_[m.target];
    const std::string table = TableOf(*stored.definition);
    if (const auto other = tables_.find({m.target, table}); other != tables_.end()) {
      return MakeHold(HoldKind::kWaitingTurn, absl::StrCat(other->second->name, " works on the same table"));
    }
    if (static_cast<int>(busy.size()) >= limits_.per_target) {
      return MakeHold(HoldKind::kWaitingTurn,
                      absl::StrCat("the target has its ", limits_.per_target, " at work: ",
                                   absl::StrJoin(busy, ", ", [](std::string* out, const Migration* b) { out->append(b->name); })));
    }
    busy.push_back(&m);
    tables_[{m.target, table}] = &m;
    return Hold{};
  }

 private:
  const PolicyLimits& limits_;
  std::map<std::string, std::vector<const Migration*>> busy_;
  std::map<std::pair<std::string, std::string>, const Migration*> tables_;
};

class Decision {
 public:
  Decision(const PolicySnapshot& snapshot, const PolicyLimits& limits)
      : snapshot_(snapshot), limits_(limits), view_(snapshot), slots_(limits), claims_(static_cast<int>(snapshot.runs.size())) {}

  std::vector<Action> Make() {
    for (const auto& [id, run] : snapshot_.runs) known_.insert(id);
    for (const StoredMigration& stored : *snapshot_.migrations) {
      known_.erase(stored.migration.id.value);
      Timers(stored);
      if (!WantsWork(stored)) AtRest(stored);
    }
    // Deleted under our hands.
    for (const std::int64_t id : known_) Direct({id}, Directive::kAbandon, "the store does not know it any more");
    Work();
    Verify();
    return std::move(actions_);
  }

 private:
  const RunFacts* RunOf(const StoredMigration& stored) const {
    const auto run = snapshot_.runs.find(stored.migration.id.value);
    return run == snapshot_.runs.end() ? nullptr : &run->second;
  }

  bool LostClaim(const StoredMigration& stored, const RunFacts& run) const {
    return !run.trusted || !stored.lease.has_value() || stored.lease->token != run.lease_token;
  }

  bool ClaimedElsewhere(const StoredMigration& stored) const {
    return RunOf(stored) == nullptr && stored.lease.has_value() && stored.lease->live;
  }

  void Direct(MigrationId id, Directive directive, std::string reason, Hold hold = {}) {
    Action action;
    action.kind = ActionKind::kDirect;
    action.id = id;
    action.directive = directive;
    action.reason = std::move(reason);
    action.hold = std::move(hold);
    actions_.push_back(std::move(action));
  }

  void Simple(ActionKind kind, MigrationId id, std::string reason) {
    Action action;
    action.kind = kind;
    action.id = id;
    action.reason = std::move(reason);
    actions_.push_back(std::move(action));
  }

  void Claim(const StoredMigration& stored, MigrationRun::Purpose purpose, std::string reason) {
    if (snapshot_.stopping || claims_ >= limits_.runs || snapshot_.targets.count(stored.migration.target) == 0) return;
    ++claims_;
    Action action;
    action.kind = ActionKind::kClaim;
    action.id = stored.migration.id;
    action.purpose = purpose;
    action.reason = std::move(reason);
    actions_.push_back(std::move(action));
  }

  // What the passing of time alone brings about.
  void Timers(const StoredMigration& stored) {
    const Migration& m = stored.migration;
    if (m.state == State::kPaused && m.intent.until.has_value() && *m.intent.until <= snapshot_.now) {
      Simple(ActionKind::kResume, m.id, "the pause was until now");
    }
    // Where nothing can be adjusted any more, sizes mean nothing; a Retry comes by here again.
    if (m.size_override.has_value() && m.size_override->until.has_value() && *m.size_override->until <= snapshot_.now &&
        Apply(m.state, kAdjust, m.facts()).ok()) {
      Simple(ActionKind::kEndOverride, m.id, "the batch size was set until now");
    }
    if (m.pace_override.has_value() && m.pace_override->until.has_value() && *m.pace_override->until <= snapshot_.now &&
        Apply(m.state, kAdjust, m.facts()).ok()) {
      Simple(ActionKind::kEndPace, m.id, "the pace was set until now");
    }
    const RunFacts* run = RunOf(stored);
    if (m.state == State::kRunning && run != nullptr && run->limit_reached && m.pause_after_rows > 0) {
      Simple(ActionKind::kPauseCanary, m.id, absl::StrCat("canary: ", m.pause_after_rows, " rows are done"));
    }
  }

  // Neither PENDING nor RUNNING.
  void AtRest(const StoredMigration& stored) {
    const RunFacts* run = RunOf(stored);
    if (run != nullptr) {
      if (LostClaim(stored, *run)) return Direct(stored.migration.id, Directive::kAbandon, "the claim is lost");
      if (WantsQuiesce(stored)) return Direct(stored.migration.id, Directive::kQuiesce, "asked to stop");
      const bool may_clean_up = !snapshot_.stopping && view_.FreezeOf(stored.migration.target) == nullptr;
      if (WantsCleanup(stored) && run->purpose == MigrationRun::Purpose::kCleanup && may_clean_up) {
        return Direct(stored.migration.id, Directive::kWork, "cleaning up");
      }
      if (WantsVerification(stored) && run->purpose == MigrationRun::Purpose::kVerify && !snapshot_.stopping) {
        verifying_.push_back(&stored);
        return;
      }
      return Direct(stored.migration.id, Directive::kRelease, "nothing is to be done");
    }
    if (WantsVerification(stored)) verifying_.push_back(&stored);
    if (ClaimedElsewhere(stored)) return;
    if (WantsQuiesce(stored)) Claim(stored, MigrationRun::Purpose::kQuiesce, "stopping, and nobody owns it");
    // A Freeze stops everything, also the statements of a cleanup.
    const bool frozen = view_.FreezeOf(stored.migration.target) != nullptr;
    if (!frozen && CleanupIsDue(stored, snapshot_.now)) Claim(stored, MigrationRun::Purpose::kCleanup, "cleanup was asked for");
  }

  // PENDING and RUNNING ones: in order of who is at work already, priority, version; each takes a slot or is told why not.
  void Work() {
    std::vector<const StoredMigration*> wanting;
    for (const StoredMigration& stored : *snapshot_.migrations) {
      if (WantsWork(stored)) wanting.push_back(&stored);
    }
    std::stable_sort(wanting.begin(), wanting.end(), [](const StoredMigration* a, const StoredMigration* b) {
      const auto rank = [](const StoredMigration* s) {
        const bool at_work = s->lease.has_value() && s->lease->live;
        return std::make_tuple(!at_work, s->migration.state != State::kRunning, -s->definition->priority());
      };
      return rank(a) < rank(b);
    });
    for (const StoredMigration* stored : wanting) {
      Hold hold = view_.WhyNot(*stored);
      if (hold.kind == HoldKind::kNone) hold = slots_.TryTake(*stored);
      Place(*stored, std::move(hold));
    }
  }

  // Verifications have what slots are left by those that work; those under way first. One that has to wait keeps its claim, and how far it
  // is.
  void Verify() {
    const auto under_way = [](const StoredMigration* stored) { return stored->lease.has_value() && stored->lease->live; };
    std::stable_partition(verifying_.begin(), verifying_.end(), under_way);
    for (const StoredMigration* stored : verifying_) {
      const MigrationId id = stored->migration.id;
      Hold hold = view_.WhyNotVerify(*stored);
      if (hold.kind == HoldKind::kNone) hold = slots_.TryTake(*stored);
      if (RunOf(*stored) != nullptr) {
        std::string reason = hold.kind == HoldKind::kNone ? "verifying" : hold.reason;
        Direct(id, hold.kind == HoldKind::kNone ? Directive::kWork : Directive::kHold, std::move(reason), std::move(hold));
      } else if (ClaimedElsewhere(*stored) || BacksOff(*stored, snapshot_.now)) {
        continue;
      } else if (hold.kind == HoldKind::kNone) {
        Claim(*stored, MigrationRun::Purpose::kVerify, "a verification was asked for");
      } else {
        ShowHold(id, std::move(hold));
      }
    }
  }

  void Place(const StoredMigration& stored, Hold hold) {
    const Migration& m = stored.migration;
    if (const RunFacts* run = RunOf(stored); run != nullptr) {
      if (LostClaim(stored, *run)) return Direct(m.id, Directive::kAbandon, "the claim is lost");
      if (snapshot_.stopping) return Direct(m.id, Directive::kRelease, "this process is stopping");
      if (run->purpose != MigrationRun::Purpose::kMigrate) return Direct(m.id, Directive::kRelease, "it is to run again");
      if (hold.kind == HoldKind::kNone) return Direct(m.id, Directive::kWork, "its turn");
      // A short wait keeps the claim; the connection is the lane's and stays, but nothing is open in it.
      std::string reason = hold.reason;
      return Direct(m.id, Directive::kHold, std::move(reason), std::move(hold));
    }
    if (ClaimedElsewhere(stored)) return;
    if (hold.kind == HoldKind::kNone) {
      const std::size_t before = actions_.size();
      Claim(stored, MigrationRun::Purpose::kMigrate, "its turn, and nobody owns it");
      if (actions_.size() != before) return;
      hold = MakeHold(HoldKind::kNoOwner, snapshot_.stopping ? "this process is stopping" : "waits for a process to claim it");
    }
    ShowHold(m.id, std::move(hold));
  }

  void ShowHold(MigrationId id, Hold hold) {
    Action action;
    action.kind = ActionKind::kShowHold;
    action.id = id;
    action.reason = hold.reason;
    action.hold = std::move(hold);
    actions_.push_back(std::move(action));
  }

  const PolicySnapshot& snapshot_;
  const PolicyLimits& limits_;
  const View view_;
  Slots slots_;
  std::vector<const StoredMigration*> verifying_;
  int claims_;
  std::set<std::int64_t> known_;  // runs of ours that no migration of the store was matched with yet
  std::vector<Action> actions_;
};

}  // namespace

std::vector<Action> Decide(const PolicySnapshot& snapshot, const PolicyLimits& limits) { return Decision(snapshot, limits).Make(); }

Hold WhyNot(const PolicySnapshot& snapshot, const StoredMigration& stored) { return View(snapshot).WhyNot(stored); }

absl::Time NextChange(const PolicySnapshot& snapshot) {
  absl::Time next = absl::InfiniteFuture();
  const auto consider = [&](const std::optional<absl::Time>& at) {
    if (at.has_value() && *at > snapshot.now) next = std::min(next, *at);
  };
  for (const FreezeRecord& freeze : *snapshot.freezes) consider(freeze.until);
  for (const StoredMigration& stored : *snapshot.migrations) {
    const Migration& m = stored.migration;
    consider(m.intent.until);
    if (m.size_override.has_value()) consider(m.size_override->until);
    if (m.pace_override.has_value()) consider(m.pace_override->until);
    if (WantsWork(stored) || WantsCleanup(stored) || m.verifying()) consider(m.hold.until);
    if (!WantsWork(stored) && !m.verifying()) continue;
    std::vector<Window> windows;
    for (const std::string& text : WindowsOf(stored, snapshot.now)) {
      if (const auto window = ParseWindow(text); window.ok()) windows.push_back(*window);
    }
    if (windows.empty()) continue;
    consider(InWindow(windows, snapshot.now) ? NextClosing(windows, snapshot.now) : NextOpening(windows, snapshot.now));
  }
  return next;
}

}  // namespace migrationd
