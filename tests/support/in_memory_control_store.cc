#include "tests/support/in_memory_control_store.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "migrations/model/status_macros.h"
#include "store/freeze_rules.h"
#include "store/mutation_rules.h"
#include "store/registration.h"

namespace migrationd {
namespace {

constexpr std::size_t kJobsKept = 10'000;
constexpr absl::Duration kRequestsKept = absl::Hours(24);

std::string Subject(MigrationId id) { return absl::StrCat("migration/", id.value); }
std::string FreezeSubject(const std::string& target) { return absl::StrCat("freeze/", target); }

}  // namespace

void InMemoryControlStore::Advance(absl::Duration duration) {
  absl::MutexLock lock(&mutex_);
  now_ += duration;
}

absl::Time InMemoryControlStore::now() const {
  absl::MutexLock lock(&mutex_);
  return now_;
}

void InMemoryControlStore::set_available(bool available) {
  absl::MutexLock lock(&mutex_);
  available_ = available;
}

absl::Status InMemoryControlStore::CheckAvailable() const {
  if (available_) return absl::OkStatus();
  return absl::UnavailableError("The control store cannot be reached. Nothing was recorded; it is tried again.");
}

InMemoryControlStore::Row* InMemoryControlStore::Find(MigrationId id) {
  const auto found = rows_.find(id);
  return found == rows_.end() || found->second.deleted ? nullptr : &found->second;
}

StoredMigration InMemoryControlStore::Read(const Row& row) const {
  StoredMigration stored = row.stored;
  if (stored.lease.has_value()) stored.lease->live = stored.lease->expires_at > now_;
  return stored;
}

bool InMemoryControlStore::Holds(const Row& row, const std::string& token) const {
  return IsClaimed(row) && row.stored.lease->token == token;
}

bool InMemoryControlStore::IsClaimed(const Row& row) const {
  return row.stored.lease.has_value() && row.stored.lease->expires_at > now_;
}

absl::StatusOr<const InMemoryControlStore::Request*> InMemoryControlStore::FindRequest(const MutationContext& context,
                                                                                       const std::string& subject) {
  std::erase_if(requests_, [this](const auto& entry) {
    mutex_.AssertHeld();
    return entry.second.at < now_ - kRequestsKept;
  });
  const auto found = requests_.find(context.request_id);
  if (context.request_id.empty() || found == requests_.end()) return nullptr;
  const Request& request = found->second;
  if (request.call != context.call || request.subject != subject) {
    return RequestIdReused(context.request_id, request.call, request.subject);
  }
  return &request;
}

void InMemoryControlStore::KeepRequest(const MutationContext& context, const std::string& subject,
                                       std::optional<FreezeRecord> answer) {
  if (context.request_id.empty()) return;
  requests_[context.request_id] = {.call = context.call, .subject = subject, .answer = std::move(answer), .at = now_};
}

void InMemoryControlStore::Append(EventRecord event) {
  event.sequence = static_cast<std::int64_t>(events_.size()) + 1;
  event.at = now_;
  events_.push_back(std::move(event));
}

absl::Status InMemoryControlStore::Write(Row& row, const VerbEffect& effect, const EventRecord& event) {
  MD_RETURN_IF_ERROR(CheckConsistent(effect));
  const Migration before = std::exchange(row.stored.migration, effect.after);
  Migration& after = row.stored.migration;
  after.id = before.id;
  after.target = before.target;
  after.name = before.name;
  after.version = before.version;
  after.created_at = before.created_at;
  after.revision = before.revision + 1;
  Append(event);
  return absl::OkStatus();
}

absl::Status InMemoryControlStore::Upgrade() {
  absl::MutexLock lock(&mutex_);
  return CheckAvailable();
}

absl::Status InMemoryControlStore::CheckSchema() {
  absl::MutexLock lock(&mutex_);
  return CheckAvailable();
}

absl::StatusOr<std::string> InMemoryControlStore::ControlId() {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  return "00000000-0000-4000-8000-000000000001";
}

absl::StatusOr<StoreSnapshot> InMemoryControlStore::Load() {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  StoreSnapshot snapshot;
  snapshot.as_of = now_;
  for (const auto& [id, row] : rows_) {
    if (!row.deleted) snapshot.migrations.push_back(Read(row));
  }
  std::sort(snapshot.migrations.begin(), snapshot.migrations.end(), [](const StoredMigration& a, const StoredMigration& b) {
    return std::tie(a.migration.target, a.migration.version, a.migration.name) <
           std::tie(b.migration.target, b.migration.version, b.migration.name);
  });
  for (const auto& [target, freeze] : freezes_) {
    if (FreezeInForce(target) != nullptr) snapshot.freezes.push_back(freeze);
  }
  snapshot.targets = targets_;
  return snapshot;
}

absl::StatusOr<StoredMigration> InMemoryControlStore::Get(MigrationId id) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  const Row* row = Find(id);
  if (row == nullptr) return MigrationNotFound(id);
  return Read(*row);
}

