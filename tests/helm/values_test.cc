// values.yaml, its schema and the README say the same; and what is not known is refused.
#include <regex>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/helm/chart.h"

namespace migrationd {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

std::string Join(const std::string& path, const std::string& key) { return path.empty() ? key : absl::StrCat(path, ".", key); }

// Maps whose keys are the user's own, or Kubernetes': their parts have no names of ours.
const std::set<std::string>& OpenMaps() {
  static const auto* const maps = new std::set<std::string>{
      "affinity.nodeAffinity", "affinity.podAffinity", "affinity.podAntiAffinity", "commonLabels", "dashboard.annotations",
      "dashboard.labels", "devPostgres.resources.limits", "devPostgres.resources.requests", "global", "headlessService.annotations",
      "nodeSelector", "podAnnotations", "podLabels", "prometheusRule.alertLabels", "prometheusRule.annotations", "prometheusRule.labels",
      "resources.limits", "resources.requests", "service.annotations", "serviceAccount.annotations", "serviceMonitor.annotations",
      "serviceMonitor.labels"};
  return *maps;
}

class ValuesTest : public ChartTest {
 protected:
  ValuesTest()
      : values_(YAML::LoadFile(ChartFolder() + "/values.yaml")), schema_(YAML::LoadFile(ChartFolder() + "/values.schema.json")) {}

  // The paths of all values that are no maps, or empty ones.
  static void Leaves(const YAML::Node& node, const std::string& path, std::vector<std::string>& leaves) {
    if (!node.IsMap() || node.size() == 0) {
      leaves.push_back(path);
      return;
    }
    for (const auto& entry : node) Leaves(entry.second, Join(path, entry.first.Scalar()), leaves);
  }
  std::vector<std::string> Leaves() const {
    std::vector<std::string> leaves;
    Leaves(values_, "", leaves);
    return leaves;
  }
  // The paths of the tables of the README.
  static std::vector<std::string> Described() {
    std::vector<std::string> described;
    static const std::regex kRow(R"(^\| `([A-Za-z.]+)` \|)");
    std::smatch match;
    const std::string readme = ReadFile(ChartFolder() + "/README.md");
    for (const std::string& line : std::vector<std::string>(absl::StrSplit(readme.substr(readme.find("\n## Values")), '\n'))) {
      if (std::regex_search(line, match, kRow)) described.push_back(match[1]);
    }
    return described;
  }
  // Paths of maps in the schema that take no other keys, and of those that do.
  static void Maps(const YAML::Node& schema, const std::string& path, std::set<std::string>& closed, std::set<std::string>& open) {
    if (Text(schema, "type") == "object") (Text(schema, "additionalProperties") == "false" ? closed : open).insert(path);
    const YAML::Node properties = At(schema, "properties");
    for (const std::string& key : Keys(properties)) Maps(properties[key], Join(path, key), closed, open);
  }

  const YAML::Node values_;
  const YAML::Node schema_;
};

TEST_F(ValuesTest, EachIsDescribedInTheReadmeByItselfOrWithTheMapItIsPartOf) {
  const std::vector<std::string> described = Described();
  ASSERT_GT(described.size(), 50u);
  for (const std::string& leaf : Leaves()) {
    bool found = false;
    for (const std::string& path : described) found = found || leaf == path || absl::StartsWith(leaf, path + ".");
    EXPECT_TRUE(found) << "README.md does not describe " << leaf;
  }
}

TEST_F(ValuesTest, TheReadmeDescribesNoneThatIsNotThere) {
  std::set<std::string> seen;
  for (const std::string& path : Described()) {
    EXPECT_TRUE(At(values_, path).IsDefined()) << "README.md describes " << path << ", which values.yaml does not have";
    EXPECT_TRUE(seen.insert(path).second) << "README.md describes " << path << " twice";
  }
}

// Defaults in the README are those of values.yaml, where a value and not a sentence stands there.
TEST_F(ValuesTest, TheReadmeNamesTheirDefaults) {
  static const std::regex kRow(R"(^\| `([A-Za-z.]+)` \| (`[^`]*`)? \|)");
  std::smatch match;
  int compared = 0;
  const std::string readme = ReadFile(ChartFolder() + "/README.md");
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(readme, '\n'))) {
    if (!std::regex_search(line, match, kRow)) continue;
    const YAML::Node value = At(values_, match[1]);
    const std::string text = match[2].str();
    // A default that is a name the chart makes up.
    if (std::set<std::string>{"auth.tokens.existingSecret", "tls.existingSecret", "prometheusRule.selector", "dashboard.labels"}.count(
            match[1]) == 1)
      continue;
    EXPECT_EQ(Show(value), text.empty() ? "" : Show(YAML::Load(text.substr(1, text.size() - 2)))) << match[1];
    ++compared;
  }
  EXPECT_GT(compared, 50);
}

