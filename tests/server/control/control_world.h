// Everything around a controller, in memory: store, board, one target `main`, and a scheduler that only remembers
// signals.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/control/controller.h"
#include "tests/server/control/fake_target.h"
#include "tests/support/in_memory_control_store.h"

namespace migrationd {

class FakeScheduler final : public SchedulerSignal {
 public:
  void Wake() override;
  void Interrupt(MigrationId id) override;
  int wakes() const;
  std::vector<std::int64_t> interrupted() const;

 private:
  mutable absl::Mutex mutex_;
  int wakes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::int64_t> interrupted_ ABSL_GUARDED_BY(mutex_);
};

// A definition on table t that is valid; `extra` is more YAML.
std::string DefinitionYaml(const std::string& extra = "");
// One with the parameter `tenant`, a bigint without a default.
std::string ParameterYaml();
// Normalized. Fails the process when it is not valid.
migrationcontrol::v1::MigrationDefinition DefinitionOf(const std::string& yaml);

struct ControlWorld {
  explicit ControlWorld(ControllerOptions options = {});

  // Registers a catalogue file of that name, version and definition.
  StoredMigration Add(const std::string& name, const std::string& version = "20261120093000",
                      const std::string& extra = "");
  StoredMigration AddFile(const std::string& name, const std::string& version, const std::string& yaml);
  // Brings it there by the service's own transitions.
  StoredMigration MakeRunning(const std::string& name);
  StoredMigration MakeHalted(const std::string& name, const std::string& code);
  StoredMigration MakeCompleted(const std::string& name);
  // As another process or the owner would: not through the controller.
  absl::StatusOr<StoredMigration> Mutate(const std::string& name, const MutationFn& decide);
  StoredMigration Stored(const std::string& name);
  std::vector<EventRecord> Events(const std::string& name);
  // What the scheduler does after each look at the store.
  void Publish();

  InMemoryControlStore store;
  Board board;
  std::shared_ptr<FakeTarget> target = std::make_shared<FakeTarget>("main");
  TargetMap targets{{"main", target}};
  FakeScheduler scheduler;
  Controller controller;
};

// A call by alice.
MutationContext By(const std::string& actor, const std::string& request_id = "");

}  // namespace migrationd
