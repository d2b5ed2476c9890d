// What a native class may do with the sub-batch's transaction.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "migrations/kinds/native.h"
#include "server/targets/postgres/connection.h"

namespace migrationd {

// Whether a statement may be run by a native class. FAILED_PRECONDITION with 0A000, and why, for what would end the transaction that the
// cursor moves in, or outlive it on a connection that a pooler gives to others afterwards.
absl::Status CheckNativeStatement(const std::string& sql);

// On a connection in a transaction, which it neither begins nor ends. For one thread.
class PostgresNativeSession final : public NativeSession {
 public:
  // Nothing is sent after the deadline (of the process clock).
  PostgresNativeSession(Connection& connection, absl::Time deadline) : connection_(connection), deadline_(deadline) {}

  absl::StatusOr<std::vector<NativeRow>> Query(const std::string& sql, const NativeRow& values) override;
  absl::StatusOr<std::int64_t> Execute(const std::string& sql, const NativeRow& values) override;
  bool MayGoOn() const override;

  // What outweighs anything that the class says: a connection that is gone or told to stop, a statement that was refused. OK: nothing.
  absl::Status Refusal() const;
  // Why the transaction cannot be committed although the class does not complain: an error after which the database does not go on, or the
  // time that is over. OK: it can.
  absl::Status Verdict() const;

 private:
  absl::StatusOr<QueryResult> Run(const std::string& sql, const NativeRow& values);
  bool late() const;

  Connection& connection_;
  const absl::Time deadline_;
  absl::Status refused_;  // the first one
  absl::Status failed_;   // the last error of the database
};

}  // namespace migrationd