TEST_F(ValuesTest, EachIsKnownToTheSchema) {
  for (const std::string& leaf : Leaves()) {
    std::string path = "properties." + absl::StrJoin(std::vector<std::string>(absl::StrSplit(leaf, '.')), ".properties.");
    // Parts of an open map have no schema of their own.
    for (const std::string& map : OpenMaps()) {
      if (absl::StartsWith(leaf, map + "."))
        path = "properties." + absl::StrJoin(std::vector<std::string>(absl::StrSplit(map, '.')), ".properties.");
    }
    // strategy.rollingUpdate may be null, too.
    if (absl::StartsWith(leaf, "strategy.rollingUpdate.")) path = "properties.strategy.properties.rollingUpdate";
    EXPECT_TRUE(At(schema_, path).IsDefined()) << "values.schema.json does not know " << leaf;
  }
}

TEST_F(ValuesTest, EachMapOfTheSchemaIsClosedButThoseOfTheUser) {
  std::set<std::string> closed;
  std::set<std::string> open;
  Maps(schema_, "", closed, open);
  EXPECT_THAT(closed, IsSupersetOf({"", "auth", "auth.tokens", "tls", "networkPolicy", "definitions"}));
  for (const std::string& map : open) EXPECT_THAT(OpenMaps(), Contains(map)) << "takes any key, also a misspelt one";
}

TEST_F(ValuesTest, AKeyThatIsNotKnownIsRefusedInEveryClosedMap) {
  std::set<std::string> closed;
  std::set<std::string> open;
  Maps(schema_, "", closed, open);
  ASSERT_GT(closed.size(), 20u);
  for (const std::string& map : closed) {
    std::string values = "{tpyo: 1}";
    const std::vector<std::string> keys = absl::StrSplit(map, '.', absl::SkipEmpty());
    for (auto key = keys.rbegin(); key != keys.rend(); ++key) values = absl::StrCat("{", *key, ": ", values, "}");
    EXPECT_THAT(Refusal(values), HasSubstr("tpyo")) << values;
  }
}

TEST_F(ValuesTest, ValuesThatMeanNothingAreRefusedNamingTheirPlace) {
  const std::pair<const char*, const char*> kRefused[] = {
      {"replicaCount: two", "replicaCount"},
      {"replicaCount: -1", "replicaCount"},
      {"replicas: 3", "replicas"},
      {"targets: []", "targets"},
      {"targets: [Main]", "targets"},
      {"targets: [main, main]", "targets"},
      {"definitions: {backfill.yaml: 'a: b'}", "definitions"},
      {"definitions: {20261122090000_Backfill.yaml: 'a: b'}", "definitions"},
      {"definitions: {20261122090000_backfill.yml: 'a: b'}", "definitions"},
      {"definitions: {20261322090000_backfill.yaml: 'a: b'}", "definitions"},
      {"definitions: {20261122096000_backfill.yaml: 'a: b'}", "definitions"},
      {"definitionConfigMaps: [Shop]", "definitionConfigMaps"},
      {"health: {main: {limit: {}}}", "health.main"},
      {"health: {main: {limits: {replica_lag: [1]}}}", "health.main.limits"},
      {"health: {elsewhere: {interval: 2s}}", "elsewhere"},
      {"defaultStart: SOMETIMES", "defaultStart"},
      {"leaseTtl: 15", "leaseTtl"},
      {"workers: 0", "workers"},
      {"maxRunningPerTarget: 65", "maxRunningPerTarget"},
      {"logLevel: loud", "logLevel"},
      {"auth: {anonymousRole: boss}", "auth.anonymousRole"},
      {"tls: {enabled: 'yes'}", "tls.enabled"},
      {"tls: {enabled: true, clientCa: 'true'}", "tls.clientCa"},
      {"existingSecret: [a]", "existingSecret"},
      {"image: {digest: latest}", "image.digest"},
      {"service: {port: 0}", "service.port"},
      {"networkPolicy: {postgresPorts: [postgres]}", "networkPolicy.postgresPorts"},
      {"networkPolicy: {grpcFrom: [{podSelektor: {}}]}", "networkPolicy.grpcFrom"},
      {"networkPolicy: {grpcFrom: [{}]}", "networkPolicy.grpcFrom"},
      {"securityContext: {runAsRoot: true}", "securityContext"},
      {"podDisruptionBudget: {maxUnavailable: some}", "podDisruptionBudget.maxUnavailable"},
      {"podDisruptionBudget: {minAvailable: 1}", "podDisruptionBudget takes one of"},
      {"podDisruptionBudget: {maxUnavailable: null}", "podDisruptionBudget takes one of"},
      {"devPostgres: {enabled: true, password: 'with/slash'}", "devPostgres.password"},
  };
  for (const auto& [values, place] : kRefused) EXPECT_THAT(Refusal(values), HasSubstr(place)) << values;
}

