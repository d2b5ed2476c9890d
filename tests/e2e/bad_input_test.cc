// Everything that is refused: with a precise error, and with target and control store as they were before.
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/end_to_end.h"

namespace migrationd {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Stub = v1::MigrationControl::Stub;

class BadInput : public EndToEnd {
 protected:
  void SetUp() override {
    target().Run(
        "CREATE TABLE counter (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO counter (id) SELECT "
        "generate_series(1, 100);"
        "CREATE TABLE loose (id bigint, n int, CONSTRAINT something CHECK (id > 0)); CREATE INDEX ON loose (id); "
        "INSERT INTO loose VALUES (1, 1), (1, 2)");
    ServerFixtureOptions options = Options();
    options.more_flags = {"--allow-inline-definitions"};
    StartServer(options);
    control_ = std::make_unique<Sql>(control_url_);
  }

  absl::StatusOr<v1::EnqueueResponse> EnqueueFile(const std::string& file_name, const std::string& yaml) {
    v1::EnqueueRequest request;
    request.mutable_file()->set_file_name(file_name);
    request.mutable_file()->set_content(yaml);
    return Call(server(), &Stub::Enqueue, request);
  }
  // Problems that Validate finds on the target, as one text; what the call failed with when it did.
  std::string ProblemsOnTarget(const std::string& yaml) {
    v1::ValidateRequest request;
    request.mutable_file()->set_file_name("20260101000000_checked.yaml");
    request.mutable_file()->set_content(yaml);
    request.set_against_target(true);
    const auto response = Call(server(), &Stub::Validate, request);
    if (!response.ok()) return response.status().ToString();
    std::string all = response->valid() ? "valid" : "";
    for (const v1::Problem& problem : response->problems())
      absl::StrAppend(&all, problem.field(), ": ", problem.message(), "\n");
    return all;
  }

  std::unique_ptr<Sql> control_;
};

TEST_F(BadInput, ADefinitionThatBreaksARuleIsRefusedAndNothingIsKept) {
  struct Case {
    std::string what;
    std::string file_name;
    std::string yaml;
    std::string message;
  };
  const std::string good_statement = "  statement: UPDATE counter SET n = 1 WHERE {{batch}}\n";
  const std::vector<Case> cases = {
      {"two statements", "20260101000000_bad.yaml",
       "sql_batch:\n  table: counter\n  statement: \"UPDATE counter SET n = 1 WHERE {{batch}}; DELETE FROM counter\"\n",
       "sql_batch.statement"},
      {"no {{batch}}", "20260101000000_bad.yaml",
       "sql_batch:\n  table: counter\n  statement: UPDATE counter SET n = 1\n", "{{batch}}"},
      {"no statement", "20260101000000_bad.yaml", "sql_batch:\n  table: counter\n", "sql_batch.statement"},
      {"no table", "20260101000000_bad.yaml", "sql_batch:\n" + good_statement, "sql_batch.table"},
      {"no kind", "20260101000000_bad.yaml", "description: nothing\n", "sql_batch"},
      {"an unknown field", "20260101000000_bad.yaml", "sql_batch:\n  table: counter\n  colour: red\n" + good_statement,
       "colour"},
      {"batch_size 0", "20260101000000_bad.yaml",
       "sql_batch:\n  table: counter\n" + good_statement + "pace: {batch_size: 0}\n", "pace.batch_size"},
      {"batch_size above the maximum", "20260101000000_bad.yaml",
       "sql_batch:\n  table: counter\n" + good_statement + "pace: {batch_size: 200, max_batch_size: 100}\n",
       "pace.batch_size"},
      {"sub_batch_size above batch_size", "20260101000000_bad.yaml",
       "sql_batch:\n  table: counter\n" + good_statement + "pace: {batch_size: 10, sub_batch_size: 11}\n",
       "pace.sub_batch_size"},
      {"17 lanes", "20260101000000_bad.yaml", "sql_batch:\n  table: counter\n" + good_statement + "pace: {lanes: 17}\n",
       "pace.lanes"},
      {"a name without a version", "bad.yaml", "sql_batch:\n  table: counter\n" + good_statement, "bad.yaml"},
      {"an unknown target", "20260101000000_bad.yaml",
       "target: elsewhere\nsql_batch:\n  table: counter\n" + good_statement, "main"},
  };
  const std::string control = control_->Fingerprint();
  const std::string data = target().Fingerprint();
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    EXPECT_THAT(EnqueueFile(c.file_name, c.yaml), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
  }
  EXPECT_EQ(control_->Fingerprint(), control);
  EXPECT_EQ(target().Fingerprint(), data);
}

TEST_F(BadInput, WhatTheTargetDoesNotAllowIsSaidByValidateAndHaltsBeforeTheFirstWrite) {
  struct Case {
    std::string name;
    std::string yaml;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"missing_table", "sql_batch:\n  table: nowhere\n  statement: UPDATE nowhere SET n = 1 WHERE {{batch}}\n",
       "nowhere"},
      {"no_primary_key", "sql_batch:\n  table: loose\n  statement: UPDATE loose SET n = 1 WHERE {{batch}}\n", "key"},
      {"key_not_unique",
       "sql_batch:\n  table: loose\n  key: [id]\n  statement: UPDATE loose SET n = 1 WHERE {{batch}}\n", "unique"},
      {"missing_key_column",
       "sql_batch:\n  table: counter\n  key: [nothing]\n  statement: UPDATE counter SET n = 1 WHERE {{batch}}\n",
       "nothing"},
      {"missing_column", "sql_batch:\n  table: counter\n  statement: UPDATE counter SET nothing = 1 WHERE {{batch}}\n",
       "nothing"},
      {"syntax_error", "sql_batch:\n  table: counter\n  statement: UPDATE counter SETT n = 1 WHERE {{batch}}\n",
       "syntax error"},
      {"missing_destination", "copy_columns:\n  table: counter\n  columns: [{from: n, to: n_big}]\n", "n_big"},
  };
  const std::string data = target().Fingerprint("'migration_control'");
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_THAT(ProblemsOnTarget(c.yaml), AllOf(HasSubstr(c.message), ::testing::Not(HasSubstr("valid"))))
        << "Validate";
    Define(c.name, c.yaml);
    ASSERT_TRUE(WaitUntil([&] {
      v1::StatusRequest request;
      request.set_migration(c.name);
      return Call(server(), &Stub::Status, request).ok();
    }));
    EXPECT_TRUE(HaltsWith(c.name, "PREFLIGHT_FAILED"));
    EXPECT_THAT(Get(c.name).halt().message(), HasSubstr(c.message));
    EXPECT_FALSE(Get(c.name).has_started_at());
    std::remove(absl::StrCat(server().migrations(), "/20260101000000_", c.name, ".yaml").c_str());
  }
  EXPECT_EQ(target().Fingerprint("'migration_control'"), data) << "a refused migration changed a table";
  if (target().True("SELECT to_regclass('migration_control.owner') IS NOT NULL")) {
    EXPECT_EQ(target().Number("SELECT count(*) FROM migration_control.owner"), 0);
  }
}

