// Every verb over a real channel: success, refusal with its details, and what all of them have in common.
#include "migrations/model/event_kind.h"
#include "server/rpc/access.h"
#include "tests/server/rpc/rpc_world.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

TEST(RpcVerbsTest, StatusTellsEverythingWithTheLatestEvents) {
  RpcWorld world;
  world.Add("one");
  world.MakeRunning("one");
  const auto [status, response] = Call(world, &Stub::Status, Naming<v1::StatusRequest>("one"));
  ASSERT_THAT(status, IsGrpcOk());
  EXPECT_EQ(response.migration().state(), v1::STATE_RUNNING);
  EXPECT_THAT(response.migration().summary(), HasSubstr("RUNNING"));
  ASSERT_THAT(response.recent_events(), SizeIs(2));
  EXPECT_EQ(response.recent_events(0).to(), "RUNNING") << "newest first";
  EXPECT_EQ(response.recent_events(1).kind(), "DEFINITION");
}

TEST(RpcVerbsTest, StatusShowsWhatPeopleDidHoweverOftenThePaceChanged) {
  RpcWorld world;
  world.Add("one");
  for (int i = 0; i < 20; ++i) {
    EventRecord pace;
    pace.target = "main";
    pace.migration = "one";
    pace.kind = kEventPace;
    MD_ASSERT_OK(world.store.AppendEvent(pace));
  }
  const auto response = Call(world, &Stub::Status, Naming<v1::StatusRequest>("one")).second;
  ASSERT_THAT(response.recent_events(), SizeIs(1));
  EXPECT_EQ(response.recent_events(0).kind(), "DEFINITION");
  EXPECT_THAT(Call(world, &Stub::ListEvents, Naming<v1::ListEventsRequest>("one")).second.events(), SizeIs(21)) << "all of them";
}

TEST(RpcVerbsTest, StatusAfterAVerbShowsItsEvent) {
  RpcWorld world;
  world.Add("one");
  for (int i = 0; i < 5; ++i) {
    ASSERT_THAT(Call(world, &Stub::Pause, Naming<v1::PauseRequest>("one")).first, IsGrpcOk());
    EXPECT_EQ(Call(world, &Stub::Status, Naming<v1::StatusRequest>("one")).second.recent_events(0).to(), "PAUSED");
    ASSERT_THAT(Call(world, &Stub::Resume, Naming<v1::ResumeRequest>("one")).first, IsGrpcOk());
    EXPECT_EQ(Call(world, &Stub::Status, Naming<v1::StatusRequest>("one")).second.recent_events(0).to(), "PENDING");
  }
}

TEST(RpcVerbsTest, ListTargetsTellsHowTheyAre) {
  RpcWorld world;
  world.board.Edit([](BoardSnapshot& snapshot) {
    TargetCondition& main = snapshot.targets["main"];
    main.reachable = true;
    main.allowed = 0.5;
    main.readings = {{.signal = "replica_lag", .value = 31, .limit = 30, .unit = "s"}};
    main.hold.kind = HoldKind::kThrottled;
    main.hold.reason = "replica_lag 31 s, limit 30 s";
    snapshot.targets["billing"].error = "no route to host";
    snapshot.work.runs["main"] = 2;
  });
  const auto [status, response] = Call(world, &Stub::ListTargets, v1::ListTargetsRequest());
  ASSERT_THAT(status, IsGrpcOk());
  ASSERT_THAT(response.targets(), SizeIs(2));
  EXPECT_EQ(response.targets(0).name(), "billing");
  EXPECT_FALSE(response.targets(0).reachable());
  EXPECT_EQ(response.targets(0).reason(), "no route to host");
  EXPECT_EQ(response.targets(1).running(), 2);
  EXPECT_EQ(response.targets(1).allowed(), 0.5);
  EXPECT_EQ(response.targets(1).hold().kind(), v1::HOLD_KIND_THROTTLED);
  EXPECT_THAT(response.targets(1).readings(), SizeIs(1));
}

