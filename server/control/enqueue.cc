// How definitions become migrations: Enqueue and the catalogue.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/kinds/native.h"
#include "migrations/kinds/native_plan.h"
#include "migrations/model/event_kind.h"
#include "migrations/model/status_macros.h"
#include "server/control/controller.h"

namespace migrationd {
namespace {

using migrationcontrol::v1::MigrationDefinition;

Sizes SizesOf(const MigrationDefinition& definition) {
  const auto& pace = definition.pace();
  Sizes sizes;
  if (pace.batch_size() > 0) sizes.batch_size = pace.batch_size();
  sizes.sub_batch_size = pace.sub_batch_size() > 0 ? pace.sub_batch_size() : sizes.batch_size;
  sizes.max_batch_size =
      pace.max_batch_size() > 0 ? pace.max_batch_size() : std::max(sizes.max_batch_size, sizes.batch_size);
  return sizes;
}

Registration RegistrationOf(const std::string& target, const DefinitionName& name,
                            const MigrationDefinition& definition) {
  Registration registration;
  registration.target = target;
  registration.name = name.name;
  registration.version = name.version;
  registration.definition = definition;
  registration.digest = DefinitionDigest(definition);
  registration.labels = {definition.labels().begin(), definition.labels().end()};
  registration.sizes = SizesOf(definition);
  return registration;
}

absl::Status KnownOtherwise(const Migration& known, const std::string& difference) {
  return absl::AlreadyExistsError(absl::StrCat("\"", known.target, "/", known.name, "\" (version ", known.version, ", ",
                                               std::string(StateName(known.state)), ") is known with ", difference,
                                               "; a migration is one definition for ever: choose another name."));
}

// What Register would return, for validate_only.
StoredMigration Preview(const Registration& registration) {
  StoredMigration preview;
  Migration& m = preview.migration;
  m.target = registration.target;
  m.name = registration.name;
  m.version = registration.version;
  m.start_requested = registration.start_requested;
  m.enqueued = registration.enqueued;
  m.parameters = registration.parameters;
  m.sizes = registration.sizes;
  m.pause_after_rows = registration.pause_after_rows;
  m.definition_digest = registration.digest;
  m.labels = registration.labels;
  preview.definition = std::make_shared<const MigrationDefinition>(registration.definition);
  return preview;
}

const BoardEntry* FindExact(const BoardSnapshot& snapshot, const std::string& target, const std::string& name) {
  for (const auto& [id, entry] : snapshot.migrations) {
    if (entry.stored.migration.target == target && entry.stored.migration.name == name) return &entry;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<std::string> Controller::TargetName(const MigrationDefinition& definition, const VisibleTargets& visible) const {
  if (definition.target().empty()) {
    if (targets_.size() == 1) return targets_.begin()->first;
    return absl::InvalidArgumentError(absl::StrCat(
        "target: is not given, and this server does not have exactly one; expected one of ", KnownTargets(visible), "."));
  }
  if (targets_.count(definition.target()) != 0) return definition.target();
  return absl::InvalidArgumentError(
      absl::StrCat("target: there is no target \"", definition.target(), "\"; expected one of ", KnownTargets(visible), "."));
}

bool Controller::StartsByItself(const MigrationDefinition& definition, bool start_given) const {
  if (!start_given && options_.default_start_manual && !definition.has_operations()) return false;
  return definition.start() != migrationcontrol::v1::START_MODE_MANUAL;
}

absl::StatusOr<RegisterResult> Controller::Register(const Registration& registration) {
  MD_ASSIGN_OR_RETURN(RegisterResult result, store_.Register(registration));
  result.migration = board_.Upsert(result.migration);
  if (result.created) scheduler_.Wake();
  return result;
}

absl::Status Controller::CheckNative(const MigrationDefinition& definition) const {
  if (!definition.has_native()) return absl::OkStatus();
  const NativeRegistry none;
  const NativeRegistry& natives = options_.natives == nullptr ? none : *options_.natives;
  const absl::Status made = MakeNative(natives, definition).status();
  return made.ok() ? made : absl::InvalidArgumentError(absl::StrCat(std::string(made.message()), "."));
}

absl::StatusOr<RegisterResult> Controller::RegisterCatalogFile(const std::string& path, const DefinitionName& name,
                                                               const MigrationDefinition& definition,
                                                               bool start_given) {
  MD_RETURN_IF_ERROR(CheckName(name));
  MD_RETURN_IF_ERROR(CheckNative(definition));
  MD_ASSIGN_OR_RETURN(const std::string target, TargetName(definition, /*visible=*/{}));
  Registration registration = RegistrationOf(target, name, definition);
  registration.catalog_file = path;
  registration.caller = {"catalog", ""};
  // Without a value for each parameter only Enqueue can make it ready.
  if (auto bound = BindParameters(definition, {}); bound.ok()) {
    registration.parameters = *std::move(bound);
    registration.start_requested = StartsByItself(definition, start_given);
    registration.enqueued = registration.start_requested;
  }
  return Register(registration);
}

absl::StatusOr<RegisterResult> Controller::Enqueue(const EnqueueArguments& arguments, const MutationContext& context) {
  if (arguments.pause_after_rows < 0) {
    return absl::InvalidArgumentError("pause_after_rows: is negative; expected 0 (never) or a number of rows.");
  }
  MutationContext named = context;
  named.call = "Enqueue";
  if (arguments.name.has_value()) return EnqueueInline(arguments, named);
  MD_ASSIGN_OR_RETURN(const BoardEntry entry, Resolve(*board_.Get(), arguments.migration));
  return EnqueueKnown(entry.stored.migration.id, arguments, named);
}

absl::StatusOr<RegisterResult> Controller::EnqueueInline(const EnqueueArguments& arguments,
                                                         const MutationContext& context) {
  if (!options_.allow_inline_definitions) {
    return absl::PermissionDeniedError(
        "This server takes definitions from its catalogue only; start it with --allow-inline-definitions to allow "
        "others.");
  }
  MD_RETURN_IF_ERROR(CheckName(*arguments.name));
  MD_RETURN_IF_ERROR(CheckNative(arguments.definition));
  MD_ASSIGN_OR_RETURN(const std::string target, TargetName(arguments.definition, arguments.visible));
  Registration registration = RegistrationOf(target, *arguments.name, arguments.definition);
  MD_ASSIGN_OR_RETURN(registration.parameters, BindParameters(arguments.definition, arguments.parameters));
  registration.caller = context.caller;
  registration.start_requested = arguments.start || StartsByItself(arguments.definition, arguments.start_given);
  registration.enqueued = true;
  registration.pause_after_rows = arguments.pause_after_rows;

  RegisterResult result;
  if (context.validate_only) {
    const auto snapshot = board_.Get();
    const BoardEntry* known = FindExact(*snapshot, target, registration.name);
    if (known == nullptr) return RegisterResult{Preview(registration), true};
    result.migration = known->stored;
  } else {
    MD_ASSIGN_OR_RETURN(result, Register(registration));
  }
  if (result.created) return result;
  const Migration& known = result.migration.migration;
  if (known.version != registration.version) return KnownOtherwise(known, "another version");
  if (known.definition_digest != registration.digest) return KnownOtherwise(known, "another definition");
  return EnqueueKnown(known.id, arguments, context);
}

absl::StatusOr<RegisterResult> Controller::EnqueueKnown(MigrationId id, const EnqueueArguments& arguments,
                                                        const MutationContext& context) {
  const auto decide = [&](const StoredMigration& current, absl::Time now) -> absl::StatusOr<VerbEffect> {
    MD_ASSIGN_OR_RETURN(auto parameters, BindParameters(*current.definition, arguments.parameters));
    VerbEffect effect;
    effect.after = current.migration;
    effect.changed = false;
    const bool waiting = current.migration.state == State::kPending && !current.migration.started_at.has_value();
    if (current.migration.enqueued || !waiting) {
      if (parameters != current.migration.parameters) return KnownOtherwise(current.migration, "other parameters");
      if (arguments.start && waiting && !current.migration.start_requested) {
        return StartMigration(current.migration, context.caller, now);
      }
      return effect;
    }
    effect.changed = true;
    effect.event_kind = kEventSetting;
    effect.event_to = "enqueued";
    effect.event_reason = context.caller.reason;
    effect.after.enqueued = true;
    effect.after.parameters = std::move(parameters);
    effect.after.pause_after_rows = arguments.pause_after_rows;
    // What a catalogue file waits for, when its definition begins by itself, is a value for each parameter.
    const bool by_itself = !BindParameters(*current.definition, {}).ok() && StartsByItself(*current.definition, true);
    if (arguments.start || by_itself) {
      effect.after.start_requested = true;
      if (effect.after.hold.kind == HoldKind::kNeedsStart) effect.after.hold = Hold{};
    }
    return effect;
  };
  MD_ASSIGN_OR_RETURN(const StoredMigration stored, ActOn(id, context, decide));
  return RegisterResult{stored, false};
}

}  // namespace migrationd