TEST_F(BadInput, AnUnknownMigrationIsNotFoundWithCandidates) {
  Define("count_rows", absl::StrCat(CounterYaml(), "start: MANUAL\n"));
  ASSERT_TRUE(WaitUntil([&] {
    v1::StatusRequest request;
    request.set_migration("count_rows");
    return Call(server(), &Stub::Status, request).ok();
  }));
  const std::string control = control_->Text("SELECT string_agg(m::text, ';') FROM migrationd.migration m");
  EXPECT_THAT(Pause("count_rowz"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("count_rows")));
  EXPECT_THAT(Retry("nothing_like_it"), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(SetBatchSize("nothing_like_it", 100), StatusIs(absl::StatusCode::kNotFound, _));
  for (const char* verb :
       {"status", "pause", "resume", "retry", "cancel", "start", "accept", "cleanup", "show", "jobs"}) {
    const CommandResult result = Migrationctl({verb, "nothing_like_it"});
    EXPECT_EQ(result.exit_status, 3) << verb << ": " << result.out << result.err;
  }
  EXPECT_EQ(control_->Text("SELECT string_agg(m::text, ';') FROM migrationd.migration m"), control);
}

TEST_F(BadInput, AVerbThatIsImpossibleInTheStateIsRefusedNamingStateAndVerbs) {
  Define("count_rows", CounterYaml({.batch_size = 1000, .sub_batch_size = 100}));
  ASSERT_TRUE(WaitUntil([&] { return RowsDone("count_rows") == 100; }));
  ASSERT_TRUE(Reaches("count_rows", v1::STATE_COMPLETED));
  const std::string control = control_->Text("SELECT string_agg(m::text, ';') FROM migrationd.migration m");
  const std::string data = target().Fingerprint();
  const auto refused =
      StatusIs(absl::StatusCode::kFailedPrecondition, AllOf(HasSubstr("COMPLETED"), HasSubstr("Cleanup")));
  EXPECT_THAT(Pause("count_rows"), refused);
  EXPECT_THAT(Pause("count_rows", /*immediate=*/true), refused);
  EXPECT_THAT(Resume("count_rows"), refused);
  EXPECT_THAT(Retry("count_rows"), refused);
  EXPECT_THAT(SetBatchSize("count_rows", 100), refused);
  v1::CancelRequest cancel;
  cancel.set_migration("count_rows");
  EXPECT_THAT(Call(server(), &Stub::Cancel, cancel), refused);
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"pause", "count_rows"},
                                             {"resume", "count_rows"},
                                             {"retry", "count_rows"},
                                             {"cancel", "count_rows"},
                                             {"set-batch-size", "count_rows", "10"}}) {
    const CommandResult result = Migrationctl(command);
    EXPECT_EQ(result.exit_status, 1) << command[0];
    EXPECT_THAT(result.err, HasSubstr("COMPLETED"));
  }
  EXPECT_EQ(control_->Text("SELECT string_agg(m::text, ';') FROM migrationd.migration m"), control);
  EXPECT_EQ(target().Fingerprint(), data);
}

