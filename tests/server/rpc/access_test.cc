// Who may do what: the table, the file of credentials, and how a call is matched with it.
#include "server/rpc/access.h"

#include "absl/strings/str_cat.h"
#include "server/rpc/authenticator.h"
#include "server/rpc/credential_file.h"
#include "tests/support/status_matchers.h"
#include "migrationcontrol/v1/migration_control.pb.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;

// SHA-256 of "secret-1".
constexpr char kFirst[] = "f7e7c36e458e80e6b6a2c67d0a9ec09bd718dadd7bfa8d6bf6e7ad526e46c2f7";

Principal Having(Role role, bool authenticated = true) {
  Principal principal;
  principal.actor = "ci@ipv4:10.0.0.1";
  principal.role = role;
  principal.authenticated = authenticated;
  return principal;
}

Credentials Parsed(const std::string& text) {
  auto credentials = ParseCredentials("tokens", text);
  EXPECT_TRUE(credentials.ok()) << credentials.status();
  return credentials.ok() ? *credentials : Credentials();
}

TEST(AccessTable, KnowsEveryMethodOfTheService) {
  const auto* service = migrationcontrol::v1::ListRequest::descriptor()->file()->FindServiceByName("MigrationControl");
  ASSERT_NE(service, nullptr);
  ASSERT_GE(service->method_count(), 19);
  for (int i = 0; i < service->method_count(); ++i) {
    EXPECT_NE(RoleFor(service->method(i)->name()), Role::kNone) << service->method(i)->name() << ": nobody may call it";
  }
  EXPECT_EQ(RoleFor("DropDatabase"), Role::kNone);
  EXPECT_FALSE(CheckAccess(Having(Role::kAdmin), "DropDatabase").ok()) << "what is not in the table, nobody may call";
}

TEST(AccessTable, EachRoleMayDoWhatTheSmallerOnesMayAndNoMore) {
  const auto* service = migrationcontrol::v1::ListRequest::descriptor()->file()->FindServiceByName("MigrationControl");
  for (int i = 0; i < service->method_count(); ++i) {
    const std::string method = service->method(i)->name();
    const bool reads = (method.starts_with("List") && method != "ListFailures") || method == "Status" || method == "Watch" || method == "GetDefinition" || method == "Validate";
    const Role least = reads ? Role::kViewer : method == "Delete" ? Role::kAdmin : Role::kOperator;
    for (const Role role : {Role::kNone, Role::kViewer, Role::kOperator, Role::kAdmin}) {
      EXPECT_EQ(CheckAccess(Having(role), method).ok(), role >= least) << method << " as " << RoleName(role);
    }
  }
  EXPECT_FALSE(CheckAccess(Having(Role::kOperator), kEnqueueDefinition).ok());
  EXPECT_TRUE(CheckAccess(Having(Role::kAdmin), kEnqueueDefinition).ok());
  EXPECT_FALSE(CheckAccess(Having(Role::kOperator), kPlanDefinition).ok()) << "it runs the statement, though it takes it back";
  EXPECT_TRUE(CheckAccess(Having(Role::kAdmin), kPlanDefinition).ok());
}

TEST(AccessTable, TellsWhoIsUnknownFromWhoMayNot) {
  EXPECT_THAT(CheckAccess(Having(Role::kNone, false), "List"), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("Bearer")));
  EXPECT_THAT(CheckAccess(Having(Role::kViewer), "Pause"), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("operator")));
}

TEST(CredentialFile, HasALineForEachCaller) {
  const Credentials credentials = Parsed(absl::StrCat("# who may call\n\nsha256:", kFirst, "  deploy operator main billing # both\r\n",
                                                      "cert:sre.example.org sre admin\n"));
  ASSERT_EQ(credentials.size(), 2U);
  const Credential* deploy = FindToken(credentials, "secret-1");
  ASSERT_NE(deploy, nullptr);
  EXPECT_EQ(deploy->name, "deploy");
  EXPECT_EQ(deploy->role, Role::kOperator);
  EXPECT_EQ(deploy->targets, (std::set<std::string>{"main", "billing"}));
  EXPECT_EQ(FindToken(credentials, "secret-2"), nullptr);
  EXPECT_EQ(FindToken(credentials, kFirst), nullptr) << "the hash is no token";
  EXPECT_EQ(FindToken(credentials, ""), nullptr);
  ASSERT_NE(FindCertificate(credentials, "sre.example.org"), nullptr);
  EXPECT_FALSE(FindCertificate(credentials, "sre.example.org")->targets.has_value());
  EXPECT_EQ(FindCertificate(credentials, "sre.example.org.evil"), nullptr);
}

