// Plan over the wire: what is refused, and that the answer has everything.
#include "tests/server/rpc/rpc_world.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Rehearsal Answer() {
  Rehearsal rehearsal;
  rehearsal.role = "migrator";
  rehearsal.control_schema = true;
  rehearsal.may_make_temporary = true;
  rehearsal.to_do = {500, kEstimatedByCount};
  rehearsal.bound_index = "t_pkey";
  rehearsal.statements = {{"work", "UPDATE t", {"Update on t", "  ->  Index Scan"}, {{"public.big", 20'000}}, {}}};
  rehearsal.sample = SampleOutcome{.rows = 100, .matched = 90, .still_matched = 0, .affected = 90, .took = absl::Microseconds(2500),
                                   .look = absl::Milliseconds(1), .wal_bytes = 9000};
  return rehearsal;
}

v1::PlanRequest OfFile(const std::string& content) {
  v1::PlanRequest request;
  request.mutable_file()->set_file_name("20261120093000_fill.yaml");
  request.mutable_file()->set_content(content);
  return request;
}

TEST(PlanTest, TheAnswerHasWhatWasFound) {
  RpcWorld world;
  world.target->on_rehearse = [](const RehearsalRequest&) { return Answer(); };
  const auto [status, plan] = Call(world, &Stub::Plan, OfFile(DefinitionYaml()));
  ASSERT_THAT(status, IsGrpcOk());
  EXPECT_TRUE(plan.feasible());
  ASSERT_EQ(plan.findings_size(), 1);
  EXPECT_EQ(plan.findings(0).severity(), v1::Finding::SEVERITY_WARNING);
  EXPECT_EQ(plan.findings(0).code(), "SEQUENTIAL_SCAN");
  EXPECT_EQ(plan.migration(), "main/fill");
  EXPECT_EQ(plan.table(), "public.t");
  EXPECT_THAT(plan.key(), ElementsAre("id"));
  EXPECT_EQ(plan.rows().in_table(), 1000);
  EXPECT_EQ(plan.rows().to_do(), 500);
  EXPECT_EQ(plan.rows().method(), "COUNT");
  EXPECT_EQ(plan.bound_index(), "t_pkey");
  ASSERT_EQ(plan.statements_size(), 1);
  EXPECT_EQ(plan.statements(0).name(), "work");
  EXPECT_EQ(plan.statements(0).sql(), "UPDATE t");
  EXPECT_THAT(plan.statements(0).plan(), ElementsAre("Update on t", "  ->  Index Scan"));
  EXPECT_EQ(plan.sample().rows(), 100);
  EXPECT_EQ(plan.sample().matched(), 90);
  EXPECT_EQ(plan.sample().affected(), 90);
  EXPECT_EQ(plan.sample().took().nanos(), 2'500'000);
  EXPECT_EQ(plan.sample().wal_bytes(), 9000);
  EXPECT_TRUE(plan.has_estimated_duration());
  EXPECT_THAT(plan.estimate(), HasSubstr("500 rows"));
  EXPECT_EQ(plan.definition().pace().batch_size(), 1000) << "with its defaults";
}

TEST(PlanTest, OneOfNameFileAndMessageIsWanted) {
  RpcWorld world;
  EXPECT_THAT(Call(world, &Stub::Plan, v1::PlanRequest()).first,
              GrpcStatusIs(grpc::StatusCode::INVALID_ARGUMENT, "REQUEST_INVALID",
                           HasSubstr("exactly one of migration, file and inline; got 0")));
  v1::PlanRequest both = OfFile(DefinitionYaml());
  both.set_migration("fill");
  EXPECT_EQ(Call(world, &Stub::Plan, both).first.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(Call(world, &Stub::Plan, OfFile("sql_batch: {table: t, wher: x}")).first,
              GrpcStatusIs(grpc::StatusCode::INVALID_ARGUMENT, "DEFINITION_INVALID", HasSubstr("wher")));
  EXPECT_EQ(Call(world, &Stub::Plan, Naming<v1::PlanRequest>("absent")).first.error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(PlanTest, DefinitionsAreRefusedWhereEnqueueRefusesThem) {
  ControllerOptions options;
  options.allow_inline_definitions = false;
  RpcWorld world(TestServerOptions(), options);
  EXPECT_THAT(Call(world, &Stub::Plan, OfFile(DefinitionYaml())).first,
              GrpcStatusIs(grpc::StatusCode::PERMISSION_DENIED, "INLINE_DEFINITIONS_NOT_ALLOWED", HasSubstr("--allow-inline-definitions")));
  world.Add("fill");
  EXPECT_THAT(Call(world, &Stub::Plan, Naming<v1::PlanRequest>("fill")).first, IsGrpcOk());
}

}  // namespace
}  // namespace migrationd
