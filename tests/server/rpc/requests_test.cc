#include "server/rpc/request_checks.h"
#include "tests/server/rpc/rpc_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

TEST(RequestChecksTest, LimitsTheLengthOfEachField) {
  v1::PauseRequest request;
  request.set_migration(std::string(200, 'm'));
  request.set_request_id(std::string(128, 'r'));
  request.set_reason(std::string(1000, 'w'));
  MD_EXPECT_OK(CheckText(request));
  request.set_reason(std::string(1001, 'w'));
  EXPECT_THAT(CheckText(request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reason: has 1001 bytes; expected at most 1000")));
  request.clear_reason();
  request.set_request_id(std::string(129, 'r'));
  EXPECT_THAT(CheckText(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("request_id")));
  request.clear_request_id();
  request.set_migration(std::string(201, 'm'));
  EXPECT_THAT(CheckText(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("migration")));
}

TEST(RequestChecksTest, RefusesWhatIsNoPrintableUtf8) {
  v1::PauseRequest request;
  for (const std::string& bad :
       {std::string("a\x01"), std::string("\xC0\xAF"), std::string("\xED\xA0\x80"), std::string("\xE2\x82"),
        std::string("\xF4\x90\x80\x80"), std::string("a\0b", 3), std::string("\x7F")}) {
    request.set_reason(bad);
    EXPECT_THAT(CheckText(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("UTF-8")));
  }
  request.set_reason("line one\nline two\t\xE2\x82\xAC \xF0\x9F\x98\x80");
  MD_EXPECT_OK(CheckText(request));
}

TEST(RequestChecksTest, LooksIntoMapsListsAndMessages) {
  v1::EnqueueRequest request;
  (*request.mutable_parameters())["tenant"] = std::string(10001, '1');
  EXPECT_THAT(CheckText(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("parameters[0].value")));
  request.clear_parameters();
  for (int i = 0; i < 101; ++i) (*request.mutable_parameters())[std::to_string(i)] = "1";
  EXPECT_THAT(CheckText(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("101 values")));
  request.clear_parameters();
  request.mutable_file()->set_content(std::string(256 * 1024 + 1, ' '));
  EXPECT_THAT(CheckText(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("file.content")));
}

TEST(RequestChecksTest, TimestampsMustBeValid) {
  google::protobuf::Timestamp stamp;
  stamp.set_nanos(-1);
  EXPECT_THAT(OptionalTime(true, stamp, "until"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("until")));
  stamp.set_nanos(0);
  stamp.set_seconds(1'000'000'000'000);
  EXPECT_THAT(OptionalTime(true, stamp, "until"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("9999")));
  MD_ASSERT_OK_AND_ASSIGN(const auto none, OptionalTime(false, stamp, "until"));
  EXPECT_EQ(none, std::nullopt);
}

TEST(RequestChecksTest, AutomaticExcludesSizes) {
  v1::SetBatchSizeRequest request;
  request.set_automatic(true);
  MD_EXPECT_OK(CheckSizes(request));
  request.set_batch_size(5);
  EXPECT_THAT(CheckSizes(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("automatic")));
}

TEST(RequestChecksTest, ArriveOverTheWireAsBadRequest) {
  RpcWorld world;
  world.Add("one");
  auto request = Naming<v1::PauseRequest>("one");
  request.set_reason(std::string(1001, 'w'));
  const auto status = Call(world, &Stub::Pause, request).first;
  EXPECT_THAT(status, GrpcStatusIs(grpc::StatusCode::INVALID_ARGUMENT, "REQUEST_INVALID", HasSubstr("reason")));
  EXPECT_EQ(DetailOf<google::rpc::BadRequest>(status)->field_violations(0).field(), "reason");
  EXPECT_EQ(Call(world, &Stub::Pause, v1::PauseRequest()).first.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.clear_reason();
  request.mutable_until()->set_nanos(-5);
  EXPECT_THAT(Call(world, &Stub::Pause, request).first,
              GrpcStatusIs(grpc::StatusCode::INVALID_ARGUMENT, "REQUEST_INVALID", HasSubstr("until")));
  EXPECT_EQ(world.Stored("one").migration.state, State::kPending);
}

TEST(RequestChecksTest, AMessageBeyondTheLimitIsRefused) {
  RpcWorld world;
  v1::EnqueueRequest request;
  request.mutable_file()->set_content(std::string(1024 * 1024, ' '));
  EXPECT_EQ(Call(world, &Stub::Enqueue, request).first.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

}  // namespace
}  // namespace migrationd
