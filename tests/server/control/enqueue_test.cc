#include "tests/server/control/control_world.h"
#include "tests/support/native_probe.h"
#include "tests/support/status_matchers.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

Controller::EnqueueArguments Inline(const std::string& name, const std::string& extra = "") {
  Controller::EnqueueArguments arguments;
  arguments.name = DefinitionName{"20261120093000", name};
  arguments.definition = DefinitionOf(DefinitionYaml(extra));
  arguments.start_given = extra.find("start:") != std::string::npos;
  return arguments;
}

Controller::EnqueueArguments Named(const std::string& migration) {
  Controller::EnqueueArguments arguments;
  arguments.migration = migration;
  return arguments;
}

TEST(EnqueueTest, AnInlineDefinitionBecomesAMigrationOfTheOnlyTarget) {
  ControlWorld world;
  MD_ASSERT_OK_AND_ASSIGN(
      const auto result,
      world.controller.Enqueue(Inline("one", "pace: {batch_size: 500}\nlabels: {team: ci}\n"), By("alice")));
  EXPECT_TRUE(result.created);
  const Migration& m = result.migration.migration;
  EXPECT_EQ(m.target, "main");
  EXPECT_EQ(m.sizes.batch_size, 500);
  EXPECT_THAT(m.labels, ElementsAre(Pair("team", "ci")));
  EXPECT_TRUE(m.start_requested);
  EXPECT_TRUE(m.enqueued);
  EXPECT_EQ(m.intent.actor, "alice");
  MD_EXPECT_OK(Resolve(*world.board.Get(), "main/one"));
}

TEST(EnqueueTest, TheSameAgainIsReturnedAndStartsNothing) {
  ControlWorld world;
  MD_ASSERT_OK(world.controller.Enqueue(Inline("one", "start: MANUAL\n"), By("alice")));
  const std::int64_t revision = world.Stored("one").migration.revision;
  MD_ASSERT_OK_AND_ASSIGN(const auto again, world.controller.Enqueue(Inline("one", "start: MANUAL\n"), By("alice")));
  EXPECT_FALSE(again.created);
  EXPECT_FALSE(again.migration.migration.start_requested);
  EXPECT_EQ(again.migration.migration.revision, revision);
}

TEST(EnqueueTest, StartMakesAManualOneBegin) {
  ControlWorld world;
  MD_ASSERT_OK(world.controller.Enqueue(Inline("one", "start: MANUAL\n"), By("alice")));
  Controller::EnqueueArguments arguments = Inline("one", "start: MANUAL\n");
  arguments.start = true;
  MD_ASSERT_OK_AND_ASSIGN(const auto started, world.controller.Enqueue(arguments, By("alice")));
  EXPECT_TRUE(started.migration.migration.start_requested);
  world.MakeCompleted("one");
  MD_EXPECT_OK(world.controller.Enqueue(arguments, By("alice")))
      << "asking again after the end is answered with the end";
}

TEST(EnqueueTest, ANativeClassMustBeRegisteredAndLikeItsParameters) {
  const auto natives = ProbeRegistry(IncrementN);
  ControllerOptions options;
  options.natives = natives.get();
  ControlWorld world(options);
  Controller::EnqueueArguments arguments = Inline("one");
  arguments.definition = DefinitionOf("native: {class: prob, parameters: {table: t}}\n");
  EXPECT_THAT(world.controller.Enqueue(arguments, By("alice")),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("native.class: 'prob' is not registered"), HasSubstr("registered: probe"))));
  EXPECT_THAT(world.controller.RegisterCatalogFile("/c/20261120093000_one.yaml", {"20261120093000", "one"}, arguments.definition),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("registered: probe")));
  arguments.definition = DefinitionOf("native: {class: probe, parameters: {table: t, n: 3}}\n");
  EXPECT_THAT(world.controller.Enqueue(arguments, By("alice")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("native.parameters.n: is not known")));
  arguments.definition = DefinitionOf("native: {class: probe, parameters: {table: t}}\n");
  MD_EXPECT_OK(world.controller.Enqueue(arguments, By("alice")));
}

TEST(EnqueueTest, AnotherDefinitionUnderAKnownNameIsAlreadyExists) {
  ControlWorld world;
  MD_ASSERT_OK(world.controller.Enqueue(Inline("one"), By("alice")));
  EXPECT_THAT(
      world.controller.Enqueue(Inline("one", "pace: {batch_size: 7}\n"), By("alice")),
      StatusIs(absl::StatusCode::kAlreadyExists, AllOf(HasSubstr("main/one"), HasSubstr("another definition"))));
}

TEST(EnqueueTest, OtherParametersThanTheFirstTimeAreAlreadyExists) {
  ControlWorld world;
  Controller::EnqueueArguments arguments = Inline("one");
  arguments.definition = DefinitionOf(ParameterYaml());
  arguments.parameters = {{"tenant", "1"}};
  MD_ASSERT_OK(world.controller.Enqueue(arguments, By("alice")));
  MD_EXPECT_OK(world.controller.Enqueue(arguments, By("alice")));
  arguments.parameters = {{"tenant", "2"}};
  EXPECT_THAT(world.controller.Enqueue(arguments, By("alice")),
              StatusIs(absl::StatusCode::kAlreadyExists, AllOf(HasSubstr("main/one"), HasSubstr("parameters"))));
  EXPECT_THAT(world.Stored("one").migration.parameters, ElementsAre(Pair("tenant", "1")));
}

