#include "tests/helm/chart.h"

#include <fstream>
#include <map>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tests/support/tools.h"

namespace migrationd {

std::string ChartFolder() { return CHART; }

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) ADD_FAILURE() << path << " cannot be read";
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

YAML::Node At(const YAML::Node& node, const std::string& path) {
  if (!node.IsDefined()) return YAML::Node(YAML::NodeType::Undefined);
  YAML::Node at = node;
  for (const std::string& key : std::vector<std::string>(absl::StrSplit(path, '.'))) {
    std::size_t index = 0;
    const YAML::Node here = at;  // const, so that looking for a key does not make it
    if (here.IsMap() && here[key].IsDefined()) {
      at.reset(here[key]);
    } else if (here.IsSequence() && absl::SimpleAtoi(key, &index) && index < here.size()) {
      at.reset(here[index]);
    } else {
      return YAML::Node(YAML::NodeType::Undefined);
    }
  }
  return at;
}

std::string Text(const YAML::Node& node, const std::string& path) {
  const YAML::Node at = At(node, path);
  return at.IsDefined() && at.IsScalar() ? at.Scalar() : "(none)";
}

std::vector<std::string> Texts(const YAML::Node& sequence) {
  std::vector<std::string> texts;
  if (!sequence.IsDefined() || !sequence.IsSequence()) return texts;
  for (const auto& element : sequence) texts.push_back(element.IsScalar() ? element.Scalar() : Show(element));
  return texts;
}

std::vector<std::string> Keys(const YAML::Node& map) {
  std::vector<std::string> keys;
  if (!map.IsDefined() || !map.IsMap()) return keys;
  for (const auto& entry : map) keys.push_back(entry.first.Scalar());
  return keys;
}