TEST(RpcVerbsTest, StatusAndListGoOnWhileTheControlStoreIsAway) {
  RpcWorld world;
  world.Add("one");
  world.Publish();
  const auto before = Call(world, &Stub::Status, Naming<v1::StatusRequest>("one")).second;
  world.store.set_available(false);
  world.board.Edit([](BoardSnapshot& snapshot) { snapshot.store_reachable = false; });
  const auto [status, response] = Call(world, &Stub::Status, Naming<v1::StatusRequest>("one"));
  ASSERT_THAT(status, IsGrpcOk());
  EXPECT_EQ(response.migration().state(), v1::STATE_PENDING);
  EXPECT_THAT(response.recent_events(), IsEmpty());
  EXPECT_LE(response.migration().as_of().seconds(), before.migration().as_of().seconds())
      << "no newer than what was read";
  EXPECT_THAT(Call(world, &Stub::List, v1::ListRequest()).second.migrations(), SizeIs(1));
}

TEST(RpcVerbsTest, AnUnknownMigrationIsNotFoundWithCandidatesForEachVerb) {
  RpcWorld world;
  world.Add("backfill_builds");
  const auto refused =
      GrpcStatusIs(grpc::StatusCode::NOT_FOUND, "MIGRATION_NOT_FOUND", HasSubstr("main/backfill_builds"));
  EXPECT_THAT(Call(world, &Stub::Status, Naming<v1::StatusRequest>("backfill")).first, refused);
  EXPECT_THAT(Call(world, &Stub::GetDefinition, Naming<v1::GetDefinitionRequest>("backfill")).first, refused);
  EXPECT_THAT(Call(world, &Stub::ListJobs, Naming<v1::ListJobsRequest>("backfill")).first, refused);
  EXPECT_THAT(Call(world, &Stub::ListEvents, Naming<v1::ListEventsRequest>("backfill")).first, refused);
  EXPECT_THAT(Call(world, &Stub::Enqueue, Naming<v1::EnqueueRequest>("backfill")).first, refused);
  EXPECT_THAT(Call(world, &Stub::Start, Naming<v1::StartRequest>("backfill")).first, refused);
  EXPECT_THAT(Call(world, &Stub::Pause, Naming<v1::PauseRequest>("backfill")).first, refused);
  EXPECT_THAT(Call(world, &Stub::Resume, Naming<v1::ResumeRequest>("backfill")).first, refused);
  EXPECT_THAT(Call(world, &Stub::Retry, Naming<v1::RetryRequest>("backfill")).first, refused);
  EXPECT_THAT(Call(world, &Stub::Accept, Naming<v1::AcceptRequest>("backfill")).first, refused);
  EXPECT_THAT(Call(world, &Stub::Cancel, Naming<v1::CancelRequest>("backfill")).first, refused);
  EXPECT_THAT(Call(world, &Stub::Cleanup, Naming<v1::CleanupRequest>("backfill")).first, refused);
  EXPECT_THAT(Call(world, &Stub::Delete, Naming<v1::DeleteRequest>("backfill")).first, refused);
  auto sizes = Naming<v1::SetBatchSizeRequest>("backfill");
  sizes.set_batch_size(10);
  EXPECT_THAT(Call(world, &Stub::SetBatchSize, sizes).first, refused);
}

TEST(RpcVerbsTest, ARefusalNamesTheStateAndCarriesAPreconditionFailure) {
  RpcWorld world;
  world.Add("one");
  world.MakeHalted("one", kHaltAttemptsExhausted);
  const auto [status, response] = Call(world, &Stub::Resume, Naming<v1::ResumeRequest>("one"));
  EXPECT_THAT(status, GrpcStatusIs(grpc::StatusCode::FAILED_PRECONDITION, "MIGRATION_STATE_INVALID",
                                   AllOf(HasSubstr("HALTED"), HasSubstr("Retry"))));
  const auto failure = DetailOf<google::rpc::PreconditionFailure>(status);
  ASSERT_TRUE(failure.has_value());
  ASSERT_EQ(failure->violations_size(), 1);
  EXPECT_EQ(failure->violations(0).subject(), "one");
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->domain(), "migrationcontrol");
  EXPECT_EQ(info->metadata().at("migration"), "one");
}