absl::StatusOr<RegisterResult> InMemoryControlStore::Register(const Registration& registration) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  for (auto& [id, row] : rows_) {
    const Migration& migration = row.stored.migration;
    if (migration.target != registration.target || migration.name != registration.name) continue;
    if (row.deleted) return NameStaysTaken(registration);
    MD_RETURN_IF_ERROR(UpdateFromCatalog(row, registration));
    return RegisterResult{.migration = Read(row), .created = false};
  }
  const MigrationId id{static_cast<std::int64_t>(rows_.size()) + 1};
  const VerbEffect effect = NewMigration(registration, now_);
  Row& row = rows_[id];
  row.stored.migration = effect.after;
  row.stored.migration.id = id;
  row.stored.definition = std::make_shared<const migrationcontrol::v1::MigrationDefinition>(registration.definition);
  Append(EventOf(effect.after, effect, registration.caller, ""));
  return RegisterResult{.migration = Read(row), .created = true};
}

absl::Status InMemoryControlStore::UpdateFromCatalog(Row& row, const Registration& registration) {
  const std::optional<VerbEffect> effect = Reregister(row.stored, registration);
  if (!effect.has_value()) return absl::OkStatus();
  MD_RETURN_IF_ERROR(Write(row, *effect, EventOf(row.stored.migration, *effect, registration.caller, "")));
  if (row.stored.migration.definition_digest == registration.digest) {
    row.stored.definition = std::make_shared<const migrationcontrol::v1::MigrationDefinition>(registration.definition);
  }
  return absl::OkStatus();
}

absl::Status InMemoryControlStore::SetCatalogMissing(const std::vector<MigrationId>& missing,
                                                     const std::vector<MigrationId>& present) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  for (const bool is_missing : {true, false}) {
    for (const MigrationId id : is_missing ? missing : present) {
      Row* row = Find(id);
      if (row == nullptr) continue;
      Migration& migration = row->stored.migration;
      if (migration.catalog_file.empty() || migration.catalog_missing == is_missing) continue;
      migration.catalog_missing = is_missing;
      ++migration.revision;
      EventRecord event;
      event.target = migration.target;
      event.migration = migration.name;
      event.kind = "DEFINITION";
      event.reason = is_missing ? "the file is gone from the catalogue" : "the file is back in the catalogue";
      Append(event);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<InMemoryControlStore::Row*> InMemoryControlStore::FindForMutation(MigrationId id,
                                                                                 const MutationContext& context) {
  Row* row = Find(id);
  if (!context.lease_token.empty() && (row == nullptr || !Holds(*row, context.lease_token))) return LeaseLost(id);
  if (row == nullptr) return MigrationNotFound(id);
  MD_RETURN_IF_ERROR(CheckRevision(row->stored.migration, context));
  return row;
}

absl::StatusOr<StoredMigration> InMemoryControlStore::Mutate(MigrationId id, const MutationContext& context,
                                                             const MutationFn& decide) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  MD_ASSIGN_OR_RETURN(const Request* repeated, FindRequest(context, Subject(id)));
  if (repeated != nullptr) {
    const Row* row = Find(id);
    if (row == nullptr) return MigrationNotFound(id);
    return Read(*row);
  }
  MD_ASSIGN_OR_RETURN(Row* row, FindForMutation(id, context));
  MD_ASSIGN_OR_RETURN(const VerbEffect effect, decide(Read(*row), now_));
  if (context.validate_only) return Read(*row);
  if (effect.changed) {
    MD_RETURN_IF_ERROR(Write(*row, effect, EventOf(row->stored.migration, effect, context.caller, context.request_id)));
  }
  KeepRequest(context, Subject(id), std::nullopt);
  return Read(*row);
}

absl::StatusOr<StoredMigration> InMemoryControlStore::Delete(MigrationId id, const MutationContext& context) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  MD_ASSIGN_OR_RETURN(const Request* repeated, FindRequest(context, Subject(id)));
  if (repeated != nullptr) return Read(rows_[id]);
  MD_ASSIGN_OR_RETURN(Row* row, FindForMutation(id, context));
  MD_ASSIGN_OR_RETURN(const VerbEffect effect, Deletion(row->stored.migration, context.caller));
  const StoredMigration before = Read(*row);
  if (context.validate_only) return before;
  Append(EventOf(before.migration, effect, context.caller, context.request_id));
  row->deleted = true;
  row->jobs.clear();
  row->stored.lease.reset();
  ++row->stored.migration.revision;
  KeepRequest(context, Subject(id), std::nullopt);
  return before;
}