TEST(CredentialFile, SaysWhereItIsWrongAndNeverRepeatsACredential) {
  for (const auto& [line, expected] : std::vector<std::pair<std::string, std::string>>{
           {"secret-1 deploy operator", "sha256:HEX"},
           {"sha256:abc deploy operator", "64 hex digits"},
           {"cert: deploy operator", "a name"},
           {absl::StrCat("sha256:", kFirst, " deploy"), "CREDENTIAL NAME ROLE"},
           {absl::StrCat("sha256:", kFirst, " deploy root"), "viewer, operator or admin"},
           {absl::StrCat("sha256:", kFirst, " a viewer\nsha256:", kFirst, " b viewer"), "second time"}}) {
    const auto parsed = ParseCredentials("tokens", "\n" + line);
    ASSERT_FALSE(parsed.ok()) << line;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(expected));
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(line.find('\n') == std::string::npos ? "tokens:2" : "tokens:3"));
    EXPECT_EQ(parsed.status().message().find("secret-1"), std::string::npos);
  }
}

TEST(Identify, ByTokenThenByCertificateThenAnonymous) {
  const Credentials credentials = Parsed(absl::StrCat("sha256:", kFirst, " deploy operator main\ncert:spiffe://a/sre sre admin\n"));
  CallFacts facts;
  facts.peer = "ipv4:10.0.0.7:4711";
  auto anonymous = Identify(credentials, Role::kViewer, facts);
  ASSERT_TRUE(anonymous.ok());
  EXPECT_EQ(anonymous->role, Role::kViewer);
  EXPECT_FALSE(anonymous->authenticated);
  EXPECT_EQ(anonymous->actor, "anonymous@ipv4:10.0.0.7");

  facts.certificate_names = {"sre.example.org", "spiffe://a/sre"};
  facts.claimed_user = "alice";
  auto sre = Identify(credentials, Role::kNone, facts);
  ASSERT_TRUE(sre.ok());
  EXPECT_EQ(sre->role, Role::kAdmin);
  EXPECT_TRUE(sre->authenticated);
  EXPECT_EQ(sre->actor, "sre for alice (claimed)@ipv4:10.0.0.7");

  facts.authorization = "bearer secret-1";
  auto deploy = Identify(credentials, Role::kNone, facts);
  ASSERT_TRUE(deploy.ok());
  EXPECT_EQ(deploy->role, Role::kOperator) << "the token outranks the certificate";
  EXPECT_TRUE(deploy->MaySee("main"));
  EXPECT_FALSE(deploy->MaySee("billing"));
}

TEST(Identify, NeverFallsBackFromAWrongToken) {
  CallFacts facts;
  facts.certificate_names = {"sre"};
  for (const char* authorization : {"Bearer secret-2", "Basic c2VjcmV0", "Bearer ", ""}) {
    facts.authorization = authorization;
    EXPECT_THAT(Identify(Parsed(absl::StrCat("sha256:", kFirst, " a admin\ncert:sre sre admin\n")), Role::kAdmin, facts),
                StatusIs(absl::StatusCode::kUnauthenticated, ::testing::_))
        << authorization;
  }
}

TEST(Identify, ACertificateThatNoLineNamesHasTheRoleOfStrangersButItsName) {
  CallFacts facts;
  facts.peer = "ipv4:10.0.0.7:4711";
  facts.certificate_names = {"unknown.example.org"};
  const auto principal = Identify(Credentials(), Role::kViewer, facts);
  ASSERT_TRUE(principal.ok());
  EXPECT_EQ(principal->role, Role::kViewer);
  EXPECT_EQ(principal->actor, "unknown.example.org@ipv4:10.0.0.7");
}

TEST(CheckTarget, HoldsScopedCallersToTheirTargets) {
  Principal scoped = Having(Role::kAdmin);
  scoped.targets = {{"main"}};
  MD_EXPECT_OK(CheckTarget(scoped, "main"));
  EXPECT_THAT(CheckTarget(scoped, "billing"), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("main only")));
  EXPECT_THAT(CheckTarget(scoped, ""), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("all targets")));
  MD_EXPECT_OK(CheckTarget(Having(Role::kViewer), ""));
}

}  // namespace
}  // namespace migrationd
