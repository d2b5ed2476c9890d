#include "migrations/model/failure.h"

#include <map>
#include <string>

#include "gtest/gtest.h"

namespace migrationd {
namespace {

// Typed from the design, section 6: an example of each code and class it names, and their neighbours.
const std::map<std::string, FailureClass>& Expected() {
  static const auto* expected = new std::map<std::string, FailureClass>{
      {"40001", FailureClass::kRetryNow},      // serialization_failure
      {"40P01", FailureClass::kRetryNow},      // deadlock_detected
      {"57014", FailureClass::kRetrySmaller},  // query_canceled
      {"55P03", FailureClass::kRetrySmaller},  // lock_not_available
      {"", FailureClass::kBackOff},            // the connection broke
      {"08006", FailureClass::kBackOff},       // connection_failure
      {"08P01", FailureClass::kBackOff},       // protocol_violation
      {"53100", FailureClass::kBackOff},       // disk_full
      {"53300", FailureClass::kBackOff},       // too_many_connections
      {"57P01", FailureClass::kBackOff},       // admin_shutdown
      {"57P03", FailureClass::kBackOff},       // cannot_connect_now
      {"25006", FailureClass::kBackOff},       // read_only_sql_transaction
      {"21000", FailureClass::kBadRows},       // cardinality_violation
      {"22012", FailureClass::kBadRows},       // division_by_zero
      {"22P02", FailureClass::kBadRows},       // invalid_text_representation
      {"23505", FailureClass::kBadRows},       // unique_violation
      {"44000", FailureClass::kBadRows},       // with_check_option_violation
      {"54000", FailureClass::kBadRows},       // program_limit_exceeded
      {"P0001", FailureClass::kBadRows},       // raise_exception
      {"38000", FailureClass::kBadRows},       // external_routine_exception
      {"39000", FailureClass::kBadRows},       // external_routine_invocation_exception
      {"42P01", FailureClass::kHalt},          // undefined_table
      {"42501", FailureClass::kHalt},          // insufficient_privilege
      {"0A000", FailureClass::kHalt},          // feature_not_supported
      {"XX000", FailureClass::kAttempt},       // internal_error
      {"40002", FailureClass::kAttempt},       // of class 40, but neither of the two
      {"55006", FailureClass::kAttempt},       // object_in_use: of class 55, but not a lock timeout
      {"57000", FailureClass::kAttempt},       // of class 57, but neither 57014 nor 57P
      {"25001", FailureClass::kAttempt},       // of class 25, but not read only
      {"MD001", FailureClass::kFenced},       {"MD002", FailureClass::kWhereNotSatisfied},
      {"MD003", FailureClass::kFrozen},       {"MD004", FailureClass::kSchemaChanged},
      {"MD005", FailureClass::kAttempt},  // require_completed() is not for us
      {"MD006", FailureClass::kAttempt},  // a native class failed
  };
  return *expected;
}

TEST(Failure, EachSqlStateHasTheClassOfTheDesign) {
  for (const auto& [sqlstate, failure] : Expected()) {
    EXPECT_EQ(static_cast<int>(ClassifyFailure(sqlstate)), static_cast<int>(failure))
        << "SQLSTATE '" << sqlstate << "'";
  }
}

TEST(Failure, TheSqlStateTravelsInsideTheStatus) {
  for (const auto& [sqlstate, failure] : Expected()) {
    const absl::Status status = DatabaseError(sqlstate, "what happened");
    EXPECT_EQ(SqlStateOf(status), sqlstate);
    EXPECT_EQ(status.message(), "what happened");
    EXPECT_FALSE(IsCommitUnknown(status));
  }
  EXPECT_EQ(SqlStateOf(absl::InternalError("not from a database")), "");
}

TEST(Failure, TheStatusCodeTellsWhetherToRetry) {
  EXPECT_EQ(DatabaseError("", "").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(DatabaseError("53300", "").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(DatabaseError("40P01", "").code(), absl::StatusCode::kAborted);
  EXPECT_EQ(DatabaseError("MD001", "").code(), absl::StatusCode::kAborted);
  for (const char* sqlstate : {"57014", "23505", "42P01", "XX000", "MD002", "MD003", "MD004"}) {
    EXPECT_EQ(DatabaseError(sqlstate, "").code(), absl::StatusCode::kFailedPrecondition) << sqlstate;
  }
}

TEST(Failure, AnUnknownCommitIsALostConnectionThatSaysSo) {
  const absl::Status status = CommitUnknownError("the connection broke at COMMIT");
  EXPECT_TRUE(IsCommitUnknown(status));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ClassifyFailure(SqlStateOf(status)), FailureClass::kBackOff);
  EXPECT_FALSE(IsCommitUnknown(absl::UnavailableError("another")));
}

TEST(DatabaseError, IsToldFromOtherErrorsAlsoWithoutASqlState) {
  EXPECT_TRUE(IsDatabaseError(DatabaseError("22000", "m")));
  EXPECT_TRUE(IsDatabaseError(DatabaseError("", "the connection broke")));
  EXPECT_FALSE(IsDatabaseError(absl::UnavailableError("somebody else's")));
  EXPECT_FALSE(IsDatabaseError(absl::OkStatus()));
}

}  // namespace
}  // namespace migrationd