#ifdef MIGRATIOND_PROGRAM
// What the program refuses makes pods that crash; the schema has to refuse it before. It may be stricter: there are many ways to write a
// duration, and these are enough.
TEST_F(ValuesTest, TheSchemaTakesNothingThatTheProgramRefuses) {
  const struct {
    const char* value;
    const char* option;
    std::vector<std::string> taken;
    std::vector<std::string> refused;
  } kCases[] = {
      {"leaseTtl", "--lease-ttl",
       {"1s", "1.5s", "15s", "60s", "99s", "299s", "299.9s", "300s", "1m", "1.5m", "4.99m", "1m30s", "4m59s", "5m", "1000ms", "1500ms", "300000ms"},
       {"0s", "0.9s", "999ms", "0m", "300.1s", "301s", "999s", "4.9m30s", "5m1s", "5.1m", "6m", "10m", "1h", "300001ms", "400000ms",
        "1000000ms", "15", "-5s", "s", "1d"}},
      {"workers", "--workers", {"1", "256"}, {"0", "-1", "257", "1.5", "many"}},
      {"maxRunningPerTarget", "--max-running-per-target", {"1", "64"}, {"0", "-1", "65", "1.5", "many"}},
      {"defaultStart", "--default-start", {"AUTO", "MANUAL"}, {"manual", "\"\""}},
      {"logLevel", "--log-level", {"debug", "info", "warning", "error"}, {"trace", "warn", "INFO"}},
      {"logFormat", "--log-format", {"json", "text"}, {"JSON", "logfmt"}},
      {"auth.anonymousRole", "--anonymous-role", {"none", "viewer", "operator", "admin"}, {"Admin", "\"\""}},
      {"targets", "--target", {"main", "a", "billing_eu", "billing-eu2"}, {"Main", "1a", "-a", "a.b", "a b"}},
      {"bindAddress", "--listen", {"0.0.0.0", "'[::]'"}, {"'::'"}},
      {"bindAddress", "--http-listen", {"0.0.0.0", "'[::]'"}, {"'::'", "all"}},
  };
  const auto values = [](const std::string& path, const std::string& value) {
    const std::vector<std::string> keys = absl::StrSplit(path, '.');
    return absl::StrCat(absl::StrJoin(keys, ": {"), ": ", path == "targets" ? absl::StrCat("[", value, "]") : value,
                        std::string(keys.size() - 1, '}'));
  };
  const auto program_takes = [&](const std::string& option, const std::string& value) {
    std::string text = YAML::Load(value).Scalar();
    if (option == "--target") text += "=@/f";
    if (absl::EndsWith(option, "listen")) text += ":50051";
    std::vector<std::string> command = {MIGRATIOND_PROGRAM, "--print-config", "--control-url-file=/f", absl::StrCat(option, "=", text)};
    if (option != "--target") command.push_back("--target=main=@/f");
    return Run(command).exit_status == 0;
  };
  for (const auto& one : kCases) {
    for (const std::string& value : one.taken) {
      EXPECT_TRUE(program_takes(one.option, value)) << one.option << " " << value;
      EXPECT_EQ(Refusal(values(one.value, value)), "") << one.value << " " << value;
    }
    for (const std::string& value : one.refused) {
      EXPECT_FALSE(program_takes(one.option, value)) << one.option << " " << value;
      EXPECT_NE(Refusal(values(one.value, value)), "") << one.value << " " << value;
    }
  }
}
#endif

TEST_F(ValuesTest, NullTakesADefaultAway) {
  // What OpenShift wants: it chooses the user itself.
  const YAML::Node context = At(Render("podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}").Deployment(),
                                "spec.template.spec.securityContext");
  EXPECT_EQ(Show(context), "{runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}");
}

TEST_F(ValuesTest, TheExampleOfTheReadmeIsTaken) {
  const std::string readme = ReadFile(ChartFolder() + "/README.md");
  const std::size_t begin = readme.find("   image: {repository: registry.example.org/migrationd");
  ASSERT_NE(begin, std::string::npos);
  std::string values;
  for (const std::string& line :
       std::vector<std::string>(absl::StrSplit(readme.substr(begin, readme.find("   ```", begin) - begin), '\n')))
    absl::StrAppend(&values, line.substr(0, 3) == "   " ? line.substr(3) : line, "\n");
  const std::size_t digest = values.find("sha256:...");
  ASSERT_NE(digest, std::string::npos);
  values.replace(digest, 10, absl::StrCat("sha256:", std::string(64, '0')));
  EXPECT_FALSE(Render(values).objects.empty());
}

TEST_F(ValuesTest, TheChartIsOfTheVersionOfTheProgram) {
  const YAML::Node chart = YAML::LoadFile(ChartFolder() + "/Chart.yaml");
  EXPECT_EQ(Text(chart, "appVersion"), VERSION);
}

}  // namespace
}  // namespace migrationd
