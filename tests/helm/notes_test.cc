// NOTES.txt. `helm template` renders it and shows it not, `helm install` shows it and wants a cluster: so a copy of the chart has it in a ConfigMap.
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/helm/chart.h"

namespace migrationd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class NotesTest : public ChartTest {
 protected:
  void SetUp() override {
    ChartTest::SetUp();
    copy_ = folder() + "/chart";
    std::filesystem::copy(ChartFolder(), copy_, std::filesystem::copy_options::recursive);
    std::ofstream(copy_ + "/templates/_notes.tpl")
        << "{{ define \"notes\" }}" << ReadFile(ChartFolder() + "/templates/NOTES.txt") << "{{ end }}\n";
    std::ofstream(copy_ + "/templates/notes.yaml")
        << "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: notes}\ndata:\n  text: |-\n{{ include \"notes\" . | trim | indent 4 }}\n";
  }
  std::string Notes(const std::string& values) {
    return Text(Render(RenderOptions{.values = values, .folder = copy_}).Get("ConfigMap", "notes"), "data.text");
  }

 private:
  std::string copy_;
};

constexpr char kList[] = " localhost:50051 migrationcontrol.v1.MigrationControl/List\n";

TEST_F(NotesTest, HaveTheGrpcurlLineForWhatWasInstalled) {
  EXPECT_THAT(Notes(""), HasSubstr(absl::StrCat("\n  grpcurl -plaintext", kList)));
  EXPECT_THAT(Notes("service: {port: 443}"), HasSubstr("kubectl -n infra port-forward svc/migrationd 50051:443 &\n"));
  const std::string tls = Notes("tls: {enabled: true, existingSecret: certificate}");
  EXPECT_THAT(tls, HasSubstr("get secret certificate -o jsonpath='{.data.ca\\.crt}' | base64 -d > ca.crt\n"));
  EXPECT_THAT(tls, HasSubstr(absl::StrCat("\n  grpcurl -cacert ca.crt -authority migrationd.infra.svc", kList)));
  EXPECT_THAT(Notes("tls: {enabled: true, clientCa: true}"),
              HasSubstr(absl::StrCat("-authority migrationd.infra.svc -cert client.crt -key client.key", kList)));
  EXPECT_THAT(Notes("auth: {anonymousRole: none, tokens: {enabled: true}}"),
              HasSubstr(absl::StrCat("grpcurl -plaintext -H \"authorization: Bearer $TOKEN\"", kList)));
}

TEST_F(NotesTest, SayWhichSecretsThePodsWaitFor) {
  const std::string notes = Notes("targets: [main, billing]\ntls: {enabled: true}");
  EXPECT_THAT(notes, HasSubstr("create secret generic migrationd "));
  for (const char* key : {"--from-literal=control-url='", "--from-literal=target-main='", "--from-literal=target-billing='"})
    EXPECT_THAT(notes, HasSubstr(key));
  EXPECT_THAT(notes, HasSubstr("The pods wait for the Secret migrationd-tls"));
  const std::string existing = Notes("existingSecret: databases");
  EXPECT_THAT(existing, HasSubstr("The Secret databases must hold the keys control-url, target-main.\n"));
  EXPECT_THAT(existing, Not(HasSubstr("create secret")));
}

TEST_F(NotesTest, WarnOfWhatIsTooOpenAndOfWhatIsShut) {
  EXPECT_THAT(Notes(""), HasSubstr("NOBODY MAY START OR STOP ANYTHING YET"));
  EXPECT_THAT(Notes("auth: {tokens: {enabled: true}}"), HasSubstr("TOKENS TRAVEL IN THE CLEAR"));
  const std::string safe = Notes("auth: {anonymousRole: none, tokens: {enabled: true}}\ntls: {enabled: true}");
  for (const char* warning : {"NOBODY MAY", "IN THE CLEAR", "WHOEVER", "TRYING OUT"}) EXPECT_THAT(safe, Not(HasSubstr(warning)));
  EXPECT_THAT(Notes("auth: {anonymousRole: operator}"), HasSubstr("WHOEVER REACHES THE SERVICE MAY CONTROL MIGRATIONS"));
  EXPECT_THAT(Notes("devPostgres: {enabled: true}"), HasSubstr("FOR TRYING OUT ONLY"));
}

TEST_F(NotesTest, SayWhoTheNetworkPolicyLetsIn) {
  EXPECT_THAT(Notes(""), HasSubstr("lets this namespace's pods call it and this namespace's pods read its metrics."));
  EXPECT_THAT(Notes("networkPolicy: {grpcFrom: [], metricsFrom: []}"), HasSubstr("lets everybody call it and everybody read its metrics."));
  const std::string peers = "[{namespaceSelector: {matchLabels: {a: b}}}]";
  EXPECT_THAT(Notes(absl::StrCat("networkPolicy: {grpcFrom: ", peers, ", metricsFrom: ", peers, "}")),
              HasSubstr("lets the peers of networkPolicy.grpcFrom call it and the peers of networkPolicy.metricsFrom read its metrics."));
  EXPECT_THAT(Notes("networkPolicy: {enabled: false}"), Not(HasSubstr("NetworkPolicy")));

  // A Prometheus in another namespace, where most are, is not let in by the default.
  const char kShut[] = "PROMETHEUS MAY NOT GET THROUGH";
  EXPECT_THAT(Notes("serviceMonitor: {enabled: true}"), HasSubstr(kShut));
  EXPECT_THAT(Notes(""), Not(HasSubstr(kShut)));
  EXPECT_THAT(Notes("serviceMonitor: {enabled: true}\nnetworkPolicy: {enabled: false}"), Not(HasSubstr(kShut)));
  EXPECT_THAT(Notes(absl::StrCat("serviceMonitor: {enabled: true}\nnetworkPolicy: {metricsFrom: ", peers, "}")), Not(HasSubstr(kShut)));
}

