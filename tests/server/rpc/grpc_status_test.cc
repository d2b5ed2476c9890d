#include "server/rpc/grpc_status.h"

#include "tests/server/rpc/rpc_world.h"

namespace migrationd {
namespace {

using ::testing::SizeIs;

TEST(GrpcStatusTest, OkIsPlain) { EXPECT_TRUE(ToGrpcStatus(absl::OkStatus(), "one").ok()); }

TEST(GrpcStatusTest, EachCodeHasItsReason) {
  const std::pair<absl::Status, const char*> cases[] = {
      {absl::InvalidArgumentError("x"), "REQUEST_INVALID"},
      {absl::NotFoundError("x"), "MIGRATION_NOT_FOUND"},
      {absl::AlreadyExistsError("x"), "MIGRATION_EXISTS"},
      {absl::FailedPreconditionError("x"), "MIGRATION_STATE_INVALID"},
      {absl::AbortedError("x"), "REVISION_MISMATCH"},
      {absl::PermissionDeniedError("x"), "ROLE_MISSING"},
      {absl::UnavailableError("x"), "DATABASE_UNAVAILABLE"},
      {absl::ResourceExhaustedError("x"), "OVERLOADED"},
      {absl::InternalError("x"), "INTERNAL"},
      {WithReason(absl::NotFoundError("x"), "FREEZE_NOT_FOUND"), "FREEZE_NOT_FOUND"},
  };
  for (const auto& [status, reason] : cases) {
    const grpc::Status converted = ToGrpcStatus(status, "one");
    EXPECT_EQ(static_cast<int>(converted.error_code()), static_cast<int>(status.code()));
    EXPECT_EQ(ReasonOf(converted), reason);
    google::rpc::Status rich;
    ASSERT_TRUE(rich.ParseFromString(converted.error_details()));
    EXPECT_EQ(rich.code(), static_cast<int>(status.code()));
    EXPECT_EQ(rich.message(), converted.error_message());
  }
}

TEST(GrpcStatusTest, AMessageThatBeginsWithAFieldBecomesAViolationOfIt) {
  const auto bad =
      DetailOf<google::rpc::BadRequest>(ToGrpcStatus(absl::InvalidArgumentError("batch_size: is 0; expected 1."), ""));
  ASSERT_TRUE(bad.has_value());
  EXPECT_EQ(bad->field_violations(0).field(), "batch_size");
  EXPECT_EQ(bad->field_violations(0).description(), "is 0; expected 1.");
  const auto prose =
      DetailOf<google::rpc::BadRequest>(ToGrpcStatus(absl::InvalidArgumentError("Something else: it is wrong."), ""));
  EXPECT_EQ(prose->field_violations(0).field(), "");
  EXPECT_EQ(prose->field_violations(0).description(), "Something else: it is wrong.");
}

TEST(GrpcStatusTest, AllViolationsOfADefinitionAreInTheDetailsAndTheMessage) {
  const grpc::Status status =
      ToGrpcStatus(FieldErrors(kReasonDefinitionInvalid, {{"a", "is wrong"}, {"b", "too"}}), "");
  EXPECT_EQ(status.error_message(), "a: is wrong\nb: too");
  EXPECT_EQ(ReasonOf(status), "DEFINITION_INVALID");
  EXPECT_THAT(DetailOf<google::rpc::BadRequest>(status)->field_violations(), SizeIs(2));
}

TEST(GrpcStatusTest, MetadataStaysBelowWhatClientsAccept) {
  const std::vector<FieldViolation> many(50, {"field", std::string(3000, 'x')});
  const grpc::Status status = ToGrpcStatus(FieldErrors(kReasonDefinitionInvalid, many), std::string(10000, 'y'));
  EXPECT_LT(status.error_message().size() + status.error_details().size() * 4 / 3, 8192U);
}

TEST(GrpcStatusTest, ALongMessageIsNotCutWithinACharacter) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "\xE2\x82\xAC";
  for (int shift = 0; shift < 3; ++shift) {
    const std::string message =
        ToGrpcStatus(absl::InternalError(std::string(static_cast<std::size_t>(shift), 'a') + text), "").error_message();
    const std::string cut = message.substr(0, message.size() - 3);
    EXPECT_EQ((cut.size() - static_cast<std::size_t>(shift)) % 3, 0U) << shift;
  }
}

}  // namespace
}  // namespace migrationd