TEST(RpcVerbsTest, PauseResumeCancelRetryGoThroughTheirStates) {
  RpcWorld world;
  world.Add("one");
  world.MakeRunning("one");
  auto pause = Naming<v1::PauseRequest>("one");
  pause.set_reason("incident 42");
  EXPECT_EQ(Call(world, &Stub::Pause, pause, "alice").second.migration().state(), v1::STATE_PAUSING);
  EXPECT_EQ(world.Stored("one").migration.intent.reason, "incident 42");
  EXPECT_THAT(world.Stored("one").migration.intent.actor, StartsWith("alice (claimed)@ipv4:127.0.0.1"));
  EXPECT_EQ(Call(world, &Stub::Resume, Naming<v1::ResumeRequest>("one")).second.migration().state(), v1::STATE_RUNNING);
  EXPECT_EQ(Call(world, &Stub::Cancel, Naming<v1::CancelRequest>("one")).second.migration().state(),
            v1::STATE_CANCELLING);
  EXPECT_THAT(world.scheduler.interrupted(), SizeIs(2));
  EXPECT_EQ(world.Stored("one").migration.intent.actor, "anonymous@ipv4:127.0.0.1");
}

TEST(RpcVerbsTest, AnImmediatePauseTellsWhenItWasQuiet) {
  RpcWorld world;
  world.Add("one");
  world.MakeRunning("one");
  auto request = Naming<v1::PauseRequest>("one");
  request.set_immediate(true);
  const auto [status, response] = Call(world, &Stub::Pause, request);
  ASSERT_THAT(status, IsGrpcOk());
  EXPECT_EQ(response.migration().state(), v1::STATE_PAUSED);
  EXPECT_EQ(response.quiesced_at().seconds(), absl::ToUnixSeconds(FakeTarget::QuiescedAt()));
}

TEST(RpcVerbsTest, AnImmediatePauseWithTheTargetAwayIsUnavailableWithRetryInfo) {
  RpcWorld world;
  world.Add("one");
  world.MakeRunning("one");
  world.target->on_revoke = [](const TakeOverRequest&) { return absl::UnavailableError("no route to host"); };
  auto request = Naming<v1::PauseRequest>("one");
  request.set_immediate(true);
  const auto [status, response] = Call(world, &Stub::Pause, request);
  EXPECT_THAT(status, GrpcStatusIs(grpc::StatusCode::UNAVAILABLE, "DATABASE_UNAVAILABLE", HasSubstr("PAUSING")));
  EXPECT_TRUE(DetailOf<google::rpc::RetryInfo>(status).has_value());
}

TEST(RpcVerbsTest, RetryAcceptCleanupAndDelete) {
  RpcWorld world;
  world.Add("one");
  world.MakeHalted("one", kHaltRowsLeft);
  EXPECT_EQ(Call(world, &Stub::Accept, Naming<v1::AcceptRequest>("one")).second.migration().state(),
            v1::STATE_COMPLETED);
  ASSERT_THAT(Call(world, &Stub::Cleanup, Naming<v1::CleanupRequest>("one")).first, IsGrpcOk());
  EXPECT_TRUE(world.Stored("one").migration.cleanup_requested);
  EXPECT_EQ(Call(world, &Stub::Delete, Naming<v1::DeleteRequest>("one")).second.migration().name(), "one");
  EXPECT_EQ(Call(world, &Stub::Status, Naming<v1::StatusRequest>("one")).first.error_code(),
            grpc::StatusCode::NOT_FOUND);

  world.Add("two", "20261120093001");
  world.MakeHalted("two", kHaltAttemptsExhausted);
  auto retry = Naming<v1::RetryRequest>("two");
  retry.set_from(static_cast<v1::RetryFrom>(9));
  EXPECT_THAT(Call(world, &Stub::Retry, retry).first,
              GrpcStatusIs(grpc::StatusCode::INVALID_ARGUMENT, "REQUEST_INVALID", HasSubstr("from")));
  retry.set_from(v1::RETRY_FROM_START);
  EXPECT_EQ(Call(world, &Stub::Retry, retry).second.migration().state(), v1::STATE_RUNNING);
}

TEST(RpcVerbsTest, StartLetsAManualOneBegin) {
  RpcWorld world;
  world.Add("one", "20261120093000", "start: MANUAL\n");
  world.Publish();
  ASSERT_THAT(Call(world, &Stub::Start, Naming<v1::StartRequest>("one")).first, IsGrpcOk());
  EXPECT_TRUE(world.Stored("one").migration.start_requested);
}

