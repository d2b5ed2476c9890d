// PostgresControlStore: claims, and what their holders write.
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "migrations/model/status_macros.h"
#include "store/mutation_rules.h"
#include "store/postgres/connections.h"
#include "store/postgres/lease_check.h"
#include "store/postgres/queries.h"
#include "store/postgres/records.h"
#include "store/postgres/uuid.h"

namespace migrationd {
namespace {

using Json = nlohmann::json;

constexpr char kJobsKept[] = "10000";  // of each migration, newest first
// Far more than one call adds, so that trimming keeps up; bounded, so that a backlog does not make a call long.
constexpr char kJobsTrimmedAtOnce[] = "2000";

std::string Milliseconds(absl::Duration duration) { return std::to_string(absl::ToInt64Milliseconds(duration)); }

// The updates as record_progress takes them: one claim once, the last counters, all jobs.
Json ProgressRows(const std::vector<ProgressUpdate>& updates) {
  std::map<std::pair<MigrationId, std::string>, Json> rows;
  for (const ProgressUpdate& update : updates) {
    Json& row = rows[{update.id, update.lease_token}];
    row["id"] = update.id.value;
    row["token"] = update.lease_token;
    row["progress"] = EncodeProgress(update.counters, update.hold);
    Json& jobs = row["jobs"];
    if (jobs.is_null()) jobs = Json::array();
    for (const JobRecord& job : update.jobs) jobs.push_back(EncodeJob(job));
  }
  Json all = Json::array();
  for (auto& [claim, row] : rows) all.push_back(std::move(row));
  return all;
}

}  // namespace

absl::StatusOr<std::optional<Lease>> PostgresControlStore::Claim(MigrationId id, const std::string& owner,
                                                                 absl::Duration ttl) {
  const std::string token = NewUuid();
  std::optional<Lease> lease;
  MD_RETURN_IF_ERROR(connections_->transactions.Run(
      Access::kReadWrite, "claiming a migration", [&](Transaction& transaction) -> absl::Status {
        lease.reset();
        const pqxx::result rows = transaction.Execute(
            queries::kClaimMigration, {std::to_string(id.value), BoundText(owner), token, Milliseconds(ttl)});
        if (!rows.at(0)[0].as<bool>()) {
          return MigrationNotFound(id);
        }
        if (!rows[0][1].is_null()) lease = DecodeLease(Json::parse(rows[0][1].as<std::string>()));
        return absl::OkStatus();
      }));
  return lease;
}

absl::Status PostgresControlStore::RaiseEpoch(const LeaseKey& key, std::int64_t epoch) {
  return connections_->transactions.Run(
      Access::kReadWrite, "raising an epoch", [&](Transaction& transaction) -> absl::Status {
        MD_RETURN_IF_ERROR(CheckLease(transaction, key));
        transaction.Execute(queries::kRaiseEpoch, {std::to_string(key.id.value), std::to_string(epoch)});
        return absl::OkStatus();
      });
}

absl::StatusOr<std::vector<LeaseKey>> PostgresControlStore::Renew(const std::vector<LeaseKey>& keys,
                                                                  absl::Duration ttl) {
  std::vector<LeaseKey> renewed;
  if (keys.empty()) return renewed;
  MD_RETURN_IF_ERROR(
      connections_->transactions.Run(Access::kReadWrite, "renewing claims", [&](Transaction& transaction) {
        renewed.clear();
        for (const auto& row :
             transaction.Execute(queries::kRenewLeases, {BoundJson(EncodeLeaseKeys(keys)), Milliseconds(ttl)})) {
          renewed.push_back({MigrationId{row[0].as<std::int64_t>()}, row[1].as<std::string>()});
        }
        return absl::OkStatus();
      }));
  return renewed;
}

absl::Status PostgresControlStore::Release(const std::vector<LeaseKey>& keys) {
  if (keys.empty()) return absl::OkStatus();
  return connections_->transactions.Run(Access::kReadWrite, "releasing claims", [&](Transaction& transaction) {
    transaction.Execute(queries::kReleaseLeases, {BoundJson(EncodeLeaseKeys(keys))});
    return absl::OkStatus();
  });
}

absl::Status PostgresControlStore::RecordProgress(const std::vector<ProgressUpdate>& updates) {
  if (updates.empty()) return absl::OkStatus();
  const std::string call_id = NewUuid();
  const std::string rows = BoundJson(ProgressRows(updates));
  return connections_->transactions.Run(Access::kReadWrite, "recording progress", [&](Transaction& transaction) {
    Json with_jobs = Json::array();
    for (const auto& row : transaction.Execute(queries::kRecordProgress, {rows, call_id})) {
      with_jobs.push_back({{"id", row[0].as<std::int64_t>()}, {"last_job", row[1].as<std::int64_t>()}});
    }
    if (!with_jobs.empty())
      transaction.Execute(queries::kTrimJobs, {BoundJson(with_jobs), kJobsKept, kJobsTrimmedAtOnce});
    return absl::OkStatus();
  });
}

absl::Status PostgresControlStore::RecordHolds(const std::vector<HoldUpdate>& updates) {
  if (updates.empty()) return absl::OkStatus();
  std::map<MigrationId, Json> last;
  for (const HoldUpdate& update : updates) {
    Json& row = last[update.id] = EncodeHold(update.hold);
    row["id"] = update.id.value;
  }
  Json rows = Json::array();
  for (auto& [id, row] : last) rows.push_back(std::move(row));
  return connections_->transactions.Run(Access::kReadWrite, "recording holds", [&](Transaction& transaction) {
    transaction.Execute(queries::kRecordHolds, {BoundJson(rows)});
    return absl::OkStatus();
  });
}

}  // namespace migrationd