TEST(EnqueueTest, InlineDefinitionsCanBeForbidden) {
  ControlWorld world({.allow_inline_definitions = false});
  EXPECT_THAT(world.controller.Enqueue(Inline("one"), By("alice")),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("--allow-inline-definitions")));
  EXPECT_THAT(world.board.Get()->migrations, IsEmpty());
}

TEST(EnqueueTest, AnUnknownTargetNamesTheKnownOnes) {
  ControlWorld world;
  EXPECT_THAT(world.controller.Enqueue(Inline("one", "target: mian\n"), By("alice")),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("mian"), HasSubstr("main"))));
}

TEST(EnqueueTest, WithoutATargetAndSeveralConfiguredNamesThem) {
  ControlWorld world;
  world.targets["second"] = std::make_shared<FakeTarget>("second");
  EXPECT_THAT(world.controller.Enqueue(Inline("one"), By("alice")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("main, second")));
}

TEST(EnqueueTest, ValidateOnlyKeepsNothing) {
  ControlWorld world;
  MutationContext context = By("alice");
  context.validate_only = true;
  MD_ASSERT_OK_AND_ASSIGN(const auto preview, world.controller.Enqueue(Inline("one"), context));
  EXPECT_TRUE(preview.created);
  EXPECT_EQ(preview.migration.migration.name, "one");
  MD_ASSERT_OK_AND_ASSIGN(const auto snapshot, world.store.Load());
  EXPECT_THAT(snapshot.migrations, IsEmpty());
  EXPECT_THAT(world.board.Get()->migrations, IsEmpty());
}

TEST(EnqueueTest, ACatalogueFileWithAParameterWaitsForItsValue) {
  ControlWorld world;
  EXPECT_FALSE(world.AddFile("one", "20261120093000", ParameterYaml()).migration.start_requested);
  EXPECT_THAT(world.controller.Enqueue(Named("one"), By("alice")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tenant")));
  Controller::EnqueueArguments arguments = Named("one");
  arguments.parameters = {{"tenant", "5"}};
  arguments.pause_after_rows = 100;
  MD_ASSERT_OK_AND_ASSIGN(const auto result, world.controller.Enqueue(arguments, By("alice")));
  EXPECT_FALSE(result.created);
  EXPECT_TRUE(result.migration.migration.enqueued);
  EXPECT_TRUE(result.migration.migration.start_requested) << "its definition begins by itself";
  EXPECT_EQ(result.migration.migration.pause_after_rows, 100);
  EXPECT_THAT(result.migration.migration.parameters, ElementsAre(Pair("tenant", "5")));
}

TEST(EnqueueTest, AManualCatalogueFileIsEnqueuedAndStillWaitsForStart) {
  ControlWorld world;
  EXPECT_FALSE(world.Add("one", "20261120093000", "start: MANUAL\n").migration.enqueued);
  MD_ASSERT_OK_AND_ASSIGN(const auto result, world.controller.Enqueue(Named("one"), By("alice")));
  EXPECT_TRUE(result.migration.migration.enqueued);
  EXPECT_FALSE(result.migration.migration.start_requested);
}

TEST(CatalogTest, DefaultStartManualHoldsOnlyFilesThatDoNotSay) {
  ControlWorld world({.default_start_manual = true});
  MD_ASSERT_OK_AND_ASSIGN(const auto silent,
                          world.controller.RegisterCatalogFile("/catalog/a", {"20261120093000", "silent"},
                                                               DefinitionOf(DefinitionYaml()), /*start_given=*/false));
  EXPECT_FALSE(silent.migration.migration.start_requested);
  MD_ASSERT_OK_AND_ASSIGN(const auto saying, world.controller.RegisterCatalogFile(
                                                 "/catalog/b", {"20261120093001", "saying"},
                                                 DefinitionOf(DefinitionYaml("start: AUTO\n")), /*start_given=*/true));
  EXPECT_TRUE(saying.migration.migration.start_requested);
}

TEST(CatalogTest, SizesFollowTheDefinition) {
  ControlWorld world;
  const Sizes plain = world.Add("plain").migration.sizes;
  EXPECT_EQ(plain.batch_size, 1000);
  EXPECT_EQ(plain.sub_batch_size, 1000) << "the servo may take it up to batch_size";
  EXPECT_EQ(plain.max_batch_size, 50000);
  const Sizes given =
      world.Add("given", "20261120093001", "pace: {batch_size: 60000, sub_batch_size: 50}\n").migration.sizes;
  EXPECT_EQ(given.sub_batch_size, 50);
  EXPECT_EQ(given.max_batch_size, 60000);
}

}  // namespace
}  // namespace migrationd