TEST(RpcVerbsTest, SetBatchSizeShowsTheOverrideAndRefusesWhatDoesNotFit) {
  RpcWorld world;
  world.Add("one");
  auto request = Naming<v1::SetBatchSizeRequest>("one");
  request.set_batch_size(123);
  const auto [status, response] = Call(world, &Stub::SetBatchSize, request);
  ASSERT_THAT(status, IsGrpcOk());
  EXPECT_EQ(response.migration().batch_size(), 123);
  EXPECT_EQ(response.migration().batch_size_override().value(), 123);
  request.set_batch_size(-1);
  const auto refused = Call(world, &Stub::SetBatchSize, request).first;
  EXPECT_THAT(refused, GrpcStatusIs(grpc::StatusCode::INVALID_ARGUMENT, "REQUEST_INVALID", HasSubstr("-1")));
  const auto bad = DetailOf<google::rpc::BadRequest>(refused);
  ASSERT_TRUE(bad.has_value());
  EXPECT_EQ(bad->field_violations(0).field(), "batch_size");
  request.set_batch_size(50001);
  EXPECT_EQ(Call(world, &Stub::SetBatchSize, request).first.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(RpcVerbsTest, AnotherRevisionThanWasSeenIsAborted) {
  RpcWorld world;
  world.Add("one");
  auto request = Naming<v1::PauseRequest>("one");
  request.set_expected_revision(77);
  EXPECT_THAT(Call(world, &Stub::Pause, request).first,
              GrpcStatusIs(grpc::StatusCode::ABORTED, "REVISION_MISMATCH", HasSubstr("77")));
  request.set_expected_revision(-1);
  EXPECT_EQ(Call(world, &Stub::Pause, request).first.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_expected_revision(1);
  EXPECT_THAT(Call(world, &Stub::Pause, request).first, IsGrpcOk());
}

TEST(RpcVerbsTest, ARepeatedRequestIdAnswersAgainAndForAnotherVerbIsRefused) {
  RpcWorld world;
  world.Add("one");
  auto pause = Naming<v1::PauseRequest>("one");
  pause.set_request_id("r1");
  ASSERT_THAT(Call(world, &Stub::Pause, pause).first, IsGrpcOk());
  ASSERT_THAT(Call(world, &Stub::Resume, Naming<v1::ResumeRequest>("one")).first, IsGrpcOk());
  EXPECT_EQ(Call(world, &Stub::Pause, pause).second.migration().state(), v1::STATE_PENDING) << "was done once already";
  auto cancel = Naming<v1::CancelRequest>("one");
  cancel.set_request_id("r1");
  EXPECT_THAT(Call(world, &Stub::Cancel, cancel).first,
              GrpcStatusIs(grpc::StatusCode::ALREADY_EXISTS, "REQUEST_ID_REUSED", HasSubstr("r1")));
}

TEST(RpcVerbsTest, ValidateOnlyChangesNothing) {
  RpcWorld world;
  world.Add("one");
  const std::int64_t revision = world.Stored("one").migration.revision;
  auto cancel = Naming<v1::CancelRequest>("one");
  cancel.set_validate_only(true);
  EXPECT_THAT(Call(world, &Stub::Cancel, cancel).first, IsGrpcOk());
  EXPECT_EQ(world.Stored("one").migration.revision, revision);
  auto resume = Naming<v1::AcceptRequest>("one");
  resume.set_validate_only(true);
  EXPECT_EQ(Call(world, &Stub::Accept, resume).first.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST(RpcVerbsTest, TheControlStoreAwayIsUnavailableWithRetryInfo) {
  RpcWorld world;
  world.Add("one");
  world.store.set_available(false);
  const auto status = Call(world, &Stub::Cancel, Naming<v1::CancelRequest>("one")).first;
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(DetailOf<google::rpc::RetryInfo>(status).has_value());
  EXPECT_EQ(Call(world, &Stub::ListEvents, Naming<v1::ListEventsRequest>("one")).first.error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST(RpcVerbsTest, FreezeAndUnfreezeShowInList) {
  RpcWorld world;
  v1::FreezeRequest freeze;
  freeze.set_reason("Black Friday");
  const auto [status, response] = Call(world, &Stub::Freeze, freeze, "alice");
  ASSERT_THAT(status, IsGrpcOk());
  EXPECT_EQ(response.freeze().reason(), "Black Friday");
  EXPECT_THAT(Call(world, &Stub::List, v1::ListRequest()).second.freezes(), SizeIs(1));
  ASSERT_THAT(Call(world, &Stub::Unfreeze, v1::UnfreezeRequest()).first, IsGrpcOk());
  EXPECT_THAT(Call(world, &Stub::List, v1::ListRequest()).second.freezes(), IsEmpty());
  EXPECT_THAT(Call(world, &Stub::Unfreeze, v1::UnfreezeRequest()).first,
              GrpcStatusIs(grpc::StatusCode::NOT_FOUND, "FREEZE_NOT_FOUND", ::testing::_));
  freeze.set_target("mian");
  EXPECT_THAT(Call(world, &Stub::Freeze, freeze).first,
              GrpcStatusIs(grpc::StatusCode::INVALID_ARGUMENT, "REQUEST_INVALID", HasSubstr("main")));
}

TEST(RpcVerbsTest, EnqueueAFileThenTheSameThenAnother) {
  RpcWorld world;
  v1::EnqueueRequest request;
  request.mutable_file()->set_file_name("20261120093000_one.yaml");
  request.mutable_file()->set_content(DefinitionYaml());
  const auto [status, response] = Call(world, &Stub::Enqueue, request);
  ASSERT_THAT(status, IsGrpcOk());
  EXPECT_TRUE(response.created());
  EXPECT_EQ(response.migration().version(), "20261120093000");
  EXPECT_FALSE(Call(world, &Stub::Enqueue, request).second.created());
  request.mutable_file()->set_content(DefinitionYaml("pace: {batch_size: 5}\n"));
  EXPECT_THAT(Call(world, &Stub::Enqueue, request).first,
              GrpcStatusIs(grpc::StatusCode::ALREADY_EXISTS, "MIGRATION_EXISTS", HasSubstr("main/one")));
}

TEST(RpcVerbsTest, EnqueueAMessageIsTheSameAsAFile) {
  RpcWorld world;
  v1::EnqueueRequest request;
  request.mutable_inline_()->set_name("one");
  request.mutable_inline_()->set_version("20261120093000");
  auto& batch = *request.mutable_inline_()->mutable_definition()->mutable_sql_batch();
  batch.set_table("public.t");
  batch.set_where("NOT t.done");
  batch.set_statement("UPDATE t SET done = true WHERE {{batch}}");
  ASSERT_THAT(Call(world, &Stub::Enqueue, request).first, IsGrpcOk());
  v1::EnqueueRequest file;
  file.mutable_file()->set_file_name("20261120093000_one.yaml");
  file.mutable_file()->set_content(DefinitionYaml());
  EXPECT_FALSE(Call(world, &Stub::Enqueue, file).second.created());
}

TEST(RpcVerbsTest, EnqueueOfABadFileNamesEachPlace) {
  RpcWorld world;
  v1::EnqueueRequest request;
  request.mutable_file()->set_file_name("20261120093000_one.yaml");
  request.mutable_file()->set_content(
      "sql_batch:\n  table: t\n  statment: UPDATE t SET done = true WHERE {{batch}}\npace: {lanes: 99}\n");
  const auto status = Call(world, &Stub::Enqueue, request).first;
  EXPECT_THAT(status, GrpcStatusIs(grpc::StatusCode::INVALID_ARGUMENT, "DEFINITION_INVALID",
                                   HasSubstr("20261120093000_one.yaml:3:")));
  const auto bad = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_TRUE(bad.has_value());
  EXPECT_GE(bad->field_violations_size(), 2);
  EXPECT_THAT(world.board.Get()->migrations, IsEmpty());
}

TEST(RpcVerbsTest, EnqueueNeedsExactlyOneSource) {
  RpcWorld world;
  EXPECT_THAT(Call(world, &Stub::Enqueue, v1::EnqueueRequest()).first,
              GrpcStatusIs(grpc::StatusCode::INVALID_ARGUMENT, "REQUEST_INVALID", HasSubstr("exactly one")));
  auto both = Naming<v1::EnqueueRequest>("one");
  both.mutable_file();
  EXPECT_EQ(Call(world, &Stub::Enqueue, both).first.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST(RpcVerbsTest, InlineDefinitionsCanBeForbidden) {
  RpcWorld world(TestServerOptions(), {.allow_inline_definitions = false});
  v1::EnqueueRequest request;
  request.mutable_file()->set_file_name("20261120093000_one.yaml");
  request.mutable_file()->set_content(DefinitionYaml());
  EXPECT_THAT(Call(world, &Stub::Enqueue, request).first,
              GrpcStatusIs(grpc::StatusCode::PERMISSION_DENIED, "INLINE_DEFINITIONS_NOT_ALLOWED",
                           HasSubstr("--allow-inline-definitions")));
}

TEST(RpcVerbsTest, ValidateReportsProblemsInTheAnswerAndChecksTheTargetWhenAsked) {
  RpcWorld world;
  v1::ValidateRequest request;
  request.mutable_file()->set_file_name("one.yaml");
  request.mutable_file()->set_content(DefinitionYaml());
  const auto named = Call(world, &Stub::Validate, request);
  ASSERT_THAT(named.first, IsGrpcOk());
  EXPECT_FALSE(named.second.valid());
  ASSERT_THAT(named.second.problems(), SizeIs(1));
  EXPECT_EQ(named.second.problems(0).field(), "file_name");

  request.mutable_file()->set_file_name("20261120093000_one.yaml");
  const auto good = Call(world, &Stub::Validate, request);
  EXPECT_TRUE(good.second.valid());
  EXPECT_EQ(good.second.definition().pace().batch_size(), 1000) << "with every default filled in";
  EXPECT_THAT(world.target->calls(), IsEmpty());

  request.set_against_target(true);
  EXPECT_TRUE(Call(world, &Stub::Validate, request).second.valid());
  world.target->on_inspect = [](const TableName&) { return absl::NotFoundError("there is no table"); };
  EXPECT_FALSE(Call(world, &Stub::Validate, request).second.valid());
  world.target->on_inspect = [](const TableName&) { return absl::UnavailableError("no route to host"); };
  EXPECT_EQ(Call(world, &Stub::Validate, request).first.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(RpcVerbsTest, GetDefinitionIsAFileThatGivesTheSameDefinition) {
  RpcWorld world;
  world.Add("one");
  const auto [status, response] = Call(world, &Stub::GetDefinition, Naming<v1::GetDefinitionRequest>("one"));
  ASSERT_THAT(status, IsGrpcOk());
  EXPECT_EQ(response.name(), "one");
  EXPECT_EQ(DefinitionDigest(DefinitionOf(response.yaml())), DefinitionDigest(response.definition()));
}

TEST(RpcVerbsTest, JobsAndEventsComeInPagesWhoseTokensAreOfTheirQuery) {
  RpcWorld world;
  const MigrationId id = world.Add("one").migration.id;
  MD_ASSERT_OK_AND_ASSIGN(const auto lease, world.store.Claim(id, "host:1:x", absl::Minutes(1)));
  ProgressUpdate update;
  update.id = id;
  update.lease_token = lease->token;
  for (int i = 0; i < 5; ++i) {
    JobRecord job;
    job.rows = i;
    job.lower = {std::to_string(i)};
    job.outcome = "DONE";
    update.jobs.push_back(job);
  }
  MD_ASSERT_OK(world.store.RecordProgress({update}));
  auto request = Naming<v1::ListJobsRequest>("one");
  request.set_page_size(2);
  std::vector<std::int64_t> rows;
  std::string first_token;
  do {
    const auto [status, response] = Call(world, &Stub::ListJobs, request);
    ASSERT_THAT(status, IsGrpcOk());
    for (const v1::Job& job : response.jobs()) rows.push_back(job.rows());
    request.set_page_token(response.next_page_token());
    if (first_token.empty()) first_token = response.next_page_token();
  } while (!request.page_token().empty());
  EXPECT_THAT(rows, ::testing::ElementsAre(4, 3, 2, 1, 0));

  auto events = Naming<v1::ListEventsRequest>("one");
  events.set_page_token(first_token);
  EXPECT_THAT(Call(world, &Stub::ListEvents, events).first,
              GrpcStatusIs(grpc::StatusCode::INVALID_ARGUMENT, "REQUEST_INVALID", HasSubstr("another query")));
  events.clear_page_token();
  events.add_kinds("DEFINITION");
  EXPECT_THAT(Call(world, &Stub::ListEvents, events).second.events(), SizeIs(1));
  EXPECT_FALSE(Call(world, &Stub::ListEvents, v1::ListEventsRequest()).second.events().empty()) << "of all migrations";
}

TEST(RpcAccessTest, AViewerMayLookAndAnOperatorMayNotDelete) {
  RpcServerOptions options = TestServerOptions();
  options.anonymous_role = Role::kViewer;
  {
    RpcWorld world(options);
    world.Add("one");
    EXPECT_THAT(Call(world, &Stub::Status, Naming<v1::StatusRequest>("one")).first, IsGrpcOk());
    EXPECT_THAT(Call(world, &Stub::Pause, Naming<v1::PauseRequest>("one")).first,
                GrpcStatusIs(grpc::StatusCode::PERMISSION_DENIED, "ROLE_MISSING", HasSubstr("operator")));
  }
  options.anonymous_role = Role::kOperator;
  {
    RpcWorld world(options);
    world.Add("one");
    EXPECT_THAT(Call(world, &Stub::Pause, Naming<v1::PauseRequest>("one")).first, IsGrpcOk());
    EXPECT_EQ(Call(world, &Stub::Delete, Naming<v1::DeleteRequest>("one")).first.error_code(),
              grpc::StatusCode::PERMISSION_DENIED);
  }
  options.anonymous_role = Role::kNone;
  RpcWorld world(options);
  EXPECT_EQ(Call(world, &Stub::List, v1::ListRequest()).first.error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST(RpcVerbsTest, VerifyIsAskedForOnceAndShown) {
  RpcWorld world;
  world.Add("one");
  EXPECT_THAT(Call(world, &Stub::Verify, Naming<v1::VerifyRequest>("one")).first,
              GrpcStatusIs(grpc::StatusCode::FAILED_PRECONDITION, "MIGRATION_STATE_INVALID", HasSubstr("PENDING")));
  const StoredMigration completed = world.MakeCompleted("one");
  auto request = Naming<v1::VerifyRequest>("one");
  request.set_validate_only(true);
  ASSERT_THAT(Call(world, &Stub::Verify, request).first, IsGrpcOk());
  EXPECT_FALSE(world.Stored("one").migration.verification.has_value());
  request.set_validate_only(false);
  request.set_expected_revision(completed.migration.revision + 1);
  EXPECT_EQ(Call(world, &Stub::Verify, request).first.error_code(), grpc::StatusCode::ABORTED);
  request.set_expected_revision(completed.migration.revision);
  request.set_request_id("verify-1");
  const auto [status, asked] = Call(world, &Stub::Verify, request);
  ASSERT_THAT(status, IsGrpcOk());
  EXPECT_EQ(asked.migration().state(), v1::STATE_COMPLETED);
  EXPECT_TRUE(asked.migration().verification().has_requested_at());
  EXPECT_FALSE(asked.migration().verification().has_finished_at());
  EXPECT_THAT(asked.migration().verification().actor(), HasSubstr("anonymous"));
  // Again, by the same request and by another one.
  const auto again = Call(world, &Stub::Verify, request);
  ASSERT_THAT(again.first, IsGrpcOk());
  EXPECT_EQ(again.second.migration().revision(), asked.migration().revision());
  EXPECT_EQ(Call(world, &Stub::Verify, Naming<v1::VerifyRequest>("one")).second.migration().revision(), asked.migration().revision());
}

TEST(ActorTest, ShowsTheAddressWithoutPortAndOnlyPlainClaims) {
  EXPECT_EQ(ActorName("ipv4:10.0.0.1:4711", "", ""), "anonymous@ipv4:10.0.0.1");
  EXPECT_EQ(ActorName("ipv6:%5B::1%5D:4711", "", "bob"), "bob (claimed)@ipv6:%5B::1%5D");
  EXPECT_EQ(ActorName("unix:/run/migrationd.sock", "", "bob"), "bob (claimed)@unix:/run/migrationd.sock");
  EXPECT_EQ(ActorName("ipv4:10.0.0.1:4711", "", "two words"), "anonymous@ipv4:10.0.0.1");
  EXPECT_EQ(ActorName("ipv4:10.0.0.1:4711", "", std::string(65, 'x')), "anonymous@ipv4:10.0.0.1");
}

}  // namespace
}  // namespace migrationd
