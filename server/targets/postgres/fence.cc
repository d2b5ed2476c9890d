#include "server/targets/postgres/fence.h"

#include "absl/strings/str_cat.h"
#include "migrations/model/failure.h"
#include "migrations/model/status_macros.h"
#include "server/targets/postgres/lane_planner.h"
#include "server/targets/postgres/lane_session.h"

namespace migrationd {
namespace {

constexpr char kReadOwner[] = R"sql(
SELECT o.epoch, o.token, o.pass, o.rows_before, o.sub_batches_before,
       (extract(epoch FROM o.completed_at) * 1000000)::bigint, o.frozen, o.table_oid, o.column_digest,
       (SELECT count(*) FROM migration_control.failed_range AS r WHERE r.migration = o.migration AND r.kind = 'UNCHANGED'),
       (SELECT count(*) FROM migration_control.failed_range AS r WHERE r.migration = o.migration AND r.kind = 'FAILED'),
       (SELECT array_agg(s.name) FROM migration_control.step AS s WHERE s.migration = o.migration)
  FROM migration_control.owner AS o
 WHERE o.migration = $1)sql";

constexpr char kReadLanes[] = R"sql(
SELECT l.lane, l.lower_bound, l.cursor, l.upper_bound, l.rows, l.sub_batches
  FROM migration_control.lane AS l
 WHERE l.migration = $1
 ORDER BY l.lane)sql";

// Waits for whoever holds the row, then counts up from what that one left: the old epoch is that of the row as it is
// now, never one that was read before.
constexpr char kRaiseEpoch[] = R"sql(
UPDATE migration_control.owner AS o
   SET epoch = greatest(o.epoch, $2::bigint) + 1, token = gen_random_uuid(), taken_at = clock_timestamp()
 WHERE o.migration = $1
RETURNING o.epoch, o.token)sql";

// Waits for each lane that is committing; after it, nothing of an earlier claim matches a lane.
constexpr char kFenceLanes[] = R"sql(
UPDATE migration_control.lane AS l
   SET epoch = o.epoch, token = o.token
  FROM migration_control.owner AS o
 WHERE o.migration = $1 AND l.migration = $1)sql";

constexpr char kKeepCounts[] = R"sql(
UPDATE migration_control.owner AS o
   SET pass = $2::integer,
       rows_before = o.rows_before + l.rows,
       sub_batches_before = o.sub_batches_before + l.sub_batches
  FROM (SELECT coalesce(sum(rows), 0) AS rows, coalesce(sum(sub_batches), 0) AS sub_batches
          FROM migration_control.lane WHERE migration = $1) AS l
 WHERE o.migration = $1 AND o.pass = $2::integer - 1)sql";

constexpr char kInsertLane[] = R"sql(
INSERT INTO migration_control.lane (migration, lane, epoch, token, frozen, lower_bound, cursor, upper_bound, rows, sub_batches)
SELECT o.migration, $2, o.epoch, o.token, o.frozen, $3, $4, $5, $6, $7
  FROM migration_control.owner AS o
 WHERE o.migration = $1)sql";

constexpr char kForget[] = R"sql(
INSERT INTO migration_control.owner AS o (migration, control_id, definition_digest, epoch, token, frozen, deleted_at)
VALUES ($1, $2, '', 1, gen_random_uuid(), EXISTS (SELECT FROM migration_control.freeze_flag), clock_timestamp())
ON CONFLICT (migration) DO UPDATE
   SET deleted_at = clock_timestamp(), epoch = o.epoch + 1, token = gen_random_uuid()
 WHERE o.control_id = $2 AND o.deleted_at IS NULL)sql";

absl::StatusOr<Key> ReadOptionalKey(const QueryResult& result, int row, int column) {
  if (result.null(row, column)) return Key{};
  return ParseKeyArray(result.text(row, column));
}

