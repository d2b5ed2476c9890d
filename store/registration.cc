#include "store/registration.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "migrations/model/event_kind.h"

namespace migrationd {
namespace {

using migrationcontrol::v1::MigrationDefinition;

// Parameters that nobody gave: the definition's defaults.
bool HasOnlyDefaultParameters(const StoredMigration& existing) {
  const std::map<std::string, std::string>& parameters = existing.migration.parameters;
  if (parameters.empty()) return true;
  std::map<std::string, std::string> defaults;
  for (const auto& parameter : existing.definition->parameters()) {
    if (parameter.has_default_()) defaults[parameter.name()] = parameter.default_();
  }
  return parameters == defaults;
}

bool TakesNewDefinition(const StoredMigration& existing) {
  const Migration& migration = existing.migration;
  return migration.state == State::kPending && !migration.started_at.has_value() && HasOnlyDefaultParameters(existing);
}

// A flag that a verb may have set too: it was a verb when the definition alone leaves it off.
bool KeepsFlag(bool before, const StoredMigration& existing) {
  return before && existing.definition->start() == migrationcontrol::v1::START_MODE_MANUAL;
}

void TakeDefinition(const StoredMigration& existing, const Registration& registration, Migration& after) {
  after.definition_digest = registration.digest;
  after.parameters = registration.parameters;
  after.labels = registration.labels;
  after.sizes = registration.sizes;
  after.start_requested = registration.start_requested || KeepsFlag(after.start_requested, existing);
  after.enqueued = registration.enqueued || KeepsFlag(after.enqueued, existing);
}

}  // namespace

VerbEffect NewMigration(const Registration& registration, absl::Time now) {
  VerbEffect effect;
  Migration& migration = effect.after;
  migration.target = registration.target;
  migration.name = registration.name;
  migration.version = registration.version;
  migration.created_at = now;
  migration.intent = {.state = State::kPending,
                      .actor = registration.caller.actor,
                      .reason = registration.caller.reason,
                      .since = now,
                      .until = std::nullopt};
  migration.start_requested = registration.start_requested;
  migration.enqueued = registration.enqueued;
  migration.parameters = registration.parameters;
  migration.sizes = registration.sizes;
  migration.pause_after_rows = registration.pause_after_rows;
  migration.definition_digest = registration.digest;
  migration.catalog_file = registration.catalog_file;
  migration.catalog_digest = registration.catalog_file.empty() ? "" : registration.digest;
  migration.labels = registration.labels;
  effect.event_kind = kEventDefinition;
  effect.event_to = registration.digest;
  effect.event_reason = registration.caller.reason;
  return effect;
}

std::optional<VerbEffect> Reregister(const StoredMigration& existing, const Registration& registration) {
  if (registration.catalog_file.empty()) return std::nullopt;
  const Migration& before = existing.migration;
  const bool takes = before.definition_digest != registration.digest && TakesNewDefinition(existing);
  if (!takes && before.catalog_file == registration.catalog_file && before.catalog_digest == registration.digest &&
      !before.catalog_missing) {
    return std::nullopt;
  }
  VerbEffect effect;
  effect.after = before;
  effect.after.catalog_file = registration.catalog_file;
  effect.after.catalog_digest = registration.digest;
  effect.after.catalog_missing = false;
  effect.event_kind = kEventDefinition;
  effect.event_from = before.definition_digest;
  effect.event_to = before.definition_digest;
  if (takes) {
    TakeDefinition(existing, registration, effect.after);
    effect.event_to = registration.digest;
    effect.event_reason = "the catalogue's file changed before it began; the new definition is in force";
  } else if (before.definition_digest == registration.digest) {
    effect.event_reason =
        absl::StrCat("the catalogue's file ", registration.catalog_file, " is the definition in force");
  } else {
    effect.event_reason = "the catalogue's file changed; the definition in force stays";
  }
  return effect;
}

absl::Status NameStaysTaken(const Registration& registration) {
  return absl::FailedPreconditionError(absl::StrCat("The name ", registration.target, "/", registration.name,
                                                    " belonged to a migration that was deleted and stays taken. Choose another."));
}

}  // namespace migrationd
