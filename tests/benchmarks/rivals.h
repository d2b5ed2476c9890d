// Other ways to do the same update, for comparison. Each leaves the connection it is given as it was.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "server/targets/postgres/connection.h"

namespace migrationd {

absl::Status PlainUpdate(Connection& sql);
// Two halves of the key's range on two connections at once.
absl::Status PlainUpdateInTwoHalves(const std::string& url, std::int64_t rows);
// A DO block with a COMMIT per batch. `synchronous_commit`: on or off.
absl::Status PlPgSqlLoop(Connection& sql, std::int64_t batch, const std::string& synchronous_commit);
// As GitLab's batched background migrations, at their default sizes (batches of 1,000, sub-batches of 100) and without their sleeps: a job
// row a batch, written over a second connection before, when it is marked running, and after, with metrics; per sub-batch a query for the
// bound and the UPDATE, all from the client, each in a transaction of its own, durable. Leaves out their log of job transitions, health
// check and Ruby, so it is faster than what it stands for.
absl::Status GitLabWay(const std::string& url);
// A form of ours that was not taken: prepared statements, executed in one simple-query string. The rows affected are known only to the
// client, so the lane's count would lag by one sub-batch.
absl::Status ExecuteStrings(const std::string& url, std::int64_t rows, std::int64_t batch);

}  // namespace migrationd