YAML::Node Named(const YAML::Node& sequence, const std::string& name) {
  if (sequence.IsDefined() && sequence.IsSequence()) {
    for (const auto& element : sequence) {
      if (Text(element, "name") == name) return element;
    }
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

std::string Show(const YAML::Node& node) {
  if (!node.IsDefined()) return "(none)";
  if (node.IsMap()) {
    std::map<std::string, std::string> entries;
    for (const auto& entry : node) entries[entry.first.Scalar()] = Show(entry.second);
    return absl::StrCat("{", absl::StrJoin(entries, ", ", absl::PairFormatter(": ")), "}");
  }
  if (node.IsSequence()) {
    std::vector<std::string> elements;
    for (const auto& element : node) elements.push_back(Show(element));
    return absl::StrCat("[", absl::StrJoin(elements, ", "), "]");
  }
  return node.IsNull() ? "null" : node.Scalar();
}

std::vector<YAML::Node> Rendered::OfKind(const std::string& kind) const {
  std::vector<YAML::Node> found;
  for (const YAML::Node& object : objects) {
    if (Text(object, "kind") == kind) found.push_back(object);
  }
  return found;
}

YAML::Node Rendered::Get(const std::string& kind, const std::string& name) const {
  std::vector<YAML::Node> found;
  for (const YAML::Node& object : OfKind(kind)) {
    if (Text(object, "metadata.name") == name) found.push_back(object);
  }
  if (found.size() == 1) return found.front();
  ADD_FAILURE() << "there are " << found.size() << " objects " << kind << " " << name;
  return YAML::Node(YAML::NodeType::Undefined);
}

std::vector<Rendered::Pod> Rendered::Pods() const {
  std::vector<Pod> pods;
  for (const YAML::Node& object : objects) {
    const std::string name = absl::StrCat(Text(object, "kind"), " ", Text(object, "metadata.name"));
    // Whatever has a template of a pod, so that a kind that is new to the chart is seen too.
    if (Text(object, "kind") == "Pod") {
      pods.push_back({name, At(object, "metadata"), At(object, "spec")});
    } else if (At(object, "spec.template.spec").IsDefined()) {
      pods.push_back({name, At(object, "spec.template.metadata"), At(object, "spec.template.spec")});
    } else if (At(object, "spec.jobTemplate.spec.template.spec").IsDefined()) {
      pods.push_back(
          {name, At(object, "spec.jobTemplate.spec.template.metadata"), At(object, "spec.jobTemplate.spec.template.spec")});
    }
  }
  return pods;
}

void ChartTest::SetUp() { Need("helm", helm_); }

void ChartTest::Need(const std::string& tool, std::string& file) {
  file = FindTool(tool);
  if (!file.empty()) return;
  if (ToolsAreRequired()) FAIL() << tool << " is neither in build/tools nor in PATH, and REQUIRE_TOOLS=1";
  GTEST_SKIP() << tool << " is neither in build/tools nor in PATH";
}

Rendered ChartTest::TryRender(const RenderOptions& options) {
  std::vector<std::string> command = {helm_, "template", "migrationd", options.folder.empty() ? ChartFolder() : options.folder,
                                      "--namespace", "infra", "--kube-version", options.kube_version};
  if (!options.values.empty()) {
    command.push_back("--values");
    command.push_back(Write("values.yaml", options.values));
  }
  command.insert(command.end(), options.flags.begin(), options.flags.end());
  Rendered rendered{.result = Run(command), .objects = {}};
  if (rendered.result.exit_status != 0) return rendered;
  for (const YAML::Node& object : YAML::LoadAll(rendered.result.out)) {
    if (object.IsMap()) rendered.objects.push_back(object);
  }
  return rendered;
}

Rendered ChartTest::Render(const RenderOptions& options) {
  Rendered rendered = TryRender(options);
  EXPECT_EQ(rendered.result.exit_status, 0) << rendered.result.err;
  EXPECT_FALSE(rendered.objects.empty());
  return rendered;
}

std::string ChartTest::Refusal(const std::string& values) {
  const Rendered rendered = TryRender(RenderOptions{.values = values});
  return rendered.result.exit_status == 0 ? "" : rendered.result.err;
}

CommandResult ChartTest::Run(const std::vector<std::string>& command) {
  const auto result = RunCommand(command);
  if (result.ok()) return *result;
  ADD_FAILURE() << result.status().ToString();
  return CommandResult{.exit_status = -1, .out = "", .err = result.status().ToString()};
}

std::string ChartTest::Write(const std::string& name, const std::string& text) {
  const std::string path = absl::StrCat(folder_.path(), "/", name);
  std::ofstream(path) << text;
  return path;
}

void PrintTo(const ValuesCase& values, std::ostream* out) { *out << values.name; }

const std::vector<ValuesCase>& Matrix() {
  static const auto* const cases = new std::vector<ValuesCase>{
      {"NoValues", ""},
      {"OneReplica", "replicaCount: 1\n"},
      {"NothingThatCanBeTurnedOff",
       "networkPolicy: {enabled: false}\npodDisruptionBudget: {enabled: false}\ntests: {enabled: false}\n"
       "serviceAccount: {create: false}\ntopologySpreadConstraints: []\nstrategy: {type: Recreate, rollingUpdate: null}\n"},
      {"Monitoring",
       "serviceMonitor: {enabled: true, labels: {release: prometheus}}\nprometheusRule: {enabled: true}\n"
       "dashboard: {enabled: true, annotations: {grafana_folder: Databases}}\n"},
      {"Tls", "existingSecret: databases\ntls: {enabled: true, existingSecret: certificate}\n"},
      {"MutualTls", "tls: {enabled: true, clientCa: true}\n"},
      {"MutualTlsWithAnotherCa",
       "tls: {enabled: true, existingSecret: certificate, clientCa: clients}\n"
       "tests: {clientCertificate: {existingSecret: tester}}\n"},
      {"Tokens",
       "auth: {anonymousRole: none, tokens: {enabled: true}}\ntests: {token: {existingSecret: tester}, migration: backfill_status}\n"},
      {"TokensElsewhere", "auth: {tokens: {enabled: true, existingSecret: callers, key: list}}\ntls: {enabled: true}\n"},
      {"TwoTargets", "targets: [main, billing_eu]\n"},
      {"Health", "targets: [main, billing_eu]\nhealth: {billing_eu: {interval: 2s, replicas: [standby1], limits: {replica_lag: 10s, xid_age: 1.2}}}\n"},
      {"Teams",
       "definitions:\n  20261122090000_count_rows.yaml: |\n    # A comment first.\n    sql_batch:\n      table: counters\n"
       "      statement: UPDATE counters SET n = n + 1 WHERE {{batch}}\n"
       "definitionConfigMaps: [migrations-shop, migrations-billing]\n"},
      {"DevPostgres", "devPostgres: {enabled: true}\ntargets: [main, billing-eu]\nauth: {anonymousRole: admin}\n"},
      {"DevPostgresWithoutNetworkPolicy", "devPostgres: {enabled: true, password: abc123}\nnetworkPolicy: {enabled: false}\n"},
      {"Extras",
       "image: {repository: registry.example.org/migrationd, "
       "digest: 'sha256:0123456789012345678901234567890123456789012345678901234567890123'}\n"
       "imagePullSecrets: [{name: registry}]\ncommonLabels: {team: databases}\npodLabels: {mesh: enabled}\n"
       "podAnnotations: {mesh.example.org/inject: 'true'}\npriorityClassName: high\nnodeSelector: {pool: databases}\n"
       "tolerations: [{key: databases, operator: Exists, effect: NoSchedule}]\n"
       "affinity: {nodeAffinity: {}}\nextraArgs: [--no-auto-upgrade]\n"
       "extraEnv: [{name: TZ, value: UTC}]\nextraVolumes: [{name: more, emptyDir: {}}]\n"
       "extraVolumeMounts: [{name: more, mountPath: /more}]\nbindAddress: '[::]'\n"
       "service: {type: LoadBalancer, port: 443, appProtocol: grpc, annotations: {a: b}}\n"
       "podDisruptionBudget: {maxUnavailable: null, minAvailable: 50%}\nfullnameOverride: migrationd\n"},
      {"Peers",
       "networkPolicy:\n  grpcFrom: [{namespaceSelector: {matchLabels: {a: b}}, podSelector: {}}]\n"
       "  metricsFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]\n"
       "  postgresTo: [{ipBlock: {cidr: 10.0.0.0/8}}]\n  postgresPorts: [5432, 6432]\n"
       "  extraEgress: [{ports: [{port: 4317}]}]\n"},
  };
  return *cases;
}

}  // namespace migrationd
