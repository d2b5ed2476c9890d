// Roles and target scopes on a real server: what each handler does with them, rather than what the table says.
#include <filesystem>
#include <fstream>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "grpcpp/generic/generic_stub.h"
#include "tests/server/rpc/rpc_world.h"
#include "tests/support/status_matchers.h"
#include "tests/support/wait_until.h"

namespace migrationd {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

// Each token is the name of its entry.
constexpr char kTokens[] =
    "sha256:3c01eba119e00d79c82b6f65d70bc5f1044d568618bf41377e6d1432023fc2b8 look viewer\n"
    "sha256:00e13ed7af55b27622f1d6eab5bec0147e68efe28dc2b12461117afa1a5ed40e work operator\n"
    "sha256:7369949b47ef2c6ba26fbbee659cedc76123a75c17d321a52d8d1ef35e948042 rule admin\n";
constexpr char kScoped[] = "sha256:abc3d82314f3edc1385fc7b9b0b092c801b9db30cefdc11fe04ee4be9685cd6d scoped admin main away\n";

class RolesTest : public ::testing::Test {
 protected:
  RolesTest() {
    path_ = fs::temp_directory_path() / absl::StrCat("migrationd-roles-", getpid(), "-", ::testing::UnitTest::GetInstance()->current_test_info()->name());
    Write(absl::StrCat(kTokens, kScoped));
    auto opened = CredentialFile::Open(path_.string());
    EXPECT_TRUE(opened.ok()) << opened.status();
    credentials_ = *std::move(opened);
    RpcServerOptions options = TestServerOptions();
    options.anonymous_role = Role::kNone;
    options.credentials = credentials_.get();
    options.watch.heartbeat = absl::Milliseconds(50);
    ControllerOptions controller_options;
    controller_options.allow_inline_definitions = true;
    world_ = std::make_unique<RpcWorld>(options, controller_options);
    world_->targets["billing"] = std::make_shared<FakeTarget>("billing");
    world_->AddFile("ours", "20261120093000", DefinitionYaml("target: main\n"));
    world_->AddFile("theirs", "20261120093001", DefinitionYaml("target: billing\n"));
  }
  ~RolesTest() override {
    world_.reset();
    fs::remove(path_);
  }

  void Write(const std::string& text) {
    std::ofstream(path_.string() + ".new") << text;
    fs::rename(path_.string() + ".new", path_);
  }
  void Reload() {
    credentials_->Refresh();
    credentials_->Refresh();
  }