absl::StatusOr<LaneRange> ReadLane(const QueryResult& lanes, int row) {
  LaneRange lane;
  lane.lane = static_cast<std::int32_t>(lanes.integer(row, 0));
  MD_ASSIGN_OR_RETURN(lane.lower, ReadOptionalKey(lanes, row, 1));
  MD_ASSIGN_OR_RETURN(lane.cursor, ReadOptionalKey(lanes, row, 2));
  MD_ASSIGN_OR_RETURN(lane.upper, ReadOptionalKey(lanes, row, 3));
  lane.rows = lanes.integer(row, 4);
  lane.sub_batches = lanes.integer(row, 5);
  return lane;
}

// The checkpoint as this transaction, which holds the owner row and all lanes, sees it.
absl::StatusOr<Checkpoint> ReadCheckpoint(Connection& connection, const std::string& migration) {
  MD_ASSIGN_OR_RETURN(const QueryResult owner, connection.Query(kReadOwner, {migration}));
  if (owner.rows() != 1) return absl::InternalError("the owner row vanished while it was locked");
  Checkpoint checkpoint;
  checkpoint.claim = {migration, owner.integer(0, 0), owner.text(0, 1)};
  checkpoint.pass = static_cast<std::int32_t>(owner.integer(0, 2));
  checkpoint.rows_total = owner.integer(0, 3);
  checkpoint.sub_batches_total = owner.integer(0, 4);
  if (!owner.null(0, 5)) checkpoint.completed_at = absl::FromUnixMicros(owner.integer(0, 5));
  checkpoint.frozen = owner.boolean(0, 6);
  checkpoint.table_oid = owner.integer(0, 7);
  checkpoint.column_digest = owner.text(0, 8);
  checkpoint.unchanged_rows = owner.integer(0, 9);
  checkpoint.failed_rows = owner.integer(0, 10);
  MD_ASSIGN_OR_RETURN(checkpoint.steps_done, ReadOptionalKey(owner, 0, 11));
  MD_ASSIGN_OR_RETURN(const QueryResult lanes, connection.Query(kReadLanes, {migration}));
  for (int row = 0; row < lanes.rows(); ++row) {
    MD_ASSIGN_OR_RETURN(LaneRange lane, ReadLane(lanes, row));
    checkpoint.pass_affected += lane.rows;
    checkpoint.sub_batches_total += lane.sub_batches;
    checkpoint.lanes.push_back(std::move(lane));
  }
  checkpoint.rows_total += checkpoint.pass_affected;
  return checkpoint;
}

// A row that is made now must not slip past freeze(), which takes a stronger lock on the flag: either it waits for us,
// or we see it.
absl::Status HoldOffFreeze(Connection& connection) {
  return connection.Query("LOCK TABLE migration_control.freeze_flag IN ROW EXCLUSIVE MODE").status();
}

absl::Status InsertOwner(Connection& connection, const TakeOverRequest& request) {
  MD_RETURN_IF_ERROR(HoldOffFreeze(connection));
  return connection
      .Query(
          "INSERT INTO migration_control.owner (migration, control_id, definition_digest, epoch, token, frozen) "
          "VALUES ($1, $2, $3, 1, gen_random_uuid(), EXISTS (SELECT FROM migration_control.freeze_flag)) "
          "ON CONFLICT (migration) DO NOTHING",
          {request.migration, request.control_id, request.definition_digest})
      .status();
}

// Locks the owner row and returns the claim that ends with it.
absl::StatusOr<FenceClaim> LockOwner(Connection& connection, const TakeOverRequest& request) {
  MD_ASSIGN_OR_RETURN(const QueryResult owner,
                      connection.Query("SELECT o.control_id = $2::uuid, o.deleted_at IS NOT NULL, o.epoch, o.token "
                                       "FROM migration_control.owner AS o WHERE o.migration = $1 FOR NO KEY UPDATE",
                                       {request.migration, request.control_id}));
  if (owner.rows() == 0) {
    return absl::NotFoundError(absl::StrCat("The checkpoint of ", request.migration,
                                            " is missing in this database, where it was created before: "
                                            "migration_control.owner has no row of it."));
  }
  if (owner.boolean(0, 1)) {
    return absl::FailedPreconditionError(
        absl::StrCat(request.migration, " was deleted; its name stays taken in this database."));
  }
  if (!owner.boolean(0, 0) && !request.adopt) {
    return absl::PermissionDeniedError(
        absl::StrCat("The checkpoint of ", request.migration, " in this database belongs to another control store."));
  }
  return FenceClaim{request.migration, owner.integer(0, 2), owner.text(0, 3)};
}

