// PostgresControlStore: migrations and their definitions.
#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "migrations/model/status_macros.h"
#include "store/mutation_rules.h"
#include "store/postgres/connections.h"
#include "store/postgres/lease_check.h"
#include "store/postgres/queries.h"
#include "store/postgres/records.h"
#include "store/postgres/request.h"
#include "store/postgres/uuid.h"
#include "store/registration.h"

namespace migrationd {
namespace {

using Json = nlohmann::json;
using migrationcontrol::v1::MigrationDefinition;

std::string Subject(MigrationId id) { return absl::StrCat("migration/", id.value); }

absl::StatusOr<std::string> DefinitionToJson(const MigrationDefinition& definition) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(definition, &text, options);
  if (!status.ok())
    return absl::InternalError(absl::StrCat("A definition cannot be written as JSON: ", status.ToString()));
  return text;
}

// Fields of a newer program are left out: it may have run before a rollback.
absl::StatusOr<DefinitionCache::Definition> DefinitionFromJson(const std::string& digest, const std::string& text) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  auto definition = std::make_shared<MigrationDefinition>();
  const auto status = google::protobuf::util::JsonStringToMessage(text, definition.get(), options);
  if (!status.ok())
    return absl::InternalError(absl::StrCat("Definition ", digest, " cannot be read: ", status.ToString()));
  return definition;
}

