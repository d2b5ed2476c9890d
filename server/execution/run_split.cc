// How far the lanes of a pass are in its range, and lanes that are cut anew while they run.
#include "server/execution/migration_run.h"

#include <algorithm>
#include <utility>

#include "server/observability/log.h"
#include "migrations/model/progress.h"

namespace migrationd {
namespace {

constexpr absl::Duration kFractionLookInterval = absl::Seconds(3);

// Lanes are cut anew when fewer are left than may be at work: what is left must be worth it, and not too often.
constexpr int kBatchesWorthASplit = 4;
constexpr std::size_t kLanesMax = 64;
constexpr absl::Duration kSplitPause = absl::Seconds(2);
constexpr absl::Duration kSplitPauseMax = absl::Minutes(1);

// Pairs of where a lane begins and where it is; nullopt when one of them is not known.
std::optional<double> SumOfParts(const std::vector<std::optional<double>>& places) {
  double sum = 0;
  for (std::size_t i = 0; i + 1 < places.size(); i += 2) {
    if (!places[i].has_value() || !places[i + 1].has_value()) return std::nullopt;
    sum += std::max(0.0, *places[i + 1] - *places[i]);
  }
  return std::min(sum, 1.0);
}

}  // namespace

void MigrationRun::StartFractionLook() {
  fraction_look_busy_ = true;
  const std::vector<LaneRange> places = PlacesInPass();
  Submit<absl::StatusOr<std::vector<std::optional<double>>>>(
      services_.steps,
      [context = Context(), places, plan = plan_, pass = counters_.pass] { return context.target.KeyFractions(PlanOfPass(*plan, pass), places); },
      [this, pass = counters_.pass](absl::StatusOr<std::vector<std::optional<double>>> fractions) {
        fraction_look_busy_ = false;
        fraction_look_due_ = services_.clock.Now() + kFractionLookInterval;
        // Without an answer the positions in the range have to do.
        looked_fraction_.reset();
        if (fractions.ok() && pass == counters_.pass) looked_fraction_ = SumOfParts(*fractions);
      });
}

// For each lane where it begins and where it is, as positions in the whole range of the pass: the lanes lie side by side, in the order of
// the key.
std::vector<LaneRange> MigrationRun::PlacesInPass() const {
  std::vector<LaneRange> places;
  if (lanes_.empty()) return places;
  LaneRange whole;
  whole.lower = lanes_.front().runner->View().range.lower;
  whole.upper = lanes_.back().runner->View().range.upper;
  for (const LaneSlot& slot : lanes_) {
    const LaneRange range = slot.runner->View().range;
    whole.cursor = range.lower;
    places.push_back(whole);
    whole.cursor = range.cursor.empty() ? range.lower : range.cursor;
    places.push_back(whole);
  }
  return places;
}

std::optional<double> MigrationRun::PassFraction() const {
  if (looked_fraction_.has_value()) return looked_fraction_;
  if (lanes_.empty()) return std::nullopt;
  std::vector<std::optional<double>> parts;
  for (const LaneRange& place : PlacesInPass()) {
    parts.push_back(IntegerKeyFraction(PlanOfPass(*plan_, counters_.pass).key_types, place.lower, place.cursor, place.upper));
  }
  return SumOfParts(parts);
}

void MigrationRun::ForgetPosition() {
  counters_.fraction = 0;
  looked_fraction_.reset();
  fraction_look_due_ = absl::InfinitePast();
  position_rate_ = RateMeter(absl::Minutes(2));
}

std::vector<std::size_t> MigrationRun::LanesInTurn() const {
  std::vector<std::size_t> in_turn;
  for (std::size_t i = 0; i < lanes_.size() && in_turn.size() < static_cast<std::size_t>(pace_.lanes); ++i) {
    if (!lanes_[i].done) in_turn.push_back(i);
  }
  return in_turn;
}

bool MigrationRun::SplitIsDue(absl::Time now) const {
  const auto left = std::count_if(lanes_.begin(), lanes_.end(), [](const LaneSlot& slot) { return !slot.done; });
  if (left == 0 || left >= pace_.lanes || lanes_.size() >= kLanesMax || now < split_due_ || plan_ == nullptr) return false;
  // Where no position is known, all that was done counts as done in this pass.
  const auto estimated = static_cast<double>(counters_.rows_estimated);
  const auto fraction = PassFraction();
  const double rows_left = fraction.has_value() ? estimated * (1 - *fraction) : estimated - static_cast<double>(controls_.rows_done());
  return rows_left >= kBatchesWorthASplit * controls_.batch_size();
}

bool MigrationRun::SplitUnlessInTrouble() {
  const bool in_trouble = std::any_of(lanes_.begin(), lanes_.end(), [](const LaneSlot& slot) {
    return !slot.done && (slot.consecutive > 0 || slot.skipping || slot.runner->in_trouble());
  });
  if (in_trouble) {
    split_due_ = services_.clock.Now() + kSplitPause;
    controls_.Continue();
    return false;
  }
  StartSplit();
  return true;
}

void MigrationRun::StartSplit() {
  step_busy_ = true;
  splitting_ = true;
  for (LaneSlot& slot : lanes_) slot.runner->Close();
  Submit<absl::StatusOr<Checkpoint>>(
      services_.steps,
      [context = LongStepContext(), claim = *claim_, plan = plan_, pass = counters_.pass, wanted = pace_.lanes] {
        return context.target.SplitLanes(claim, PlanOfPass(*plan, pass), wanted);
      },
      [this, before = lanes_.size()](absl::StatusOr<Checkpoint> split) {
        step_busy_ = false;
        splitting_ = false;
        LongStepWasStopped();
        // Where there is nothing to cut, it is not tried again and again.
        const bool more = split.ok() && split->lanes.size() > before;
        split_pause_ = more ? kSplitPause : std::min(2 * std::max(split_pause_, kSplitPause), kSplitPauseMax);
        split_due_ = services_.clock.Now() + split_pause_;
        if (!split.ok()) {
          // Whether it was done is found out by taking over.
          Log(LogLevel::kWarning, "split_failed", {{"migration", stored_.migration.name}, {"target", stored_.migration.target},
                                                   {"status", split.status().ToString()}});
          Reopen(absl::ZeroDuration());
          return;
        }
        counters_ = Counters();
        working_base_ = counters_.working;
        lane_failures_.clear();
        blockers_.clear();
        AdoptCheckpoint(*split);
        if (directive_ == Directive::kWork) controls_.Continue();
      });
}

}  // namespace migrationd