absl::Status RaiseEpoch(Connection& connection, const std::string& migration, std::int64_t store_epoch) {
  MD_ASSIGN_OR_RETURN(const QueryResult raised, connection.Query(kRaiseEpoch, {migration, absl::StrCat(store_epoch)}));
  if (raised.rows() != 1) return absl::InternalError("the owner row vanished while it was locked");
  return connection.Query(kFenceLanes, {migration}).status();
}

absl::Status ForgetProgress(Connection& connection, const std::string& migration) {
  for (const char* sql :
       {"DELETE FROM migration_control.lane WHERE migration = $1",
        "DELETE FROM migration_control.failed_range WHERE migration = $1",
        "UPDATE migration_control.owner SET pass = 0, rows_before = 0, sub_batches_before = 0, completed_at = NULL "
        "WHERE migration = $1"}) {
    MD_RETURN_IF_ERROR(connection.Query(sql, {migration}).status());
  }
  return absl::OkStatus();
}

// What the last look at the rows found.
absl::Status ForgetVerdict(Connection& connection, const std::string& migration) {
  for (const char* sql : {"DELETE FROM migration_control.failed_range WHERE migration = $1 AND kind = 'UNCHANGED'",
                          "UPDATE migration_control.owner SET completed_at = NULL WHERE migration = $1"}) {
    MD_RETURN_IF_ERROR(connection.Query(sql, {migration}).status());
  }
  return absl::OkStatus();
}

absl::Status ReplaceLanes(Connection& connection, const std::string& migration, const std::vector<LaneRange>& lanes) {
  MD_RETURN_IF_ERROR(connection.Query("DELETE FROM migration_control.lane WHERE migration = $1", {migration}).status());
  for (const LaneRange& lane : lanes) {
    MD_RETURN_IF_ERROR(connection
                           .Query(kInsertLane, {migration, absl::StrCat(lane.lane), ArrayOrNull(lane.lower), ArrayOrNull(lane.cursor),
                                                ArrayOrNull(lane.upper), absl::StrCat(lane.rows), absl::StrCat(lane.sub_batches)})
                           .status());
  }
  return absl::OkStatus();
}

absl::Status FindClaim(Connection& connection, const FenceClaim& claim, const char* lock, bool refuse_frozen) {
  MD_ASSIGN_OR_RETURN(const QueryResult found,
                      connection.Query(absl::StrCat("SELECT o.frozen FROM migration_control.owner AS o "
                                                    "WHERE o.migration = $1 AND o.epoch = $2 AND o.token = $3",
                                                    lock),
                                       {claim.migration, absl::StrCat(claim.epoch), claim.token}));
  if (found.rows() == 0) {
    return DatabaseError(kSqlStateFenced, absl::StrCat("fenced: another owner works on ", claim.migration));
  }
  if (!refuse_frozen || !found.boolean(0, 0)) return absl::OkStatus();
  MD_ASSIGN_OR_RETURN(const QueryResult flag,
                      connection.Query("SELECT f.reason FROM migration_control.freeze_flag AS f", {}));
  return DatabaseError(kSqlStateFrozen, absl::StrCat("frozen: ", flag.rows() == 1 ? flag.text(0, 0) : ""));
}

}  // namespace

absl::StatusOr<FenceClaim> ReadClaim(Connection& connection, const std::string& migration) {
  MD_ASSIGN_OR_RETURN(
      const QueryResult owner,
      connection.Query("SELECT o.epoch, o.token FROM migration_control.owner AS o WHERE o.migration = $1",
                       {migration}));
  if (owner.rows() == 0) return FenceClaim{migration, 0, ""};
  return FenceClaim{migration, owner.integer(0, 0), owner.text(0, 1)};
}