TEST_F(BadInput, AMutationOfWhatWasNotSeenIsAbortedAndARepeatedOneDoesNothingTwice) {
  Define("count_rows", absl::StrCat(CounterYaml(), "start: MANUAL\n"));
  ASSERT_TRUE(WaitUntil([&] {
    v1::StatusRequest request;
    request.set_migration("count_rows");
    return Call(server(), &Stub::Status, request).ok();
  }));
  const std::int64_t revision = Get("count_rows").revision();
  v1::SetBatchSizeRequest request;
  request.set_migration("count_rows");
  request.set_batch_size(70);
  request.set_expected_revision(revision + 1);
  EXPECT_THAT(Call(server(), &Stub::SetBatchSize, request), StatusIs(absl::StatusCode::kAborted, _));
  EXPECT_EQ(Get("count_rows").revision(), revision);
  request.set_expected_revision(revision);
  request.set_request_id("once");
  const auto first = Call(server(), &Stub::SetBatchSize, request);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->migration().batch_size(), 70);
  EXPECT_THAT(SetBatchSize("count_rows", 80), IsOk());
  const auto again = Call(server(), &Stub::SetBatchSize, request);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->migration().batch_size(), 80) << "it was done again";
  v1::PauseRequest pause;
  pause.set_migration("count_rows");
  pause.set_request_id("once");
  EXPECT_THAT(Call(server(), &Stub::Pause, pause), StatusIs(absl::StatusCode::kAlreadyExists, _));
  // Looking is not doing.
  request.clear_expected_revision();
  request.set_request_id("");
  request.set_batch_size(90);
  request.set_validate_only(true);
  const std::int64_t before = Get("count_rows").revision();
  EXPECT_THAT(Call(server(), &Stub::SetBatchSize, request), IsOk());
  EXPECT_EQ(Get("count_rows").batch_size(), 80);
  EXPECT_EQ(Get("count_rows").revision(), before);
}

TEST(BadConfiguration, ExitsWith78AndNamesThePlace) {
  TempFolder folder;
  const std::string file = folder.path() + "/migrationd.yaml";
  struct Case {
    std::string yaml;
    std::vector<std::string> flags;
    std::string place;
  };
  const std::vector<std::string> control = {"--control-url", "postgresql:///nowhere"};
  const std::vector<Case> cases = {
      {"",
       {"--control-url", "postgresql:///nowhere", "--target", "main=postgresql:///nowhere", "--lease-ttl", "0s"},
       "--lease-ttl"},
      {"", {"--control-url", "postgresql:///nowhere", "--target", "main"}, "--target"},
      {"",
       {"--control-url", "postgresql:///nowhere", "--target", "main=postgresql:///nowhere", "--listen", "nonsense"},
       "--listen"},
      {"", {"--control-url", "postgresql:///nowhere"}, "--target"},
      {"", {"--target", "main=postgresql:///nowhere"}, "--control-url"},
      {"control_url: postgresql:///nowhere\nlisten: 127.0.0.1:1\nworkers: many\n", {}, file + ":3"},
      {"control_url: postgresql:///nowhere\ncolour: red\n", {}, file + ":2"},
      {"targets:\n  main: {urll: x}\n", {}, file + ":2"},
      {"listen: [\n", {}, file},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.place);
    std::ofstream(file) << c.yaml;
    std::vector<std::string> command = {MigrationdProgram()};
    if (!c.yaml.empty()) command.insert(command.end(), {"--config", file});
    command.insert(command.end(), c.flags.begin(), c.flags.end());
    MD_ASSERT_OK_AND_ASSIGN(const CommandResult result, RunCommand(command, absl::Seconds(20)));
    EXPECT_EQ(result.exit_status, 78) << result.out << result.err;
    EXPECT_THAT(result.err, HasSubstr(c.place));
  }
}

}  // namespace
}  // namespace migrationd