absl::StatusOr<std::optional<Lease>> InMemoryControlStore::Claim(MigrationId id, const std::string& owner, absl::Duration ttl) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  Row* row = Find(id);
  if (row == nullptr) return MigrationNotFound(id);
  if (IsClaimed(*row)) return std::nullopt;
  row->stored.lease = Lease{.owner = owner,
                            .token = absl::StrFormat("00000000-0000-4000-9000-%012x", ++tokens_),
                            .epoch = ++row->epoch,
                            .expires_at = now_ + ttl,
                            .live = true};
  return row->stored.lease;
}

absl::Status InMemoryControlStore::RaiseEpoch(const LeaseKey& key, std::int64_t epoch) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  Row* row = Find(key.id);
  if (row == nullptr || !Holds(*row, key.token)) return LeaseLost(key.id);
  row->epoch = std::max(row->epoch, epoch);
  row->stored.lease->epoch = row->epoch;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<LeaseKey>> InMemoryControlStore::Renew(const std::vector<LeaseKey>& keys, absl::Duration ttl) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  std::vector<LeaseKey> renewed;
  for (const LeaseKey& key : keys) {
    Row* row = Find(key.id);
    if (row == nullptr || !Holds(*row, key.token)) continue;
    row->stored.lease->expires_at = now_ + ttl;
    renewed.push_back(key);
  }
  return renewed;
}

absl::Status InMemoryControlStore::Release(const std::vector<LeaseKey>& keys) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  for (const LeaseKey& key : keys) {
    Row* row = Find(key.id);
    if (row != nullptr && row->stored.lease.has_value() && row->stored.lease->token == key.token) row->stored.lease.reset();
  }
  return absl::OkStatus();
}

void InMemoryControlStore::set_takes_progress(bool takes) {
  absl::MutexLock lock(&mutex_);
  takes_progress_ = takes;
}

absl::Status InMemoryControlStore::RecordProgress(const std::vector<ProgressUpdate>& updates) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  if (!takes_progress_) return absl::UnavailableError("the store takes no progress");
  for (const ProgressUpdate& update : updates) {
    Row* row = Find(update.id);
    if (row == nullptr || !Holds(*row, update.lease_token)) continue;
    row->stored.migration.progress = update.counters;
    row->stored.migration.hold = update.hold;
    for (JobRecord job : update.jobs) {
      job.id = ++row->last_job;
      row->jobs.push_back(std::move(job));
    }
    if (row->jobs.size() > kJobsKept) row->jobs.erase(row->jobs.begin(), row->jobs.end() - kJobsKept);
  }
  return absl::OkStatus();
}

absl::Status InMemoryControlStore::RecordHolds(const std::vector<HoldUpdate>& updates) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  for (const HoldUpdate& update : updates) {
    Row* row = Find(update.id);
    if (row != nullptr && !IsClaimed(*row)) row->stored.migration.hold = update.hold;
  }
  return absl::OkStatus();
}