absl::StatusOr<TakenOver> TakeOverIn(Connection& connection, const TakeOverRequest& request) {
  if (request.may_create) MD_RETURN_IF_ERROR(InsertOwner(connection, request));
  auto previous = LockOwner(connection, request);
  if (const std::string sqlstate = SqlStateOf(previous.status()); sqlstate == "42P01" || sqlstate == "3F000") {
    return absl::NotFoundError(absl::StrCat("The checkpoint of ", request.migration,
                                            " is missing in this database, where it was created before: there is no "
                                            "table migration_control.owner."));
  }
  MD_RETURN_IF_ERROR(previous.status());
  TakenOver taken;
  taken.previous = *std::move(previous);
  MD_RETURN_IF_ERROR(RaiseEpoch(connection, request.migration, request.store_epoch));
  MD_RETURN_IF_ERROR(connection
                         .Query("UPDATE migration_control.owner SET control_id = $2, definition_digest = $3 "
                                "WHERE migration = $1",
                                {request.migration, request.control_id, request.definition_digest})
                         .status());
  MD_ASSIGN_OR_RETURN(taken.checkpoint, ReadCheckpoint(connection, request.migration));
  return taken;
}

absl::StatusOr<Checkpoint> ResetIn(Connection& connection, const FenceClaim& claim, Forgetting what) {
  MD_RETURN_IF_ERROR(LockClaim(connection, claim, /*refuse_frozen=*/false));
  MD_RETURN_IF_ERROR(what == Forgetting::kProgress ? ForgetProgress(connection, claim.migration)
                                                   : ForgetVerdict(connection, claim.migration));
  return ReadCheckpoint(connection, claim.migration);
}

absl::Status CheckClaim(Connection& connection, const FenceClaim& claim) {
  return FindClaim(connection, claim, "", /*refuse_frozen=*/true);
}

absl::Status LockClaim(Connection& connection, const FenceClaim& claim, bool refuse_frozen) {
  return FindClaim(connection, claim, " FOR NO KEY UPDATE", refuse_frozen);
}
absl::StatusOr<Checkpoint> BeginPassIn(Connection& connection, const FenceClaim& claim, std::int32_t pass,
                                       const std::vector<LaneRange>& lanes) {
  MD_RETURN_IF_ERROR(LockClaim(connection, claim, /*refuse_frozen=*/true));
  // A sub-batch of the last pass that is still under way somewhere must not match a lane of this one.
  MD_RETURN_IF_ERROR(RaiseEpoch(connection, claim.migration, /*store_epoch=*/0));
  MD_ASSIGN_OR_RETURN(const QueryResult kept, connection.Query(kKeepCounts, {claim.migration, absl::StrCat(pass)}));
  if (kept.affected() != 1) {
    return DatabaseError(kSqlStateFenced, absl::StrCat("pass ", pass, " of ", claim.migration, " was begun already"));
  }
  MD_RETURN_IF_ERROR(ReplaceLanes(connection, claim.migration, lanes));
  return ReadCheckpoint(connection, claim.migration);
}

absl::StatusOr<Checkpoint> SplitIn(Connection& connection, const FenceClaim& claim, const MigrationPlan& plan, int wanted) {
  MD_RETURN_IF_ERROR(LockClaim(connection, claim, /*refuse_frozen=*/true));
  // A sub-batch that is still under way somewhere must match no lane of the new ones; after this the cursors stand still.
  MD_RETURN_IF_ERROR(RaiseEpoch(connection, claim.migration, /*store_epoch=*/0));
  MD_ASSIGN_OR_RETURN(const Checkpoint checkpoint, ReadCheckpoint(connection, claim.migration));
  MD_ASSIGN_OR_RETURN(const std::vector<LaneRange> lanes, SplitLanesIn(connection, plan, checkpoint.lanes, wanted));
  // In another order than the plan's they would overlap, or leave rows out.
  MD_RETURN_IF_ERROR(CheckTable(connection, plan));
  MD_RETURN_IF_ERROR(ReplaceLanes(connection, claim.migration, lanes));
  return ReadCheckpoint(connection, claim.migration);
}

absl::Status ForgetIn(Connection& connection, const std::string& migration, const std::string& control_id) {
  MD_RETURN_IF_ERROR(HoldOffFreeze(connection));
  MD_RETURN_IF_ERROR(connection.Query(kForget, {migration, control_id}).status());
  return connection.Query(kFenceLanes, {migration}).status();
}

}  // namespace migrationd