// Who may not see a target with its token sees it without.
TEST_F(NotesTest, WarnOfTargetsOfATokenThatNothingEnforces) {
  const char kVoid[] = "TARGETS IN THE TOKENS FILE HIDE NOTHING: a caller who leaves its token away is \"viewer\" on all targets.";
  EXPECT_THAT(Notes("auth: {tokens: {enabled: true}}"), HasSubstr(kVoid));
  EXPECT_THAT(Notes("auth: {anonymousRole: operator, tokens: {enabled: true}}"), HasSubstr("is \"operator\" on all targets."));
  EXPECT_THAT(Notes("auth: {anonymousRole: none, tokens: {enabled: true}}"), Not(HasSubstr("HIDE NOTHING")));
  EXPECT_THAT(Notes(""), Not(HasSubstr("HIDE NOTHING"))) << "nobody has a token";
}

TEST_F(NotesTest, SayWhatHelmTestNeeds) {
  const char kTest[] = "  helm -n infra test migrationd --logs\n";
  EXPECT_THAT(Notes(""), HasSubstr(kTest));
  const std::string without = Notes("tls: {enabled: true, clientCa: true}");
  EXPECT_THAT(without, Not(HasSubstr(kTest)));
  EXPECT_THAT(without, HasSubstr("There is no pod for `helm test`: it needs a client certificate, by tests.clientCertificate.existingSecret."));
  EXPECT_THAT(Notes("tls: {enabled: true, clientCa: true}\ntests: {clientCertificate: {existingSecret: tester}}"), HasSubstr(kTest));
  EXPECT_THAT(Notes("tls: {enabled: true, clientCa: true}\ntests: {enabled: false}"), Not(HasSubstr("helm test")));
}

TEST_F(NotesTest, FitEverySetOfValues) {
  for (const ValuesCase& values : Matrix()) {
    const std::string notes = Notes(values.values);
    EXPECT_THAT(notes, HasSubstr("grpcurl")) << values.name;
    EXPECT_THAT(notes, Not(HasSubstr("\n\n\n"))) << values.name << "\n" << notes;
    EXPECT_THAT(notes, Not(HasSubstr("<no value>"))) << values.name;
  }
}

#ifdef MIGRATIONCTL_PROGRAM
// What somebody types at three in the morning works as it is written.
TEST_F(NotesTest, AndReadmeAndAlertsNameCommandsOfMigrationctlThatExist) {
  const CommandResult help = Run({MIGRATIONCTL_PROGRAM, "--help"});
  ASSERT_EQ(help.exit_status, 0) << help.err;
  int found = 0;
  for (const char* file : {"/README.md", "/templates/NOTES.txt", "/files/alerts.yaml"}) {
    const std::string text = ReadFile(ChartFolder() + file);
    static const std::regex kCommand(R"(migrationctl ([a-z][a-z-]*)((?: [A-Z]+(?:\.\.\.)?| --[a-z-]+)*))");
    for (std::sregex_iterator command(text.begin(), text.end(), kCommand), end; command != end; ++command, ++found) {
      const std::string name = (*command)[1];
      EXPECT_THAT(help.out, HasSubstr(absl::StrCat("\n  ", name, " "))) << file << ": " << command->str();
      const std::string usage = Run({MIGRATIONCTL_PROGRAM, name, "--help"}).out;
      for (const std::string& word : std::vector<std::string>(absl::StrSplit((*command)[2].str(), ' ', absl::SkipEmpty()))) {
        EXPECT_THAT(usage, HasSubstr(absl::StrCat(" ", word))) << file << ": " << command->str();
      }
    }
  }
  EXPECT_GT(found, 15);
}
#endif

TEST_F(NotesTest, UseFlagsOfGrpcurlThatExist) {
  std::string grpcurl;
  Need("grpcurl", grpcurl);
  if (grpcurl.empty()) return;
  const CommandResult help = Run({grpcurl, "-help"});
  const std::string notes =
      absl::StrCat(Notes("auth: {anonymousRole: none, tokens: {enabled: true}}\ntls: {enabled: true, clientCa: true}"), Notes(""));
  static const std::regex kFlag(R"(\n  grpcurl [^\n]*)");
  std::set<std::string> flags;
  for (std::sregex_iterator line(notes.begin(), notes.end(), kFlag), end; line != end; ++line) {
    for (const std::string& word : std::vector<std::string>(absl::StrSplit(line->str(), ' '))) {
      if (absl::StartsWith(word, "-")) flags.insert(word);
    }
  }
  EXPECT_THAT(flags, testing::ElementsAre("-H", "-authority", "-cacert", "-cert", "-key", "-plaintext"));
  for (const std::string& flag : flags) EXPECT_THAT(help.out + help.err, HasSubstr(absl::StrCat("\n  ", flag))) << flag;
}

}  // namespace
}  // namespace migrationd