  static void Show(grpc::ClientContext& context, const std::string& token) {
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    if (!token.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", token));
  }

  // What the method says to that request; OK also when a stream says anything at all.
  grpc::Status Ask(const std::string& method, const google::protobuf::Message& request, const std::string& token) {
    grpc::GenericStub stub(world_->channel);
    grpc::CompletionQueue queue;
    grpc::ClientContext context;
    Show(context, token);
    const auto done = [&] {
      void* tag = nullptr;
      bool ok = false;
      queue.Next(&tag, &ok);
      return ok;
    };
    const auto stream = stub.PrepareCall(&context, absl::StrCat("/migrationcontrol.v1.MigrationControl/", method), &queue);
    stream->StartCall(nullptr);
    done();
    const std::string bytes = request.SerializeAsString();
    const grpc::Slice slice(bytes);
    stream->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
    done();
    grpc::ByteBuffer answer;
    stream->Read(&answer, nullptr);
    const bool answered = done();
    if (answered) context.TryCancel();
    grpc::Status status;
    stream->Finish(&status, nullptr);
    done();
    return answered ? grpc::Status::OK : status;
  }

  template <typename Request, typename Response>
  std::pair<grpc::Status, Response> As(const std::string& token, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                       const Request& request) {
    grpc::ClientContext context;
    Show(context, token);
    std::pair<grpc::Status, Response> result;
    result.first = (world_->stub.get()->*method)(&context, request, &result.second);
    return result;
  }

  fs::path path_;
  std::unique_ptr<CredentialFile> credentials_;
  std::unique_ptr<RpcWorld> world_;
};

bool IsRefusedForItsRole(const grpc::Status& status) { return !status.ok() && ReasonOf(status) == "ROLE_MISSING"; }

TEST_F(RolesTest, EachMethodOfTheServerRefusesEachRoleThatIsTooSmallAndNoOther) {
  const std::set<std::string> viewers = {"List", "Status", "GetDefinition", "Watch", "ListJobs", "ListEvents", "ListTargets", "Validate"};
  const std::set<std::string> admins = {"Delete"};
  const auto* service = v1::ListRequest::descriptor()->file()->FindServiceByName("MigrationControl");
  ASSERT_GE(service->method_count(), 19);
  const v1::ListRequest nothing;  // of any message
  for (int i = 0; i < service->method_count(); ++i) {
    const std::string method = service->method(i)->name();
    EXPECT_EQ(Ask(method, nothing, "").error_code(), grpc::StatusCode::UNAUTHENTICATED) << method;
    EXPECT_EQ(Ask(method, nothing, "unknown").error_code(), grpc::StatusCode::UNAUTHENTICATED) << method;
    const int least = viewers.count(method) != 0 ? 0 : admins.count(method) != 0 ? 2 : 1;
    const char* const tokens[] = {"look", "work", "rule"};
    for (int role = 0; role < 3; ++role) {
      const grpc::Status status = Ask(method, nothing, tokens[role]);
      EXPECT_EQ(IsRefusedForItsRole(status), role < least) << method << " as " << tokens[role] << ": " << status.error_message();
      EXPECT_EQ(status.error_code() == grpc::StatusCode::PERMISSION_DENIED, role < least) << method << " as " << tokens[role];
      // The message names what is needed for this method, and not for another.
      if (role < least) EXPECT_THAT(status.error_message(), HasSubstr(absl::StrCat(method, " needs the role")));
    }
  }
}

TEST_F(RolesTest, WhoOnlyLooksMayCheckTheFormOfADefinitionButNotAskATarget) {
  v1::ValidateRequest request;
  request.mutable_file()->set_file_name("20261120093005_inline.yaml");
  request.mutable_file()->set_content(DefinitionYaml(""));
  EXPECT_THAT(As("look", &Stub::Validate, request).first, IsGrpcOk());
  request.set_against_target(true);
  EXPECT_TRUE(IsRefusedForItsRole(As("look", &Stub::Validate, request).first));
  EXPECT_FALSE(IsRefusedForItsRole(As("work", &Stub::Validate, request).first));
}

TEST_F(RolesTest, ADefinitionInTheRequestNeedsAnAdmin) {
  v1::EnqueueRequest request;
  request.mutable_file()->set_file_name("20261120093005_inline.yaml");
  request.mutable_file()->set_content(DefinitionYaml("target: main\n"));
  EXPECT_EQ(Ask("Enqueue", request, "").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(IsRefusedForItsRole(Ask("Enqueue", request, "look")));
  EXPECT_TRUE(IsRefusedForItsRole(Ask("Enqueue", request, "work")));
  EXPECT_THAT(Ask("Enqueue", request, "rule"), IsGrpcOk());
  v1::PlanRequest plan;
  *plan.mutable_file() = request.file();
  EXPECT_EQ(Ask("Plan", plan, "").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(IsRefusedForItsRole(Ask("Plan", plan, "look")));
  EXPECT_TRUE(IsRefusedForItsRole(Ask("Plan", plan, "work")));
  EXPECT_THAT(Ask("Plan", plan, "rule"), IsGrpcOk());
}

TEST_F(RolesTest, AMigrationOfAForeignTargetIsAsUnknownAsOneThatDoesNotExist) {
  // Of any request that names a migration in its field 1.
  const auto naming = [](const std::string& name) { return Naming<v1::StatusRequest>(name); };
  const auto* service = v1::ListRequest::descriptor()->file()->FindServiceByName("MigrationControl");
  world_->AddFile("spare", "20261120093002", DefinitionYaml("target: main\n"));
  std::set<std::string> asked;
  for (int i = 0; i < service->method_count(); ++i) {
    const auto* field = service->method(i)->input_type()->FindFieldByName("migration");
    if (field == nullptr) continue;
    const std::string method = service->method(i)->name();
    ASSERT_EQ(field->number(), 1) << method;
    asked.insert(method);
    for (const auto& [foreign, absent] : std::vector<std::pair<std::string, std::string>>{
             {"theirs", "absent"}, {"billing/theirs", "billing/absent"}, {"billing/theirs", "nowhere/absent"}}) {
      const grpc::Status of_foreign = Ask(method, naming(foreign), "scoped");
      const grpc::Status of_absent = Ask(method, naming(absent), "scoped");
      EXPECT_EQ(of_absent.error_code(), grpc::StatusCode::NOT_FOUND) << method << ": " << of_absent.error_message();
      EXPECT_EQ(of_foreign.error_code(), of_absent.error_code()) << method << ": " << of_foreign.error_message();
      EXPECT_EQ(absl::StrReplaceAll(of_foreign.error_message(), {{foreign, "X"}}),
                absl::StrReplaceAll(of_absent.error_message(), {{absent, "X"}}))
          << method;
      EXPECT_EQ(absl::StrReplaceAll(of_foreign.error_details(), {{foreign, "X"}}).find("billing"), std::string::npos) << method;
    }
    EXPECT_NE(Ask(method, naming(method == "Delete" ? "spare" : "ours"), "scoped").error_code(), grpc::StatusCode::NOT_FOUND) << method;
  }
  for (const char* method : {"Watch", "Status", "GetDefinition", "ListEvents", "ListJobs", "Enqueue", "Delete", "Pause"}) {
    EXPECT_EQ(asked.count(method), 1U) << method;
  }
}

TEST_F(RolesTest, WhatIsListedIsOfTheCallersTargetsOnly) {
  v1::ListRequest request;
  const auto listed = As("scoped", &Stub::List, request).second;
  ASSERT_EQ(listed.migrations_size(), 1);
  EXPECT_EQ(listed.migrations(0).name(), "ours");
  request.set_target("billing");
  const auto of_foreign = As("scoped", &Stub::List, request);
  request.set_target("nowhere");
  const auto of_absent = As("scoped", &Stub::List, request);
  EXPECT_EQ(of_foreign.first.error_code(), of_absent.first.error_code());
  EXPECT_EQ(of_foreign.second.migrations_size(), 0);
  // Of what it may see; a page of one row at a time leaves nothing out.
  v1::ListEventsRequest events;
  EXPECT_GT(As("rule", &Stub::ListEvents, events).second.events_size(), 1);
  events.set_page_size(1);
  int seen = 0;
  do {
    const auto [status, page] = As("scoped", &Stub::ListEvents, events);
    ASSERT_THAT(status, IsGrpcOk());
    for (const v1::Event& event : page.events()) EXPECT_EQ(event.target(), "main") << event.ShortDebugString();
    seen += page.events_size();
    events.set_page_token(page.next_page_token());
  } while (!events.page_token().empty());
  EXPECT_GT(seen, 0);
}

TEST_F(RolesTest, FreezeAndDefinitionsForOtherTargetsAreRefusedWithoutNamingThem) {
  const char* const token = "scoped";
  for (const char* target : {"billing", "nowhere", "away", ""}) {
    v1::FreezeRequest freeze;
    freeze.set_target(target);
    const grpc::Status frozen = As(token, &Stub::Freeze, freeze).first;
    EXPECT_FALSE(frozen.ok()) << target;
    v1::UnfreezeRequest unfreeze;
    unfreeze.set_target(target);
    const grpc::Status unfrozen = As(token, &Stub::Unfreeze, unfreeze).first;
    v1::EnqueueRequest enqueue;
    enqueue.mutable_file()->set_file_name("20261120093005_inline.yaml");
    enqueue.mutable_file()->set_content(DefinitionYaml(*target == '\0' ? "" : absl::StrCat("target: ", target, "\n")));
    const grpc::Status enqueued = As(token, &Stub::Enqueue, enqueue).first;
    EXPECT_FALSE(enqueued.ok()) << target;
    v1::PlanRequest plan;
    *plan.mutable_file() = enqueue.file();
    const auto planned = As(token, &Stub::Plan, plan);
    EXPECT_FALSE(planned.first.ok()) << target;
    v1::ValidateRequest validate;
    *validate.mutable_file() = enqueue.file();
    validate.set_against_target(true);
    const auto validated = As(token, &Stub::Validate, validate);
    for (const std::string& message : {frozen.error_message(), unfrozen.error_message(), enqueued.error_message(),
                                       planned.first.error_message(),
                                       validated.first.error_message(), validated.second.ShortDebugString()}) {
      if (std::string(target) != "billing") EXPECT_THAT(message, Not(HasSubstr("billing"))) << target;
    }
  }
  v1::FreezeRequest freeze;
  freeze.set_target("nowhere");
  EXPECT_THAT(As("rule", &Stub::Freeze, freeze).first.error_message(), HasSubstr("billing, main")) << "who may see all is told all";
  freeze.set_target("main");
  EXPECT_THAT(As("scoped", &Stub::Freeze, freeze).first, IsGrpcOk());
}

// One open watch of `token`.
class Watching {
 public:
  Watching(RpcWorld& world, const std::string& token, const v1::WatchRequest& request = {}) {
    context_.set_deadline(std::chrono::system_clock::now() + kPatience);
    context_.AddMetadata("authorization", absl::StrCat("Bearer ", token));
    reader_ = world.stub->Watch(&context_, request);
  }
  ~Watching() {
    context_.TryCancel();
    if (reader_ != nullptr) End();
  }
  // The next one that says something; nullopt: it is over.
  std::optional<v1::WatchResponse> Next() {
    v1::WatchResponse response;
    while (reader_->Read(&response)) {
      if (!response.heartbeat()) return response;
    }
    return std::nullopt;
  }
  // Still open: it says at least something once more.
  bool Beats() {
    v1::WatchResponse response;
    return reader_->Read(&response);
  }
  grpc::Status End() {
    v1::WatchResponse rest;
    while (reader_->Read(&rest)) {
    }
    const grpc::Status status = reader_->Finish();
    reader_.reset();
    return status;
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::WatchResponse>> reader_;
};

TEST_F(RolesTest, AWatchTellsNothingOfForeignTargetsNorOfWhatWasDeletedThere) {
  Watching all(*world_, "look");
  Watching scoped(*world_, "scoped");
  v1::WatchRequest of_foreign;
  of_foreign.set_target("billing");
  Watching foreign(*world_, "scoped", of_foreign);
  const auto snapshot = scoped.Next();
  ASSERT_TRUE(snapshot.has_value());
  ASSERT_EQ(snapshot->migrations_size(), 1);
  EXPECT_EQ(snapshot->migrations(0).name(), "ours");
  const auto nothing = foreign.Next();
  ASSERT_TRUE(nothing.has_value());
  EXPECT_EQ(nothing->migrations_size(), 0);
  ASSERT_TRUE(all.Next().has_value());

  // Deleted, the foreign one first.
  for (const char* name : {"billing/theirs", "main/ours"}) {
    auto request = Naming<v1::DeleteRequest>(name);
    request.set_acknowledge_leftovers(true);
    auto cancel = Naming<v1::CancelRequest>(name);
    ASSERT_THAT(As("rule", &Stub::Cancel, cancel).first, IsGrpcOk());
    ASSERT_THAT(As("rule", &Stub::Delete, request).first, IsGrpcOk());
  }
  std::set<std::string> told;
  while (told.count("main/ours") == 0) {
    const auto next = scoped.Next();
    ASSERT_TRUE(next.has_value());
    for (const auto& migration : next->migrations()) EXPECT_EQ(migration.target(), "main");
    told.insert(next->deleted().begin(), next->deleted().end());
  }
  EXPECT_EQ(told, std::set<std::string>{"main/ours"});
  std::set<std::string> all_told;
  while (all_told.size() < 2) {
    const auto next = all.Next();
    ASSERT_TRUE(next.has_value());
    all_told.insert(next->deleted().begin(), next->deleted().end());
  }
}

TEST_F(RolesTest, ATokenThatIsTakenBackEndsItsWatches) {
  Watching look(*world_, "look");
  Watching work(*world_, "work");
  Watching scoped(*world_, "scoped");
  for (Watching* watching : {&look, &work, &scoped}) ASSERT_TRUE(watching->Next().has_value());
  // look is gone, work is promoted, scoped sees something else.
  Write(
      "sha256:00e13ed7af55b27622f1d6eab5bec0147e68efe28dc2b12461117afa1a5ed40e work admin\n"
      "sha256:abc3d82314f3edc1385fc7b9b0b092c801b9db30cefdc11fe04ee4be9685cd6d scoped admin billing\n");
  Reload();
  EXPECT_EQ(look.End().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  const grpc::Status changed = scoped.End();
  EXPECT_EQ(changed.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(changed.error_message(), HasSubstr("watch again"));
  EXPECT_TRUE(work.Beats() && work.Beats()) << "one that may still watch all that it watched goes on";
}

}  // namespace
}  // namespace migrationd
