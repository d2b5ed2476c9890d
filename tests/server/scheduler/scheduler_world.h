// A whole service in memory, without its network: store, one target `main`, scheduler and controller, on clocks that the test moves.
// The scheduler is pumped by hand; what waits for databases runs on real threads.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "migrations/kinds/native.h"
#include "server/clock.h"
#include "server/control/controller.h"
#include "server/execution/worker_pool.h"
#include "server/health/health_source.h"
#include "server/scheduler/board.h"
#include "server/scheduler/scheduler.h"
#include "tests/support/in_memory_control_store.h"
#include "tests/support/in_memory_target.h"
#include "tests/support/manual_clock.h"

namespace migrationd {

// What the test says of the target's health. Thread-safe as far as tests need it: all on one thread.
class FakeHealth final : public HealthSource {
 public:
  void Watch(const std::map<std::string, TargetWork>& work) override { watched = work; }
  HealthVerdicts Verdicts() override { return watched.empty() ? HealthVerdicts() : verdicts; }
  std::vector<YieldNote> TakeYields() override { return std::exchange(yields, {}); }

  std::map<std::string, TargetWork> watched;
  HealthVerdicts verdicts;
  std::vector<YieldNote> yields;
};

class NoSignal final : public SchedulerSignal {
 public:
  void Wake() override {}
  void Interrupt(MigrationId) override {}
};

// UPDATE of every row, without `where`: a row done twice shows. `extra` is more YAML.
std::string EveryRowYaml(const std::string& extra = "", int lanes = 1);
// The same with `where`: looked at again in VERIFY.
std::string WhereYaml(const std::string& extra = "");

struct SchedulerWorld {
  // `has_classes`: the scheduler knows the native class `probe`, as the controllers and the other process do.
  explicit SchedulerWorld(int rows = 100, bool has_classes = true);

  // Registers it; it begins by itself.
  void Add(const std::string& name, const std::string& yaml);
  // Its file says something else now.
  void Change(const std::string& name, const std::string& yaml);
  Migration Get(const std::string& name);
  State StateOf(const std::string& name) { return Get(name).state; }
  std::string HaltOf(const std::string& name);

  // Rounds of the scheduler, moving both clocks a little after each, until `done`. False when that takes too long.
  bool PumpUntil(const std::function<bool()>& done);
  bool Reaches(const std::string& name, State state) {
    return PumpUntil([&] { return StateOf(name) == state; });
  }
  // So many rounds without time going by. Returns how many of them asked for the next one at once.
  int RoundsAtOnce(int rounds);
  // Whether, once everything that was due in the next second has been looked at, it still asks for rounds at once: a busy loop.
  bool Spins();
  // What another process does when all claims of this one have run out: rounds of its scheduler until the migration is in `state`. May be
  // called from a hook, while this process believes that it still owns everything. False when that takes too long.
  bool OtherProcessBrings(const std::string& name, State state);
  // Every row was done exactly so often.
  bool EachRow(int times);

  void Register(const std::string& version, const std::string& name, const std::string& yaml);

  int added = 0;
  const std::shared_ptr<const NativeRegistry> natives;
  InMemoryControlStore store;
  InMemoryControlStore& heartbeat_store = store;
  ManualClock clock;
  std::shared_ptr<InMemoryDatabase> database;
  TargetMap targets;
  Board board;
  WorkerPool workers{4};
  WorkerPool steps{4};
  Metrics metrics;
  FakeHealth health;
  Scheduler scheduler;
  Board other_board;
  Scheduler other_scheduler;
  Controller controller;
  // What another process calls, which has no way to the scheduler of this one.
  NoSignal no_signal;
  Controller elsewhere;
};

// A call by alice.
MutationContext ByAlice();

}  // namespace migrationd