absl::Status InMemoryControlStore::AppendEvent(const EventRecord& event) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  if (event.kind.empty()) return absl::InternalError("An event needs a kind.");
  Append(event);
  return absl::OkStatus();
}

absl::StatusOr<JobPage> InMemoryControlStore::ListJobs(MigrationId id, std::int64_t before, int limit) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  MD_ASSIGN_OR_RETURN(const int rows_asked, PageLimit(limit));
  JobPage page;
  const Row* row = Find(id);
  if (row == nullptr) return page;
  for (auto job = row->jobs.rbegin(); job != row->jobs.rend(); ++job) {
    if (before != 0 && job->id >= before) continue;
    if (page.jobs.size() == static_cast<std::size_t>(rows_asked)) {
      page.next_before = page.jobs.back().id;
      break;
    }
    page.jobs.push_back(*job);
  }
  return page;
}

absl::StatusOr<EventPage> InMemoryControlStore::ListEvents(std::optional<MigrationId> id, const std::vector<std::string>& kinds,
                                                           std::int64_t before, int limit) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  MD_ASSIGN_OR_RETURN(const int rows_asked, PageLimit(limit));
  EventPage page;
  const auto row = id.has_value() ? rows_.find(*id) : rows_.end();
  if (id.has_value() && row == rows_.end()) return page;
  for (auto event = events_.rbegin(); event != events_.rend(); ++event) {
    if (before != 0 && event->sequence >= before) continue;
    if (id.has_value() && (event->target != row->second.stored.migration.target ||
                           event->migration != row->second.stored.migration.name)) {
      continue;
    }
    if (!kinds.empty() && std::find(kinds.begin(), kinds.end(), event->kind) == kinds.end()) continue;
    if (page.events.size() == static_cast<std::size_t>(rows_asked)) {
      page.next_before = page.events.back().sequence;
      break;
    }
    page.events.push_back(*event);
  }
  return page;
}

const FreezeRecord* InMemoryControlStore::FreezeInForce(const std::string& target) const {
  const auto found = freezes_.find(target);
  if (found == freezes_.end()) return nullptr;
  return !found->second.until.has_value() || *found->second.until > now_ ? &found->second : nullptr;
}

absl::StatusOr<FreezeRecord> InMemoryControlStore::Freeze(const FreezeRecord& freeze, const MutationContext& context) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  MD_ASSIGN_OR_RETURN(const Request* repeated, FindRequest(context, FreezeSubject(freeze.target)));
  if (repeated != nullptr) return *repeated->answer;
  MD_RETURN_IF_ERROR(CheckFreeze(freeze, now_));
  const FreezeRecord* in_force = FreezeInForce(freeze.target);
  const auto existing = in_force == nullptr ? std::nullopt : std::optional<FreezeRecord>(*in_force);
  const FreezeRecord result = ReplaceFreeze(existing, freeze, now_);
  if (context.validate_only) return result;
  KeepRequest(context, FreezeSubject(freeze.target), result);
  if (existing.has_value() && SameFreeze(*existing, result)) return result;
  freezes_[freeze.target] = result;
  Append(FreezeEvent(result, context, existing.has_value()));
  return result;
}

absl::StatusOr<FreezeRecord> InMemoryControlStore::Unfreeze(const std::string& target, const MutationContext& context) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  MD_ASSIGN_OR_RETURN(const Request* repeated, FindRequest(context, FreezeSubject(target)));
  if (repeated != nullptr) return *repeated->answer;
  const FreezeRecord* in_force = FreezeInForce(target);
  if (in_force == nullptr) return NoFreeze(target);
  const FreezeRecord removed = *in_force;
  if (context.validate_only) return removed;
  KeepRequest(context, FreezeSubject(target), removed);
  freezes_.erase(target);
  Append(UnfreezeEvent(removed, context));
  return removed;
}

absl::Status InMemoryControlStore::RecordTarget(const std::string& target, const TargetIdentity& identity) {
  absl::MutexLock lock(&mutex_);
  MD_RETURN_IF_ERROR(CheckAvailable());
  targets_[target] = identity;
  return absl::OkStatus();
}

}  // namespace migrationd
