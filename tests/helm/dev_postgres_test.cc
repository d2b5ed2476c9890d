// The throw-away PostgreSQL: never by default, apart from everything, and the URLs fit it.
#include "absl/strings/str_cat.h"
#include "tests/helm/chart.h"

namespace migrationd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr char kName[] = "migrationd-dev-postgres";

class DevPostgresTest : public ChartTest {};

TEST_F(DevPostgresTest, IsNotThereByDefault) {
  EXPECT_THAT(Render().result.out, Not(HasSubstr("dev-postgres")));
}

TEST_F(DevPostgresTest, TheServerReadsItsUrlsAndBothKnowThePassword) {
  const Rendered rendered = Render("devPostgres: {enabled: true}\ntargets: [main, billing-eu]");
  const YAML::Node secret = rendered.Get("Secret", kName);
  const std::string password = Text(secret, "stringData.password");
  EXPECT_THAT(password, MatchesRegex("[A-Za-z0-9]{32}"));
  const std::string url = absl::StrCat("postgresql://postgres:", password, "@migrationd-dev-postgres.infra.svc:5432/");
  EXPECT_EQ(Text(secret, "stringData.control-url"), url + "migrationd_control?sslmode=disable");
  EXPECT_EQ(Text(secret, "stringData.target-main"), url + "main?sslmode=disable");
  EXPECT_EQ(Text(secret, "stringData.target-billing-eu"), url + "billing-eu?sslmode=disable");
  EXPECT_EQ(Text(Named(At(rendered.Deployment(), "spec.template.spec.volumes"), "secret"), "secret.secretName"), kName);

  const YAML::Node pod = At(rendered.Get("Deployment", kName), "spec.template.spec");
  EXPECT_EQ(Text(Named(At(pod, "containers.0.env"), "POSTGRES_PASSWORD_FILE"), "value"), "/etc/postgres-password/password");
  EXPECT_EQ(Text(Named(At(pod, "containers.0.env"), "POSTGRES_DB"), "value"), "migrationd_control");
  EXPECT_EQ(Text(Named(At(pod, "volumes"), "password"), "secret.secretName"), kName);
  EXPECT_TRUE(At(Named(At(pod, "volumes"), "data"), "emptyDir").IsDefined());
  const std::string sql = Show(At(rendered.Get("ConfigMap", kName), "data"));
  EXPECT_THAT(sql, HasSubstr("CREATE DATABASE \"main\""));
  EXPECT_THAT(sql, HasSubstr("CREATE DATABASE \"billing-eu\""));
  EXPECT_EQ(Text(rendered.Get("Service", kName), "spec.ports.0.port"), "5432");
}

TEST_F(DevPostgresTest, APasswordIsMadeUpEachTimeUnlessItIsGiven) {
  const std::string values = "devPostgres: {enabled: true}";
  EXPECT_NE(Text(Render(values).Get("Secret", kName), "stringData.password"),
            Text(Render(values).Get("Secret", kName), "stringData.password"));
  EXPECT_EQ(Text(Render("devPostgres: {enabled: true, password: abc123}").Get("Secret", kName), "stringData.password"), "abc123");
}

// The image reads password and databases only when it makes the database.
TEST_F(DevPostgresTest, IsMadeAnewWhenPasswordOrTargetsChange) {
  const auto checksum = [&](const std::string& more) {
    return Show(At(Render(absl::StrCat("devPostgres: {enabled: true, password: abc123}\n", more)).Get("Deployment", kName),
                   "spec.template.metadata.annotations")["checksum/config"]);
  };
  EXPECT_EQ(checksum(""), checksum("replicaCount: 3"));
  EXPECT_NE(checksum(""), checksum("targets: [main, billing]"));
}

TEST_F(DevPostgresTest, OnlyTheServerReachesIt) {
  const Rendered rendered = Render("devPostgres: {enabled: true}\nnetworkPolicy: {postgresPorts: []}");
  const YAML::Node policy = rendered.Get("NetworkPolicy", kName);
  EXPECT_THAT(Texts(At(policy, "spec.policyTypes")), ElementsAre("Ingress", "Egress"));
  EXPECT_FALSE(At(policy, "spec.egress").IsDefined());
  EXPECT_EQ(At(policy, "spec.ingress").size(), 1u);
  EXPECT_EQ(Show(At(policy, "spec.ingress.0.from.0.podSelector.matchLabels")["app.kubernetes.io/component"]), "server");
  const YAML::Node egress = At(rendered.Get("NetworkPolicy", "migrationd"), "spec.egress");
  ASSERT_EQ(egress.size(), 2u);
  EXPECT_EQ(Show(At(egress[1], "to.0.podSelector.matchLabels")["app.kubernetes.io/component"]), "dev-postgres");
}

TEST_F(DevPostgresTest, ExcludesDatabasesThatMatter) {
  EXPECT_THAT(Refusal("devPostgres: {enabled: true}\nexistingSecret: databases"), HasSubstr("exclude each other"));
  EXPECT_THAT(Refusal("devPostgres: {enabled: true}\nauth: {tokens: {enabled: true}}"), HasSubstr("needs auth.tokens.existingSecret"));
  EXPECT_EQ(Refusal("devPostgres: {enabled: true}\nauth: {tokens: {enabled: true, existingSecret: callers}}"), "");
}

}  // namespace
}  // namespace migrationd
