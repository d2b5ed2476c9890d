#include "tests/server/scheduler/scheduler_world.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "migrations/definition/definition.h"
#include "tests/support/native_probe.h"

namespace migrationd {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(20);
constexpr absl::Duration kPatience = absl::Seconds(60);

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::cerr << "test support: " << value.status() << "\n";
  std::abort();
}

constexpr absl::Duration kLease = absl::Hours(24);

SchedulerOptions Options(const std::string& owner, const NativeRegistry* natives, HealthSource* health = nullptr) {
  SchedulerOptions options;
  options.owner = owner;
  // The clocks run away from each other, and nobody renews.
  options.lease_ttl = kLease;
  options.health = health;
  options.natives = natives;
  return options;
}

ControllerOptions ControllerWith(const NativeRegistry& natives) {
  ControllerOptions options;
  options.natives = &natives;
  return options;
}

}  // namespace

std::string EveryRowYaml(const std::string& extra, int lanes) {
  return absl::StrCat("sql_batch:\n  table: public.t\n  statement: UPDATE t SET n = n + 1 WHERE {{batch}}\n",
                      "pace: {batch_size: 20, sub_batch_size: 10, lanes: ", lanes, "}\norder: INDEPENDENT\n", extra);
}

std::string WhereYaml(const std::string& extra) {
  return absl::StrCat(
      "sql_batch:\n  table: public.t\n  where: NOT t.done\n  statement: UPDATE t SET done = true WHERE {{batch}}\n",
      "pace: {batch_size: 20, sub_batch_size: 10}\norder: INDEPENDENT\n", extra);
}

SchedulerWorld::SchedulerWorld(int rows, bool has_classes)
    : natives(ProbeRegistry(IncrementN)),
      database(std::make_shared<InMemoryDatabase>(rows)),
      targets{{"main", std::make_shared<InMemoryTarget>("main", database)}},
      scheduler(Options("test:1:1", has_classes ? natives.get() : nullptr, &health), store, heartbeat_store, targets, board, workers, steps, metrics, clock),
      other_scheduler(Options("test:2:2", natives.get()), store, heartbeat_store, targets, other_board, workers, steps, metrics, clock),
      controller(ControllerWith(*natives), store, board, targets, scheduler, clock),
      elsewhere(ControllerWith(*natives), store, board, targets, no_signal, clock) {
  scheduler.RunOnce();
}

void SchedulerWorld::Add(const std::string& name, const std::string& yaml) {
  // In the order in which they are added; at most 59.
  Register(absl::StrCat(20260101000000 + ++added), name, yaml);
}

void SchedulerWorld::Change(const std::string& name, const std::string& yaml) { Register(Get(name).version, name, yaml); }

void SchedulerWorld::Register(const std::string& version, const std::string& name, const std::string& yaml) {
  const DefinitionResult parsed = ParseDefinition(yaml);
  if (!parsed.ok()) {
    std::cerr << "test support: " << FormatProblem("definition", parsed.problems.front()) << "\n";
    std::abort();
  }
  Must(controller.RegisterCatalogFile(absl::StrCat("/catalog/", version, "_", name, ".yaml"), {version, name}, parsed.definition));
}

Migration SchedulerWorld::Get(const std::string& name) {
  return Must(store.Get(Must(Resolve(*board.Get(), name)).stored.migration.id)).migration;
}

std::string SchedulerWorld::HaltOf(const std::string& name) {
  const Migration migration = Get(name);
  return migration.halt.has_value() ? migration.halt->code : "";
}

bool SchedulerWorld::PumpUntil(const std::function<bool()>& done) {
  const absl::Time end = absl::Now() + kPatience;
  while (absl::Now() < end) {
    scheduler.RunOnce();
    if (done()) return true;
    clock.Advance(kTick);
    store.Advance(kTick);
    absl::SleepFor(absl::Microseconds(200));  // for the threads that run steps
  }
  return false;
}

bool SchedulerWorld::OtherProcessBrings(const std::string& name, State state) {
  // By the database's clock only: this process was asleep, and its own clock has not moved.
  store.Advance(2 * kLease);
  const absl::Time end = absl::Now() + kPatience;
  while (absl::Now() < end) {
    other_scheduler.RunOnce();
    if (StateOf(name) == state) return true;
    clock.Advance(kTick);
    store.Advance(kTick);
    absl::SleepFor(absl::Microseconds(200));
  }
  return false;
}

int SchedulerWorld::RoundsAtOnce(int rounds) {
  int at_once = 0;
  for (int i = 0; i < rounds; ++i) at_once += scheduler.RunOnce() <= clock.Now() ? 1 : 0;
  return at_once;
}

bool SchedulerWorld::Spins() {
  clock.Advance(absl::Seconds(1));
  RoundsAtOnce(5);
  return RoundsAtOnce(50) > 1;
}

bool SchedulerWorld::EachRow(int times) {
  const std::vector<int> rows = database->Times();
  return std::all_of(rows.begin(), rows.end(), [&](int done) { return done == times; });
}

MutationContext ByAlice() {
  MutationContext context;
  context.caller = {"alice", "because of the test"};
  return context;
}

}  // namespace migrationd
