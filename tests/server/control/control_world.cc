#include "tests/server/control/control_world.h"

#include <cstdlib>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "server/clock.h"

namespace migrationd {
namespace {

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::cerr << "test support: " << value.status() << "\n";
  std::abort();
}

}  // namespace

void FakeScheduler::Wake() {
  absl::MutexLock lock(&mutex_);
  ++wakes_;
}
void FakeScheduler::Interrupt(MigrationId id) {
  absl::MutexLock lock(&mutex_);
  interrupted_.push_back(id.value);
}
int FakeScheduler::wakes() const {
  absl::MutexLock lock(&mutex_);
  return wakes_;
}
std::vector<std::int64_t> FakeScheduler::interrupted() const {
  absl::MutexLock lock(&mutex_);
  return interrupted_;
}

std::string DefinitionYaml(const std::string& extra) {
  return absl::StrCat(R"(sql_batch:
  table: public.t
  where: NOT t.done
  statement: UPDATE t SET done = true WHERE {{batch}}
)",
                      extra);
}

std::string ParameterYaml() {
  return R"(sql_batch:
  table: public.t
  where: NOT t.done
  statement: UPDATE t SET done = true, n = {{param.tenant}} WHERE {{batch}}
parameters: [{name: tenant, type: bigint}]
)";
}

migrationcontrol::v1::MigrationDefinition DefinitionOf(const std::string& yaml) {
  const DefinitionResult result = ParseDefinition(yaml);
  if (!result.ok()) {
    std::cerr << "test support: " << FormatProblem("definition", result.problems.front()) << "\n";
    std::abort();
  }
  return result.definition;
}

ControlWorld::ControlWorld(ControllerOptions options)
    : controller(options, store, board, targets, scheduler, Clock::Real()) {
  Publish();
}

StoredMigration ControlWorld::Add(const std::string& name, const std::string& version, const std::string& extra) {
  return AddFile(name, version, DefinitionYaml(extra));
}

StoredMigration ControlWorld::AddFile(const std::string& name, const std::string& version, const std::string& yaml) {
  const std::string path = absl::StrCat("/catalog/", version, "_", name, ".yaml");
  return Must(controller.RegisterCatalogFile(path, {version, name}, DefinitionOf(yaml))).migration;
}

absl::StatusOr<StoredMigration> ControlWorld::Mutate(const std::string& name, const MutationFn& decide) {
  const BoardEntry entry = Must(Resolve(*board.Get(), name));
  MutationContext context;
  context.caller = {"migrationd test", ""};
  context.call = "Test";
  auto stored = store.Mutate(entry.stored.migration.id, context, decide);
  Publish();
  return stored;
}

StoredMigration ControlWorld::MakeRunning(const std::string& name) {
  return Must(Mutate(name, [](const StoredMigration& current, absl::Time now) {
    return BeginMigration(current.migration, {"owner", ""}, now);
  }));
}

StoredMigration ControlWorld::MakeHalted(const std::string& name, const std::string& code) {
  MakeRunning(name);
  return Must(Mutate(name, [&](const StoredMigration& current, absl::Time now) {
    return HaltMigration(current.migration, {"owner", ""}, now, code, "as the test wants it");
  }));
}

StoredMigration ControlWorld::MakeCompleted(const std::string& name) {
  MakeRunning(name);
  return Must(Mutate(name, [](const StoredMigration& current, absl::Time now) {
    return CompleteMigration(current.migration, {"owner", ""}, now, 0, false);
  }));
}

StoredMigration ControlWorld::Stored(const std::string& name) {
  return Must(store.Get(Must(Resolve(*board.Get(), name)).stored.migration.id));
}

std::vector<EventRecord> ControlWorld::Events(const std::string& name) {
  return Must(controller.ListEvents(name, {}, 0, 100)).events;
}

void ControlWorld::Publish() {
  const StoreSnapshot snapshot = Must(store.Load());
  board.Edit([&](BoardSnapshot& edited) {
    edited.loaded = true;
    edited.store_reachable = true;
    edited.as_of = snapshot.as_of;
    edited.read_at = Clock::Real().Now();
    edited.freezes = snapshot.freezes;
    std::map<std::int64_t, BoardEntry> entries;
    for (const StoredMigration& stored : snapshot.migrations) {
      BoardEntry& entry = entries[stored.migration.id.value];
      const auto before = edited.migrations.find(stored.migration.id.value);
      if (before != edited.migrations.end()) entry = before->second;
      entry.stored = stored;
    }
    edited.migrations = std::move(entries);
  });
}

MutationContext By(const std::string& actor, const std::string& request_id) {
  MutationContext context;
  context.caller = {actor, "because of the test"};
  context.request_id = request_id;
  return context;
}

}  // namespace migrationd