// Fills in the definitions; reads only those that were not parsed before.
absl::Status AttachDefinitions(Transaction& transaction, DefinitionCache& cache,
                               std::vector<MigrationDocument>& documents) {
  std::map<std::string, DefinitionCache::Definition> definitions;
  Json unknown = Json::array();
  for (const MigrationDocument& document : documents) {
    const std::string& digest = document.stored.migration.definition_digest;
    const auto [entry, fresh] = definitions.try_emplace(digest, nullptr);
    if (!fresh) continue;
    entry->second = cache.Find(digest);
    if (entry->second == nullptr) unknown.push_back(digest);
  }
  if (!unknown.empty()) {
    for (const auto& row : transaction.Execute(queries::kLoadDefinitions, {BoundJson(unknown)})) {
      const auto digest = row[0].as<std::string>();
      MD_ASSIGN_OR_RETURN(definitions[digest], DefinitionFromJson(digest, row[1].as<std::string>()));
      cache.Keep(digest, definitions[digest]);
    }
  }
  for (MigrationDocument& document : documents) {
    const std::string& digest = document.stored.migration.definition_digest;
    document.stored.definition = definitions[digest];
    if (document.stored.definition == nullptr)
      return absl::InternalError(absl::StrCat("Definition ", digest, " is missing."));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<MigrationDocument>> LoadDocuments(Transaction& transaction, DefinitionCache& cache,
                                                             std::int64_t id_or_all, bool deleted_too) {
  std::vector<MigrationDocument> documents;
  for (const auto& row :
       transaction.Execute(queries::kLoadMigrations, {std::to_string(id_or_all), deleted_too ? "true" : "false"})) {
    documents.push_back(DecodeMigration(Json::parse(row[0].as<std::string>())));
  }
  MD_RETURN_IF_ERROR(AttachDefinitions(transaction, cache, documents));
  return documents;
}

absl::StatusOr<MigrationDocument> LoadOne(Transaction& transaction, DefinitionCache& cache, MigrationId id,
                                          bool deleted_too = false) {
  MD_ASSIGN_OR_RETURN(std::vector<MigrationDocument> documents,
                      LoadDocuments(transaction, cache, id.value, deleted_too));
  if (documents.empty()) return MigrationNotFound(id);
  return std::move(documents.front());
}

// Waits for other writers of the migration and keeps them out until the end of the transaction. False: there is none.
bool Lock(Transaction& transaction, MigrationId id) {
  return !transaction.Execute(queries::kLockMigration, {std::to_string(id.value)}).empty();
}

// After a connection was lost at COMMIT: whether that commit took place. Locks first, and so waits for one that is
// still under way.
bool WasCommitted(Transaction& transaction, MigrationId id, const std::string& call_id) {
  if (!transaction.in_doubt()) return false;
  Lock(transaction, id);
  return transaction.Execute(queries::kFindEvent, {call_id}).at(0)[0].as<bool>();
}

// Writes `effect`, guarded by what it was decided on, with its event.
absl::Status Write(Transaction& transaction, const Migration& before, const VerbEffect& effect,
                   const EventRecord& event, const std::string& call_id) {
  MD_RETURN_IF_ERROR(CheckConsistent(effect));
  const std::string id = std::to_string(before.id.value);
  const pqxx::result written = transaction.Execute(
      queries::kUpdateMigration, {id, std::to_string(before.revision), std::string(StateName(before.state)),
                                  BoundJson(EncodeMigration(effect.after)), BoundJson(EncodeEvent(event, call_id))});
  if (written.empty()) {
    return absl::AbortedError(absl::StrCat("Migration ", before.target, "/", before.name,
                                           " was changed by somebody else at the same time. Try again."));
  }
  const Json progress = EncodeProgress(effect.after.progress, effect.after.hold);
  if (progress != EncodeProgress(before.progress, before.hold)) {
    transaction.Execute(queries::kUpdateProgress, {id, BoundJson(progress)});
  }
  return absl::OkStatus();
}

absl::Status KeepDefinition(Transaction& transaction, const Registration& registration) {
  MD_ASSIGN_OR_RETURN(const std::string body, DefinitionToJson(registration.definition));
  transaction.Execute(queries::kInsertDefinition, {BoundText(registration.digest), BoundJson(Json::parse(body))});
  return absl::OkStatus();
}

// Id of the new migration; nullopt when the name was taken at the same time.
absl::StatusOr<std::optional<MigrationId>> Insert(Transaction& transaction, const Registration& registration,
                                                  const std::string& call_id) {
  MD_RETURN_IF_ERROR(KeepDefinition(transaction, registration));
  const VerbEffect effect = NewMigration(registration, ReadClock(transaction));
  const EventRecord event = EventOf(effect.after, effect, registration.caller, "");
  const pqxx::result rows = transaction.Execute(
      queries::kInsertMigration, {BoundJson(EncodeMigration(effect.after)), BoundJson(EncodeEvent(event, call_id))});
  if (rows.empty()) return std::nullopt;
  return MigrationId{rows[0][0].as<std::int64_t>()};
}

// Brings what the catalogue says to a migration that exists.
absl::Status UpdateFromCatalog(Transaction& transaction, DefinitionCache& cache, MigrationId id,
                               const Registration& registration, const std::string& call_id) {
  MD_ASSIGN_OR_RETURN(MigrationDocument document, LoadOne(transaction, cache, id));
  // Most calls find nothing to do, and need no lock for that.
  if (!Reregister(document.stored, registration).has_value()) return absl::OkStatus();
  if (!Lock(transaction, id)) return MigrationNotFound(id);
  MD_ASSIGN_OR_RETURN(document, LoadOne(transaction, cache, id));
  const std::optional<VerbEffect> effect = Reregister(document.stored, registration);
  if (!effect.has_value()) return absl::OkStatus();
  MD_RETURN_IF_ERROR(KeepDefinition(transaction, registration));
  const EventRecord event = EventOf(document.stored.migration, *effect, registration.caller, "");
  return Write(transaction, document.stored.migration, *effect, event, call_id);
}

// The second look follows an insertion that another process was faster with.
absl::StatusOr<RegisterResult> RegisterIn(Transaction& transaction, DefinitionCache& cache,
                                          const Registration& registration, const std::string& call_id) {
  const std::vector<std::string> name = {BoundText(registration.target), BoundText(registration.name)};
  pqxx::result found = transaction.Execute(queries::kFindMigration, name);
  if (found.empty()) {
    MD_ASSIGN_OR_RETURN(const std::optional<MigrationId> id, Insert(transaction, registration, call_id));
    if (id.has_value()) {
      MD_ASSIGN_OR_RETURN(MigrationDocument document, LoadOne(transaction, cache, *id));
      return RegisterResult{.migration = std::move(document.stored), .created = true};
    }
    found = transaction.Execute(queries::kFindMigration, name);
  }
  if (found.at(0)[1].as<bool>()) {
    return NameStaysTaken(registration);
  }
  const MigrationId id{found[0][0].as<std::int64_t>()};
  // Before the catalogue's update, which writes an event of the same call.
  const bool committed = WasCommitted(transaction, id, call_id);
  if (!registration.catalog_file.empty() && !committed) {
    MD_RETURN_IF_ERROR(UpdateFromCatalog(transaction, cache, id, registration, call_id));
  }
  MD_ASSIGN_OR_RETURN(MigrationDocument document, LoadOne(transaction, cache, id));
  // An event of this call on the first revision can only be the one of its creation.
  const bool created = committed && document.stored.migration.revision == 1;
  return RegisterResult{.migration = std::move(document.stored), .created = created};
}

Json Ids(const std::vector<MigrationId>& ids) {
  Json values = Json::array();
  for (const MigrationId id : ids) values.push_back(std::to_string(id.value));
  return values;
}

}  // namespace

absl::StatusOr<StoreSnapshot> PostgresControlStore::Load() {
  StoreSnapshot snapshot;
  MD_RETURN_IF_ERROR(connections_->transactions.Run(
      Access::kSnapshot, "reading all migrations", [&](Transaction& transaction) -> absl::Status {
        snapshot = StoreSnapshot();
        const Json around = Json::parse(transaction.Execute(queries::kLoadSurroundings).at(0)[0].as<std::string>());
        snapshot.as_of = DecodeTime(around.at("as_of"));
        for (const Json& freeze : around.at("freezes")) snapshot.freezes.push_back(DecodeFreeze(freeze));
        for (const auto& [name, target] : around.at("targets").items()) snapshot.targets[name] = DecodeTarget(target);
        MD_ASSIGN_OR_RETURN(
            std::vector<MigrationDocument> documents,
            LoadDocuments(transaction, connections_->definitions, /*id_or_all=*/0, /*deleted_too=*/false));
        for (MigrationDocument& document : documents) snapshot.migrations.push_back(std::move(document.stored));
        return absl::OkStatus();
      }));
  return snapshot;
}

absl::StatusOr<StoredMigration> PostgresControlStore::Get(MigrationId id) {
  StoredMigration stored;
  MD_RETURN_IF_ERROR(connections_->transactions.Run(
      Access::kSnapshot, "reading a migration", [&](Transaction& transaction) -> absl::Status {
        // Id 0 would ask for all.
        if (id.value <= 0) return MigrationNotFound(id);
        MD_ASSIGN_OR_RETURN(MigrationDocument document, LoadOne(transaction, connections_->definitions, id));
        stored = std::move(document.stored);
        return absl::OkStatus();
      }));
  return stored;
}

absl::StatusOr<RegisterResult> PostgresControlStore::Register(const Registration& registration) {
  const std::string call_id = NewUuid();
  RegisterResult result;
  MD_RETURN_IF_ERROR(connections_->transactions.Run(
      Access::kReadWrite, "registering a migration", [&](Transaction& transaction) -> absl::Status {
        MD_ASSIGN_OR_RETURN(result, RegisterIn(transaction, connections_->definitions, registration, call_id));
        return absl::OkStatus();
      }));
  return result;
}

absl::Status PostgresControlStore::SetCatalogMissing(const std::vector<MigrationId>& missing,
                                                     const std::vector<MigrationId>& present) {
  if (missing.empty() && present.empty()) return absl::OkStatus();
  const std::string call_id = NewUuid();
  return connections_->transactions.Run(Access::kReadWrite, "marking catalogue files", [&](Transaction& transaction) {
    transaction.Execute(queries::kMarkCatalog, {BoundJson(Ids(missing)), BoundJson(Ids(present)), call_id});
    return absl::OkStatus();
  });
}

absl::StatusOr<StoredMigration> PostgresControlStore::Mutate(MigrationId id, const MutationContext& context,
                                                             const MutationFn& decide) {
  const std::string call_id = NewUuid();
  DefinitionCache& cache = connections_->definitions;
  StoredMigration result;
  const auto answer = [&](Transaction& transaction) -> absl::Status {
    MD_ASSIGN_OR_RETURN(MigrationDocument document, LoadOne(transaction, cache, id));
    result = std::move(document.stored);
    return absl::OkStatus();
  };
  const auto body = [&](Transaction& transaction) -> absl::Status {
    if (id.value <= 0) return MigrationNotFound(id);
    if (WasCommitted(transaction, id, call_id)) return answer(transaction);
    MD_ASSIGN_OR_RETURN(const auto repeated, BeginRequest(transaction, context, Subject(id)));
    if (repeated.has_value()) return answer(transaction);
    // The lease before the migration, as everybody locks them.
    if (!context.lease_token.empty()) MD_RETURN_IF_ERROR(CheckLease(transaction, {id, context.lease_token}));
    if (!Lock(transaction, id)) return MigrationNotFound(id);
    MD_ASSIGN_OR_RETURN(const MigrationDocument current, LoadOne(transaction, cache, id));
    const Migration& before = current.stored.migration;
    MD_RETURN_IF_ERROR(CheckRevision(before, context));
    MD_ASSIGN_OR_RETURN(const VerbEffect effect, decide(current.stored, current.as_of));
    if (!effect.changed || context.validate_only) {
      result = current.stored;
      return absl::OkStatus();
    }
    const EventRecord event = EventOf(before, effect, context.caller, context.request_id);
    MD_RETURN_IF_ERROR(Write(transaction, before, effect, event, call_id));
    return answer(transaction);
  };
  MD_RETURN_IF_ERROR(connections_->transactions.Run(Access::kReadWrite, "changing a migration", body));
  return result;
}

absl::StatusOr<StoredMigration> PostgresControlStore::Delete(MigrationId id, const MutationContext& context) {
  const std::string call_id = NewUuid();
  DefinitionCache& cache = connections_->definitions;
  StoredMigration result;
  const auto body = [&](Transaction& transaction) -> absl::Status {
    if (id.value <= 0) return MigrationNotFound(id);
    const bool committed = WasCommitted(transaction, id, call_id);
    MD_ASSIGN_OR_RETURN(const auto repeated, committed ? std::optional<RepeatedRequest>(RepeatedRequest())
                                                       : BeginRequest(transaction, context, Subject(id)));
    if (repeated.has_value()) {
      MD_ASSIGN_OR_RETURN(MigrationDocument document, LoadOne(transaction, cache, id, /*deleted_too=*/true));
      result = std::move(document.stored);
      return absl::OkStatus();
    }
    if (!context.lease_token.empty()) MD_RETURN_IF_ERROR(CheckLease(transaction, {id, context.lease_token}));
    if (!Lock(transaction, id)) return MigrationNotFound(id);
    MD_ASSIGN_OR_RETURN(MigrationDocument current, LoadOne(transaction, cache, id));
    const Migration& before = current.stored.migration;
    MD_RETURN_IF_ERROR(CheckRevision(before, context));
    MD_ASSIGN_OR_RETURN(const VerbEffect effect, Deletion(before, context.caller));
    result = current.stored;
    if (context.validate_only) return absl::OkStatus();
    const EventRecord event = EventOf(before, effect, context.caller, context.request_id);
    transaction.Execute(queries::kDeleteMigration,
                        {std::to_string(id.value), std::to_string(before.revision),
                         std::string(StateName(before.state)), BoundJson(EncodeEvent(event, call_id))});
    return absl::OkStatus();
  };
  MD_RETURN_IF_ERROR(connections_->transactions.Run(Access::kReadWrite, "deleting a migration", body));
  return result;
}

}  // namespace migrationd
