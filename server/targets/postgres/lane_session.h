// The sub-batch on PostgreSQL, in two forms with the same protocol.
//
// Direct (direct_session.cc): functions in pg_temp made when the lane opens. Work, check-and-set and the look-up of the
// next bound are one message, one implicit transaction, one commit.
//
// Pooled (pooled_session.cc), behind a transaction pooler, without the right to make temporary functions, or for a native
// class: an ordinary transaction of several messages, without any session state.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "server/targets/postgres/connection.h"
#include "server/targets/postgres/session_settings.h"
#include "server/targets/target.h"

namespace migrationd {

// A session of that lane on `connection`. `direct_allowed` false: the pooled form whatever the connection is.
// INVALID_ARGUMENT: a VERIFY pass of a plan without `where`. SQLSTATE 42501: no right to make temporary functions.
absl::StatusOr<std::unique_ptr<LaneSession>> OpenLaneSession(std::unique_ptr<Connection> connection,
                                                             const LaneOptions& options, bool direct_allowed);

// What both forms share.
class LaneSessionBase : public LaneSession {
 public:
  LaneSessionBase(std::unique_ptr<Connection> connection, const LaneOptions& options)
      : connection_(std::move(connection)), plan_(PlanOfPass(*options.plan, options.pass)), options_(options) {
    options_.plan = &plan_;
  }
  int backend_pid() const override { return connection_->backend_pid(); }
  // Too rare to be worth a function of its own: several messages, whatever the form.
  absl::StatusOr<SkipResult> SkipRow(const SkipRequest& request) override;

 protected:
  // A transaction of several messages, with the lane's settings.
  virtual absl::Status Begin() = 0;
  // The server's connection must go back to a pooler clean. When it cannot, it is the pooler that throws it away.
  void Rollback();
  // A message of its own: only from here on can it have been committed. See AfterCommitting.
  absl::Status Commit();

  // The lower bound of the work: the cursor, or the lane's inclusive beginning.
  const Key& Lower(const Key& cursor) const { return cursor.empty() ? options_.range.lower : cursor; }

  // The status of a message that may have committed: unknown when the connection broke before the answer was complete.
  static absl::Status AfterCommitting(const absl::Status& status);

  const std::unique_ptr<Connection> connection_;
  const MigrationPlan plan_;
  LaneOptions options_;
};

class DirectSession : public LaneSessionBase {
 public:
  using LaneSessionBase::LaneSessionBase;
  // Makes the functions; before anything else.
  absl::Status Prepare();
  absl::StatusOr<Key> FindBound(const LaneRange& range, std::int64_t size) override;
  int depth() const override { return 2; }
  absl::Status Send(const SubBatchRequest& request) override;
  absl::StatusOr<SubBatchResult> Receive() override;

 private:
  absl::Status Begin() override;
  absl::Status Make(bool first);

  int sent_ = 0;  // and not answered
};

class PooledSession : public LaneSessionBase {
 public:
  PooledSession(std::unique_ptr<Connection> connection, const LaneOptions& options, SessionSettings settings)
      : LaneSessionBase(std::move(connection), options), settings_(std::move(settings)) {}
  absl::StatusOr<Key> FindBound(const LaneRange& range, std::int64_t size) override;
  // Runs it; the answer is kept for Receive.
  absl::Status Send(const SubBatchRequest& request) override;
  absl::StatusOr<SubBatchResult> Receive() override;
  int depth() const override { return 1; }

 private:
  absl::Status Begin() override;
  absl::StatusOr<SubBatchResult> Run(const SubBatchRequest& request);
  absl::StatusOr<Key> LookUpBound(const Key& cursor, const Key& upper, std::int64_t size);
  absl::StatusOr<SubBatchResult> WorkAndSet(const SubBatchRequest& request);
  absl::Status Execute(const SubBatchRequest& request, SubBatchResult& result);
  absl::Status Verify(const SubBatchRequest& request, SubBatchResult& result);
  // Runs the work itself.
  absl::StatusOr<std::int64_t> Work(const SubBatchRequest& request);
  // The keys that match, as one array value of texts, and how many.
  absl::StatusOr<std::string> MatchingKeys(const std::string& matching, const Parameters& parameters,
                                           std::int64_t& count);

  const SessionSettings settings_;
  absl::StatusOr<SubBatchResult> answer_ = absl::InternalError("nothing was sent");
};

// SCHEMA_CHANGED (MD004) when the plan's table is not the one of that name any more, or its key has another collation. It holds until the end
// of the transaction once that has read the table.
absl::Status CheckTable(Connection& connection, const MigrationPlan& plan);

// NULL for an empty key.
std::optional<std::string> ArrayOrNull(const Key& key);

}  // namespace migrationd
