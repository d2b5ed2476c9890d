// What the chart renders: for every set of values of the matrix what must always hold, then each value that changes something.
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "tests/helm/chart.h"
#include "tests/support/tools.h"

namespace migrationd {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSubsetOf;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;

// Every container of a pod, those that only start it included.
std::vector<YAML::Node> Containers(const YAML::Node& pod_spec) {
  std::vector<YAML::Node> containers;
  for (const char* list : {"containers", "initContainers", "ephemeralContainers"}) {
    const YAML::Node of_list = At(pod_spec, list);
    if (!of_list.IsDefined()) continue;
    for (const auto& container : of_list) containers.push_back(container);
  }
  return containers;
}

// Pod Security `restricted`, and a file system that cannot be written.
void ExpectRestricted(const Rendered::Pod& pod) {
  for (const char* space : {"hostNetwork", "hostPID", "hostIPC"})
    EXPECT_THAT(Text(pod.spec, space), Not("true")) << pod.name << " " << space;
  ASSERT_FALSE(Containers(pod.spec).empty()) << pod.name;
  for (const YAML::Node& container : Containers(pod.spec)) {
    const std::string where = absl::StrCat(pod.name, ", container ", Text(container, "name"));
    // What a container says outranks what its pod says.
    const auto setting = [&](const std::string& name) {
      const std::string own = Text(container, absl::StrCat("securityContext.", name));
      return own == "(none)" ? Text(pod.spec, absl::StrCat("securityContext.", name)) : own;
    };
    EXPECT_EQ(setting("runAsNonRoot"), "true") << where;
    EXPECT_NE(setting("runAsUser"), "0") << where;
    EXPECT_THAT(setting("seccompProfile.type"), testing::AnyOf("RuntimeDefault", "Localhost")) << where;
    EXPECT_EQ(Text(container, "securityContext.allowPrivilegeEscalation"), "false") << where;
    EXPECT_EQ(Text(container, "securityContext.readOnlyRootFilesystem"), "true") << where;
    EXPECT_THAT(Text(container, "securityContext.privileged"), Not("true")) << where;
    EXPECT_THAT(Texts(At(container, "securityContext.capabilities.drop")), ElementsAre("ALL")) << where;
    EXPECT_THAT(Texts(At(container, "securityContext.capabilities.add")), IsSubsetOf({"NET_BIND_SERVICE"})) << where;
    const YAML::Node ports = At(container, "ports");
    for (std::size_t i = 0; ports.IsDefined() && i < ports.size(); ++i)
      EXPECT_EQ(Text(ports[i], "hostPort"), "(none)") << where;
  }
  const YAML::Node volumes = At(pod.spec, "volumes");
  for (std::size_t i = 0; volumes.IsDefined() && i < volumes.size(); ++i) {
    EXPECT_THAT(Keys(volumes[i]),
                IsSubsetOf({"name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}))
        << pod.name;
  }
}

class EveryChartTest : public ChartTest, public ::testing::WithParamInterface<ValuesCase> {};

INSTANTIATE_TEST_SUITE_P(Values, EveryChartTest, ::testing::ValuesIn(Matrix()),
                         [](const ::testing::TestParamInfo<ValuesCase>& info) { return info.param.name; });

TEST_P(EveryChartTest, PassesHelmLint) {
  const CommandResult lint =
      Run({helm(), "lint", "--strict", ChartFolder(), "--values", Write("lint.yaml", GetParam().values)});
  EXPECT_EQ(lint.exit_status, 0) << lint.out << lint.err;
}

// By the schemas of Kubernetes itself; a custom resource has none here, monitoring_test.cc looks at those.
TEST_P(EveryChartTest, IsValidForTheOldestAndTheNewestKubernetes) {
  std::string kubectl_validate;
  Need("kubectl-validate", kubectl_validate);
  if (kubectl_validate.empty()) return;
  for (const std::string version : {"1.25", "1.30"}) {
    const Rendered rendered = Render(RenderOptions{.values = GetParam().values, .kube_version = version + ".0"});
    // The text as helm wrote it: yaml-cpp would write "1" without its quotes.
    std::string objects;
    for (const std::string& object : std::vector<std::string>(absl::StrSplit(absl::StrCat("\n", rendered.result.out), "\n---\n"))) {
      if (!absl::StrContains(object, "apiVersion: monitoring.coreos.com")) absl::StrAppend(&objects, object, "\n---\n");
    }
    const CommandResult valid = Run({kubectl_validate, "--version", version, Write("objects.yaml", objects)});
    EXPECT_EQ(valid.exit_status, 0) << version << "\n" << valid.out << valid.err;
  }
}

TEST_P(EveryChartTest, RunsOnlyPodsThatAreRestrictedAndKnowNothingOfTheApi) {
  const Rendered rendered = Render(GetParam().values);
  ASSERT_FALSE(rendered.Pods().empty());
  for (const Rendered::Pod& pod : rendered.Pods()) {
    ExpectRestricted(pod);
    EXPECT_EQ(Text(pod.spec, "automountServiceAccountToken"), "false") << pod.name;
    // A Service named migrationd would set MIGRATIOND_PORT, which migrationd would read as an option.
    EXPECT_EQ(Text(pod.spec, "enableServiceLinks"), "false") << pod.name;
    for (const YAML::Node& container : Containers(pod.spec)) {
      for (const char* resource : {"requests.cpu", "requests.memory", "limits.memory"})
        EXPECT_NE(Text(container, absl::StrCat("resources.", resource)), "(none)") << pod.name << " " << resource;
    }
  }
  for (const YAML::Node& account : rendered.OfKind("ServiceAccount"))
    EXPECT_EQ(Text(account, "automountServiceAccountToken"), "false");
  for (const char* kind : {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"})
    EXPECT_TRUE(rendered.OfKind(kind).empty()) << kind;
}

// Files are renewed only where whole folders are mounted; and each mount needs its volume.
TEST_P(EveryChartTest, MountsWholeFoldersOfVolumesThatExist) {
  for (const Rendered::Pod& pod : Render(GetParam().values).Pods()) {
    std::set<std::string> mounted;
    for (const YAML::Node& container : Containers(pod.spec)) {
      const YAML::Node mounts = At(container, "volumeMounts");
      for (std::size_t i = 0; mounts.IsDefined() && i < mounts.size(); ++i) {
        EXPECT_EQ(Text(mounts[i], "subPath"), "(none)") << pod.name;
        mounted.insert(Text(mounts[i], "name"));
      }
    }
    std::set<std::string> volumes;
    const YAML::Node of_pod = At(pod.spec, "volumes");
    for (std::size_t i = 0; of_pod.IsDefined() && i < of_pod.size(); ++i) {
      EXPECT_TRUE(volumes.insert(Text(of_pod[i], "name")).second) << pod.name << " has two volumes of one name";
      if (At(of_pod[i], "secret").IsDefined()) {
        EXPECT_EQ(Text(of_pod[i], "secret.defaultMode"), "0440") << pod.name << " " << Text(of_pod[i], "name");
      }
    }
    EXPECT_EQ(mounted, volumes) << pod.name;
  }
}

TEST_P(EveryChartTest, GivesThePodTimeToStop) {
  const YAML::Node pod = At(Render(GetParam().values).Deployment(), "spec.template.spec");
  int grace = 0;
  int sleep = 0;
  ASSERT_TRUE(absl::SimpleAtoi(Text(pod, "terminationGracePeriodSeconds"), &grace));
  ASSERT_TRUE(absl::SimpleAtoi(Text(pod, "containers.0.lifecycle.preStop.sleep.seconds"), &sleep));
  EXPECT_GT(sleep, 0);
  EXPECT_GT(grace, sleep + 10);
}

TEST_P(EveryChartTest, SelectsTheServersPodsAndNoOthers) {
  const Rendered rendered = Render(GetParam().values);
  std::map<std::string, YAML::Node> selectors;
  for (const YAML::Node& service : rendered.OfKind("Service"))
    selectors.emplace(absl::StrCat("Service ", Text(service, "metadata.name")), At(service, "spec.selector"));
  for (const YAML::Node& budget : rendered.OfKind("PodDisruptionBudget"))
    selectors.emplace("PodDisruptionBudget", At(budget, "spec.selector.matchLabels"));
  for (const YAML::Node& policy : rendered.OfKind("NetworkPolicy"))
    selectors.emplace(absl::StrCat("NetworkPolicy ", Text(policy, "metadata.name")), At(policy, "spec.podSelector.matchLabels"));
  for (const YAML::Node& deployment : rendered.OfKind("Deployment"))
    selectors.emplace(absl::StrCat("Deployment ", Text(deployment, "metadata.name")), At(deployment, "spec.selector.matchLabels"));
  const YAML::Node spread = At(rendered.Deployment(), "spec.template.spec.topologySpreadConstraints");
  for (std::size_t i = 0; spread.IsDefined() && i < spread.size(); ++i)
    selectors.emplace(absl::StrCat("spread ", i), At(spread[i], "labelSelector.matchLabels"));
  for (const auto& [name, selector] : selectors) {
    std::vector<std::string> selected;
    for (const Rendered::Pod& pod : rendered.Pods()) {
      bool matches = selector.IsDefined() && selector.size() > 0;
      for (const auto& label : Keys(selector))
        matches = matches && Show(selector[label]) == Show(At(pod.metadata, "labels")[label]);
      if (matches) selected.push_back(pod.name);
    }
    const bool database = absl::EndsWith(name, "dev-postgres");
    EXPECT_THAT(selected, ElementsAre(database ? "Deployment migrationd-dev-postgres" : "Deployment migrationd")) << name;
  }
}

// Whoever reaches it reads metrics without showing who he is: so a load balancer, or a port of every node, has nothing of it.
TEST_P(EveryChartTest, PublishesTheAdminPortInTheClusterOnlyAndByItself) {
  const Rendered rendered = Render(GetParam().values);
  std::map<std::string, std::string> ports;
  for (const YAML::Node& service : rendered.OfKind("Service")) {
    const std::string name = Text(service, "metadata.name");
    for (const auto& port : At(service, "spec.ports")) {
      ports[name] += absl::StrCat(ports[name].empty() ? "" : " ", Text(port, "name"), "=", Text(port, "targetPort"));
      if (Text(port, "targetPort") != "http") continue;
      EXPECT_EQ(Text(service, "spec.type"), "ClusterIP") << name;
      EXPECT_EQ(Text(port, "port"), "9464") << name;
    }
  }
  ports.erase("migrationd-dev-postgres");
  EXPECT_EQ(ports, (std::map<std::string, std::string>{
                       {"migrationd", "grpc=grpc"}, {"migrationd-headless", "grpc=grpc"}, {"migrationd-metrics", "http=http"}}));
}

TEST_P(EveryChartTest, HasNoSecretButTheOneOfDevPostgres) {
  const Rendered rendered = Render(GetParam().values);
  for (const YAML::Node& secret : rendered.OfKind("Secret"))
    EXPECT_EQ(Text(secret, "metadata.name"), "migrationd-dev-postgres");
  for (const std::string& argument : rendered.Args()) EXPECT_THAT(argument, Not(HasSubstr("postgresql://")));
  EXPECT_THAT(Show(At(rendered.Container(), "env")), Not(HasSubstr("postgresql://")));
}

TEST_P(EveryChartTest, GivesTheServersPrivateKeyToTheServerOnly) {
  const Rendered rendered = Render(GetParam().values);
  const std::string server = Text(Named(At(rendered.Deployment(), "spec.template.spec.volumes"), "tls"), "secret.secretName");
  for (const Rendered::Pod& pod : rendered.Pods()) {
    if (pod.name == "Deployment migrationd") continue;
    for (const auto& volume : At(pod.spec, "volumes")) {
      if (server == "(none)" || Text(volume, "secret.secretName") != server) continue;
      EXPECT_EQ(Show(At(volume, "secret.items")), "[{key: ca.crt, path: ca.crt}]") << pod.name;
    }
  }
}

TEST_P(EveryChartTest, NamesEachObjectOnceAndInTheNamespaceOfTheRelease) {
  std::set<std::string> names;
  const Rendered rendered = Render(GetParam().values);
  for (const YAML::Node& object : rendered.objects) {
    const std::string name = absl::StrCat(Text(object, "kind"), " ", Text(object, "metadata.name"));
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_THAT(Text(object, "metadata.name"), StartsWith("migrationd"));
    EXPECT_EQ(Text(object, "metadata.namespace"), "infra") << name;
    EXPECT_EQ(Show(At(object, "metadata.labels")["app.kubernetes.io/instance"]), "migrationd") << name;
  }
}

#ifdef MIGRATIOND_PROGRAM
TEST_P(EveryChartTest, GivesMigrationdOnlyOptionsThatItHas) {
  const CommandResult help = Run({MIGRATIOND_PROGRAM, "--help"});
  ASSERT_EQ(help.exit_status, 0) << help.err;
  for (const std::string& argument : Render(GetParam().values).Args())
    EXPECT_THAT(help.out, HasSubstr(absl::StrCat("  ", argument.substr(0, argument.find('=')), " "))) << argument;
}
#endif

#ifdef MIGRATIOND_PROGRAM
// `kubectl exec` gives a command the pod's environment, and not its arguments.
TEST_P(EveryChartTest, LetsACommandThatIsExecutedInThePodFindTheDatabases) {
  const Rendered rendered = Render(GetParam().values);
  std::vector<std::string> command = {"/usr/bin/env", "-i"};
  for (const auto& variable : At(rendered.Container(), "env"))
    command.push_back(absl::StrCat(Text(variable, "name"), "=", Text(variable, "value")));
  // As the README has it, but that it only says what it would do it with.
  for (const std::string word : {MIGRATIOND_PROGRAM, "upgrade", "--contract", "--print-config"}) command.push_back(word);
  const CommandResult result = Run(command);
  ASSERT_EQ(result.exit_status, 0) << result.err;
  const YAML::Node config = YAML::Load(result.out);
  EXPECT_EQ(Text(config, "control_url_file"), "/etc/migrationd/secret/control-url");
  const YAML::Node values = YAML::Load(GetParam().values.empty() ? "{}" : GetParam().values);
  const std::vector<std::string> given = Texts(At(values, "targets"));
  const std::vector<std::string> targets = given.empty() ? std::vector<std::string>{"main"} : given;
  EXPECT_THAT(Keys(At(config, "targets")), testing::UnorderedElementsAreArray(targets));
  for (const std::string& target : targets)
    EXPECT_EQ(Text(config, absl::StrCat("targets.", target, ".url_file")), absl::StrCat("/etc/migrationd/secret/target-", target));
}
#endif

class ObjectsTest : public ChartTest {};

TEST_F(ObjectsTest, TheReadmeSaysHowToContractAndTheImageHasTheCommand) {
  const std::string readme = ReadFile(ChartFolder() + "/README.md");
  EXPECT_THAT(readme, HasSubstr("\nkubectl -n infra exec deploy/migrationd -- migrationd upgrade --contract\n"));
  // Where the PATH of every image leads.
  EXPECT_EQ(Text(Render().Container(), "command.0"), "/usr/bin/migrationd");
  EXPECT_EQ(Show(At(Render().Deployment(), "spec.template.metadata.annotations")["kubectl.kubernetes.io/default-container"]), "migrationd");
}

// /healthz fails when the gRPC port accepts nothing any more, which only a restart mends; one slow answer is no reason for one.
TEST_F(ObjectsTest, AServerThatAcceptsNothingIsRestartedSoonAndASlowOneIsNot) {
  const YAML::Node container = Render().Container();
  const auto number = [&](const std::string& path) {
    int value = -1;
    EXPECT_TRUE(absl::SimpleAtoi(Text(container, path), &value)) << path;
    return value;
  };
  EXPECT_GE(number("livenessProbe.failureThreshold"), 3);
  EXPECT_LT(number("livenessProbe.timeoutSeconds"), number("livenessProbe.periodSeconds"));
  EXPECT_LE(number("livenessProbe.failureThreshold") * number("livenessProbe.periodSeconds"), 60);
  // The pod is out of the Service earlier, and has longer to start.
  EXPECT_LT(number("readinessProbe.failureThreshold") * number("readinessProbe.periodSeconds"),
            number("livenessProbe.failureThreshold") * number("livenessProbe.periodSeconds"));
  EXPECT_GE(number("startupProbe.failureThreshold") * number("startupProbe.periodSeconds"), 60);
}

// So that the check above is one.
TEST_F(ObjectsTest, KubectlValidateNoticesAFieldThatDoesNotExist) {
  std::string kubectl_validate;
  Need("kubectl-validate", kubectl_validate);
  if (kubectl_validate.empty()) return;
  const std::string wrong =
      absl::StrReplaceAll(Render().result.out, {{"automountServiceAccountToken", "automountServiceAcountToken"}});
  const CommandResult valid = Run({kubectl_validate, "--version", "1.30", Write("wrong.yaml", wrong)});
  EXPECT_NE(valid.exit_status, 0);
  EXPECT_THAT(valid.out + valid.err, HasSubstr("automountServiceAcountToken"));
}

TEST_F(ObjectsTest, WithoutValuesThereIsAllThatNeedsNothingOfTheCluster) {
  const Rendered rendered = Render();
  std::vector<std::string> names;
  for (const YAML::Node& object : rendered.objects)
    names.push_back(absl::StrCat(Text(object, "kind"), " ", Text(object, "metadata.name")));
  EXPECT_THAT(names, UnorderedElementsAre("Deployment migrationd", "Service migrationd", "Service migrationd-headless",
                                          "Service migrationd-metrics", "ServiceAccount migrationd", "PodDisruptionBudget migrationd",
                                          "NetworkPolicy migrationd", "ConfigMap migrationd-definitions", "Pod migrationd-test"));
  EXPECT_THAT(rendered.Args(),
              ElementsAre("--listen=0.0.0.0:50051", "--http-listen=0.0.0.0:9464",
                          "--migrations=/etc/migrationd/migrations/values",
                          "--default-start=MANUAL", "--lease-ttl=15s", "--workers=16", "--max-running-per-target=2",
                          "--log-level=info", "--log-format=json", "--anonymous-role=viewer"));
  EXPECT_EQ(Show(At(rendered.Container(), "env")),
            "[{name: MIGRATIOND_CONTROL_URL_FILE, value: /etc/migrationd/secret/control-url}, "
            "{name: MIGRATIOND_TARGET_MAIN, value: @/etc/migrationd/secret/target-main}]");
  EXPECT_EQ(Text(rendered.Deployment(), "spec.replicas"), "2");
  // The Secret that the user creates, as the notes say.
  const YAML::Node volumes = At(rendered.Deployment(), "spec.template.spec.volumes");
  EXPECT_EQ(Text(Named(volumes, "secret"), "secret.secretName"), "migrationd");
  EXPECT_EQ(Text(Named(At(rendered.Container(), "volumeMounts"), "secret"), "mountPath"), "/etc/migrationd/secret");
}

TEST_F(ObjectsTest, HelmThatClaimsAnOldKubernetesRendersToo) {
  // What a helm claims that `go install` built.
  const Rendered rendered = Render(RenderOptions{.kube_version = "1.20.0"});
  EXPECT_EQ(Text(rendered.Container(), "lifecycle.preStop.sleep.seconds"), "(none)");
  EXPECT_EQ(Text(rendered.Get("PodDisruptionBudget", "migrationd"), "spec.unhealthyPodEvictionPolicy"), "(none)");
  EXPECT_EQ(Text(rendered.Deployment(), "spec.template.spec.topologySpreadConstraints.0.matchLabelKeys.0"), "(none)");
}

TEST_F(ObjectsTest, ReplicaCountIsThatOfTheDeployment) {
  for (const std::string count : {"0", "1", "5"})
    EXPECT_EQ(Text(Render(absl::StrCat("replicaCount: ", count)).Deployment(), "spec.replicas"), count);
}

TEST_F(ObjectsTest, EachEnabledFlagMakesItsObjectOrNone) {
  const struct {
    const char* value;
    const char* kind;
    const char* name;
  } kFlags[] = {
      {"networkPolicy", "NetworkPolicy", "migrationd"},   {"serviceMonitor", "ServiceMonitor", "migrationd"},
      {"prometheusRule", "PrometheusRule", "migrationd"}, {"dashboard", "ConfigMap", "migrationd-dashboard"},
      {"podDisruptionBudget", "PodDisruptionBudget", "migrationd"}, {"tests", "Pod", "migrationd-test"},
      {"devPostgres", "Deployment", "migrationd-dev-postgres"},
  };
  for (const auto& flag : kFlags) {
    for (const bool enabled : {true, false}) {
      int found = 0;
      const Rendered rendered = Render(absl::StrCat(flag.value, ": {enabled: ", enabled ? "true" : "false", "}"));
      for (const YAML::Node& object : rendered.OfKind(flag.kind)) found += Text(object, "metadata.name") == flag.name ? 1 : 0;
      EXPECT_EQ(found, enabled ? 1 : 0) << flag.value;
    }
  }
  EXPECT_TRUE(Render("serviceAccount: {create: false}").OfKind("ServiceAccount").empty());
  EXPECT_EQ(Text(Render("serviceAccount: {create: false}").Deployment(), "spec.template.spec.serviceAccountName"), "default");
}

TEST_F(ObjectsTest, ProbesAreHttpOnTheAdminPortWithAndWithoutTls) {
  for (const std::string values : {"", "tls: {enabled: true, clientCa: true}"}) {
    const YAML::Node container = Render(values).Container();
    EXPECT_EQ(Text(container, "startupProbe.httpGet.path"), "/healthz");
    EXPECT_EQ(Text(container, "livenessProbe.httpGet.path"), "/healthz") << "a database that is away restarts no pod";
    EXPECT_EQ(Text(container, "readinessProbe.httpGet.path"), "/readyz");
    for (const char* probe : {"startupProbe", "livenessProbe", "readinessProbe"}) {
      EXPECT_EQ(Text(container, absl::StrCat(probe, ".httpGet.port")), "http");
      EXPECT_EQ(Text(container, absl::StrCat(probe, ".httpGet.scheme")), "(none)");
    }
    EXPECT_EQ(Text(Named(At(container, "ports"), "http"), "containerPort"), "9464");
    EXPECT_EQ(Text(Named(At(container, "ports"), "grpc"), "containerPort"), "50051");
  }
}

TEST_F(ObjectsTest, TheHeadlessServiceNamesThePodsThemselves) {
  const Rendered rendered = Render("service: {port: 443, type: LoadBalancer}");
  const YAML::Node headless = rendered.Get("Service", "migrationd-headless");
  EXPECT_EQ(Text(headless, "spec.clusterIP"), "None");
  EXPECT_EQ(Text(headless, "spec.type"), "ClusterIP");
  EXPECT_EQ(Text(headless, "spec.ports.0.port"), "50051") << "no port is translated";
  EXPECT_EQ(Text(headless, "spec.publishNotReadyAddresses"), "true");
  const YAML::Node service = rendered.Get("Service", "migrationd");
  EXPECT_EQ(Text(service, "spec.type"), "LoadBalancer");
  EXPECT_EQ(Text(Named(At(service, "spec.ports"), "grpc"), "port"), "443");
  EXPECT_EQ(Text(Named(At(service, "spec.ports"), "grpc"), "targetPort"), "grpc");
}

TEST_F(ObjectsTest, ReplicasAreSpreadAndANodeCanBeDrained) {
  const Rendered rendered = Render();
  const YAML::Node spread = At(rendered.Deployment(), "spec.template.spec.topologySpreadConstraints");
  ASSERT_EQ(spread.size(), 2u);
  EXPECT_EQ(Text(spread[0], "topologyKey"), "kubernetes.io/hostname");
  EXPECT_EQ(Text(spread[1], "topologyKey"), "topology.kubernetes.io/zone");
  EXPECT_THAT(Texts(At(spread[0], "matchLabelKeys")), ElementsAre("pod-template-hash"));
  const YAML::Node budget = rendered.Get("PodDisruptionBudget", "migrationd");
  EXPECT_EQ(Text(budget, "spec.maxUnavailable"), "1");
  EXPECT_EQ(Text(budget, "spec.unhealthyPodEvictionPolicy"), "AlwaysAllow");
  EXPECT_EQ(Text(rendered.Deployment(), "spec.strategy.rollingUpdate.maxUnavailable"), "0");

  const YAML::Node other =
      Render("podDisruptionBudget: {maxUnavailable: null, minAvailable: 50%}").Get("PodDisruptionBudget", "migrationd");
  EXPECT_EQ(Text(other, "spec.minAvailable"), "50%");
  EXPECT_EQ(Text(other, "spec.maxUnavailable"), "(none)");
}

TEST_F(ObjectsTest, EachTargetHasItsUrlInTheSecretThatIsNamed) {
  const Rendered rendered = Render("existingSecret: databases\ntargets: [main, billing_eu]");
  const YAML::Node environment = At(rendered.Container(), "env");
  EXPECT_EQ(Text(Named(environment, "MIGRATIOND_TARGET_MAIN"), "value"), "@/etc/migrationd/secret/target-main");
  EXPECT_EQ(Text(Named(environment, "MIGRATIOND_TARGET_BILLING_EU"), "value"), "@/etc/migrationd/secret/target-billing_eu");
  EXPECT_EQ(Text(Named(At(rendered.Deployment(), "spec.template.spec.volumes"), "secret"), "secret.secretName"), "databases");
  EXPECT_TRUE(rendered.OfKind("Secret").empty());
}

TEST_F(ObjectsTest, DefinitionsOfTheValuesAndOfTeamsAreFoldersOfTheirOwn) {
  const std::string text = "# How many.\nsql_batch:\n  table: counters\n  statement: UPDATE counters SET n = 1 WHERE {{batch}}\n";
  YAML::Node values;
  values["definitions"]["20261122090000_count_rows.yaml"] = text;
  values["definitionConfigMaps"].push_back("migrations-shop");
  values["definitionConfigMaps"].push_back("migrations.billing");
  const Rendered rendered = Render(YAML::Dump(values));
  EXPECT_EQ(Show(At(rendered.Get("ConfigMap", "migrationd-definitions"), "data")["20261122090000_count_rows.yaml"]), text);
  EXPECT_THAT(rendered.Args(), AllOf(Contains("--migrations=/etc/migrationd/migrations/values"),
                                     Contains("--migrations=/etc/migrationd/migrations/configmap/migrations-shop"),
                                     Contains("--migrations=/etc/migrationd/migrations/configmap/migrations.billing")));
  const YAML::Node volumes = At(rendered.Deployment(), "spec.template.spec.volumes");
  const YAML::Node mounts = At(rendered.Container(), "volumeMounts");
  EXPECT_EQ(Text(Named(volumes, "definitions"), "configMap.name"), "migrationd-definitions");
  EXPECT_EQ(Text(Named(volumes, "definitions-1"), "configMap.name"), "migrations.billing");
  EXPECT_EQ(Text(Named(volumes, "definitions-1"), "configMap.optional"), "true");
  EXPECT_EQ(Text(Named(mounts, "definitions-1"), "mountPath"), "/etc/migrationd/migrations/configmap/migrations.billing");
}

TEST_F(ObjectsTest, HealthIsAConfigurationFileAndAnotherOneMakesNewPods) {
  EXPECT_THAT(Render().Args(), Not(Contains(StartsWith("--config"))));
  const Rendered rendered = Render("health: {main: {replicas: [standby1], limits: {replica_lag: 10s, xid_age: 1.2}}}");
  EXPECT_THAT(rendered.Args(), Contains("--config=/etc/migrationd/config/migrationd.yaml"));
  const std::string name = Text(Named(At(rendered.Deployment(), "spec.template.spec.volumes"), "config"), "configMap.name");
  EXPECT_THAT(name, StartsWith("migrationd-config-"));
  const YAML::Node config = YAML::Load(Show(At(rendered.Get("ConfigMap", name), "data")["migrationd.yaml"]));
  EXPECT_EQ(Text(config, "targets.main.health.limits.replica_lag"), "10s");
  EXPECT_EQ(Text(config, "targets.main.health.limits.xid_age"), "1.2");
  EXPECT_THAT(Texts(At(config, "targets.main.health.replicas")), ElementsAre("standby1"));
  const Rendered other = Render("health: {main: {limits: {replica_lag: 11s}}}");
  EXPECT_NE(Text(Named(At(other.Deployment(), "spec.template.spec.volumes"), "config"), "configMap.name"), name);
}

TEST_F(ObjectsTest, WhatIsReadAgainMakesNoNewPods) {
  const std::string before = Show(At(Render("definitions: {}").Deployment(), "spec.template"));
  const std::string after =
      Show(At(Render("definitions: {20261122090000_count_rows.yaml: 'a: b'}").Deployment(), "spec.template"));
  EXPECT_EQ(before, after);
  for (const ValuesCase& values : Matrix()) {
    for (const std::string& annotation : Keys(At(Render(values.values).Deployment(), "spec.template.metadata.annotations")))
      EXPECT_THAT(annotation, Not(HasSubstr("checksum"))) << values.name;
  }
}

TEST_F(ObjectsTest, TlsIsGivenToTheServerAsAFolder) {
  const Rendered without = Render();
  for (const std::string& argument : without.Args()) EXPECT_THAT(argument, Not(StartsWith("--tls")));
  const Rendered rendered = Render("tls: {enabled: true}");
  EXPECT_THAT(rendered.Args(),
              AllOf(Contains("--tls-cert=/etc/migrationd/tls/tls.crt"), Contains("--tls-key=/etc/migrationd/tls/tls.key")));
  for (const std::string& argument : rendered.Args()) EXPECT_THAT(argument, Not(StartsWith("--tls-client-ca")));
  EXPECT_EQ(Text(Named(At(rendered.Container(), "volumeMounts"), "tls"), "mountPath"), "/etc/migrationd/tls");
  EXPECT_EQ(Text(Named(At(rendered.Deployment(), "spec.template.spec.volumes"), "tls"), "secret.secretName"), "migrationd-tls");
  EXPECT_EQ(Text(Named(At(Render("tls: {enabled: true, existingSecret: certificate}").Deployment(), "spec.template.spec.volumes"), "tls"),
                 "secret.secretName"),
            "certificate");
}

TEST_F(ObjectsTest, MutualTlsTakesTheCaOfTheServersSecretOrOfAnother) {
  const Rendered own = Render("tls: {enabled: true, clientCa: true}");
  EXPECT_THAT(own.Args(), Contains("--tls-client-ca=/etc/migrationd/tls/ca.crt"));
  const Rendered other = Render("tls: {enabled: true, clientCa: clients}");
  EXPECT_THAT(other.Args(), Contains("--tls-client-ca=/etc/migrationd/tls-client-ca/ca.crt"));
  EXPECT_EQ(Text(Named(At(other.Container(), "volumeMounts"), "tls-client-ca"), "mountPath"), "/etc/migrationd/tls-client-ca");
  const YAML::Node volume = Named(At(other.Deployment(), "spec.template.spec.volumes"), "tls-client-ca");
  EXPECT_EQ(Text(volume, "secret.secretName"), "clients");
  EXPECT_EQ(Show(At(volume, "secret.items")), "[{key: ca.crt, path: ca.crt}]") << "and no private key";
  EXPECT_THAT(Refusal("tls: {clientCa: true}"), HasSubstr("tls.clientCa needs tls.enabled"));
}

TEST_F(ObjectsTest, TokensComeFromTheSecretOrFromAnother) {
  for (const std::string& argument : Render().Args()) EXPECT_THAT(argument, Not(StartsWith("--tokens")));
  const Rendered same = Render("auth: {anonymousRole: none, tokens: {enabled: true}}");
  EXPECT_THAT(same.Args(), AllOf(Contains("--tokens=/etc/migrationd/secret/tokens"), Contains("--anonymous-role=none")));
  EXPECT_FALSE(Named(At(same.Deployment(), "spec.template.spec.volumes"), "tokens").IsDefined());
  const Rendered other = Render("auth: {tokens: {enabled: true, existingSecret: callers, key: list}}");
  EXPECT_THAT(other.Args(), Contains("--tokens=/etc/migrationd/tokens/list"));
  EXPECT_EQ(Text(Named(At(other.Deployment(), "spec.template.spec.volumes"), "tokens"), "secret.secretName"), "callers");
  EXPECT_EQ(Text(Named(At(other.Container(), "volumeMounts"), "tokens"), "mountPath"), "/etc/migrationd/tokens");
}

TEST_F(ObjectsTest, AGracePeriodThatIsTooShortIsRefused) {
  EXPECT_THAT(Refusal("terminationGracePeriodSeconds: 15"), HasSubstr("terminationGracePeriodSeconds (15) must be more than"));
  EXPECT_EQ(Refusal("terminationGracePeriodSeconds: 16"), "");
  EXPECT_THAT(Refusal("preStopSleepSeconds: 20"), HasSubstr("terminationGracePeriodSeconds (30) must be more than"));
  EXPECT_EQ(Text(Render("preStopSleepSeconds: 0").Container(), "lifecycle.preStop.sleep.seconds"), "(none)");
}

TEST_F(ObjectsTest, TheNetworkPolicyLetsThroughWhatIsNeededAndNoMore) {
  const YAML::Node policy = Render().Get("NetworkPolicy", "migrationd");
  EXPECT_THAT(Texts(At(policy, "spec.policyTypes")), ElementsAre("Ingress", "Egress"));
  const YAML::Node ingress = At(policy, "spec.ingress");
  ASSERT_EQ(ingress.size(), 2u);
  EXPECT_EQ(Text(ingress[0], "ports.0.port"), "grpc");
  EXPECT_EQ(Show(At(ingress[0], "from.0")), "{podSelector: {}}") << "pods of this namespace, for there is no namespaceSelector";
  EXPECT_EQ(Show(At(ingress[0], "from.1.podSelector.matchLabels")["app.kubernetes.io/component"]), "test");
  EXPECT_EQ(At(ingress[0], "from").size(), 2u);
  EXPECT_EQ(Text(ingress[1], "ports.0.port"), "http");
  EXPECT_EQ(Show(At(ingress[1], "from")), "[{podSelector: {}}]") << "the admin port asks nobody who he is";
  EXPECT_EQ(Show(At(policy, "spec.egress")),
            "[{ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}, {ports: [{port: 5432, protocol: TCP}]}]");

  const YAML::Node narrow = Render("networkPolicy:\n  grpcFrom: [{namespaceSelector: {matchLabels: {a: b}}}]\n"
                                   "  metricsFrom: [{namespaceSelector: {matchLabels: {c: d}}}]\n"
                                   "  postgresTo: [{ipBlock: {cidr: 10.0.0.0/8}}]\n  postgresPorts: [5432, 6432]\n"
                                   "  extraIngress: [{ports: [{port: 1}]}]\n  extraEgress: [{ports: [{port: 4317}]}]\n")
                                .Get("NetworkPolicy", "migrationd");
  EXPECT_EQ(Show(At(narrow, "spec.ingress.0.from.0")), "{namespaceSelector: {matchLabels: {a: b}}}");
  EXPECT_EQ(Show(At(narrow, "spec.ingress.1.from")), "[{namespaceSelector: {matchLabels: {c: d}}}]");
  EXPECT_EQ(Show(At(narrow, "spec.ingress.2")), "{ports: [{port: 1}]}");
  EXPECT_EQ(Show(At(narrow, "spec.egress.1")),
            "{ports: [{port: 5432, protocol: TCP}, {port: 6432, protocol: TCP}], to: [{ipBlock: {cidr: 10.0.0.0/8}}]}");
  EXPECT_EQ(Show(At(narrow, "spec.egress.2")), "{ports: [{port: 4317}]}");

  const YAML::Node open = Render("networkPolicy: {grpcFrom: [], metricsFrom: []}").Get("NetworkPolicy", "migrationd");
  EXPECT_EQ(Show(At(open, "spec.ingress")), "[{ports: [{port: grpc, protocol: TCP}]}, {ports: [{port: http, protocol: TCP}]}]");
}

TEST_F(ObjectsTest, ExtrasArriveWhereTheyBelong) {
  const Rendered rendered = Render("extraArgs: [--no-auto-upgrade]\nextraEnv: [{name: TZ, value: UTC}]\n"
                                   "extraVolumes: [{name: more, emptyDir: {}}]\nextraVolumeMounts: [{name: more, mountPath: /more}]\n"
                                   "podLabels: {mesh: enabled}\npodAnnotations: {a: b}\ncommonLabels: {team: databases}\n"
                                   "image: {repository: registry.example.org/m, tag: v2}\nimagePullSecrets: [{name: registry}]");
  EXPECT_EQ(rendered.Args().back(), "--no-auto-upgrade");
  EXPECT_EQ(Text(Named(At(rendered.Container(), "env"), "TZ"), "value"), "UTC");
  EXPECT_EQ(Text(Named(At(rendered.Container(), "volumeMounts"), "more"), "mountPath"), "/more");
  const YAML::Node pod = At(rendered.Deployment(), "spec.template");
  EXPECT_TRUE(Named(At(pod, "spec.volumes"), "more").IsDefined());
  EXPECT_EQ(Text(pod, "metadata.labels.mesh"), "enabled");
  EXPECT_EQ(Text(pod, "metadata.annotations.a"), "b");
  for (const YAML::Node& object : rendered.objects)
    EXPECT_EQ(Text(object, "metadata.labels.team"), "databases") << Text(object, "kind");
  EXPECT_EQ(Text(rendered.Container(), "image"), "registry.example.org/m:v2");
  EXPECT_EQ(Text(pod, "spec.imagePullSecrets.0.name"), "registry");
  const std::string digest = absl::StrCat("sha256:", std::string(64, 'a'));
  EXPECT_EQ(Text(Render("image: {tag: v2, digest: '" + digest + "'}").Container(), "image"), "migrationd@" + digest);
}

// helm test.
class TestPodTest : public ChartTest {
 protected:
  YAML::Node Pod(const std::string& values) {
    const YAML::Node pod = Render(values).Get("Pod", "migrationd-test");
    EXPECT_EQ(Show(At(pod, "metadata.annotations")["helm.sh/hook"]), "test");
    return pod;
  }
  static std::map<std::string, std::string> Environment(const YAML::Node& pod) {
    std::map<std::string, std::string> environment;
    for (const auto& variable : At(pod, "spec.containers.0.env")) environment[Text(variable, "name")] = Text(variable, "value");
    return environment;
  }
  static std::string SecretAt(const YAML::Node& pod, const std::string& folder) {
    for (const auto& mount : At(pod, "spec.containers.0.volumeMounts")) {
      if (Text(mount, "mountPath") == folder) return Text(Named(At(pod, "spec.volumes"), Text(mount, "name")), "secret.secretName");
    }
    return "(not mounted)";
  }
};

TEST_F(TestPodTest, AsksTheServiceWhatThereIs) {
  const YAML::Node pod = Pod("service: {port: 443}");
  EXPECT_EQ(Show(At(pod, "spec.containers.0.command")), "[/usr/bin/migrationctl]");
  EXPECT_EQ(Show(At(pod, "spec.containers.0.args")), "[list]");
  EXPECT_EQ(At(pod, "spec.containers").size(), 1u);
  EXPECT_EQ(Text(pod, "spec.restartPolicy"), "Never");
  EXPECT_EQ(Environment(pod), (std::map<std::string, std::string>{{"MIGRATIONCTL_SERVER", "migrationd.infra.svc:443"}}));
  EXPECT_EQ(Environment(Pod("tests: {server: 'elsewhere:1'}"))["MIGRATIONCTL_SERVER"], "elsewhere:1");
}

TEST_F(TestPodTest, AsksForOneMigrationToo) {
  const YAML::Node pod = Pod("tests: {migration: backfill_status}");
  EXPECT_EQ(Show(At(Named(At(pod, "spec.containers"), "status"), "args")), "[status, backfill_status]");
  EXPECT_EQ(Show(At(Named(At(pod, "spec.containers"), "list"), "args")), "[list]");
}

TEST_F(TestPodTest, TrustsTheServersCertificateAuthorityAndNothingMoreOfItsSecret) {
  const YAML::Node pod = Pod("tls: {enabled: true, existingSecret: certificate}");
  EXPECT_EQ(Environment(pod)["MIGRATIONCTL_CA"], "/etc/migrationctl/tls/ca.crt");
  EXPECT_EQ(Environment(pod).count("MIGRATIONCTL_CERT"), 0u);
  EXPECT_EQ(SecretAt(pod, "/etc/migrationctl/tls"), "certificate");
  EXPECT_EQ(Show(At(Named(At(pod, "spec.volumes"), "tls"), "secret.items")), "[{key: ca.crt, path: ca.crt}]");
}

TEST_F(TestPodTest, ShowsACertificateWhereOneIsDemanded) {
  const YAML::Node own = Pod("tls: {enabled: true, clientCa: true}\ntests: {clientCertificate: {existingSecret: tester}}");
  EXPECT_EQ(Environment(own)["MIGRATIONCTL_CERT"], "/etc/migrationctl/client/tls.crt");
  EXPECT_EQ(Environment(own)["MIGRATIONCTL_KEY"], "/etc/migrationctl/client/tls.key");
  EXPECT_EQ(SecretAt(own, "/etc/migrationctl/client"), "tester");
  EXPECT_EQ(Show(At(Named(At(own, "spec.volumes"), "client"), "secret.items")),
            "[{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]");
}

// It used to show the server's, and so had the server's private key.
TEST_F(TestPodTest, IsLeftOutWhereACertificateIsDemandedAndItHasNone) {
  const Rendered rendered = Render("tls: {enabled: true, existingSecret: certificate, clientCa: true}");
  EXPECT_TRUE(rendered.OfKind("Pod").empty());
  EXPECT_EQ(Show(At(rendered.Get("NetworkPolicy", "migrationd"), "spec.ingress.0.from")), "[{podSelector: {}}]") << "nor is it let in";
}

TEST_F(TestPodTest, BringsItsToken) {
  const YAML::Node pod = Pod("tests: {token: {existingSecret: tester, key: secret}}");
  EXPECT_EQ(Environment(pod)["MIGRATIONCTL_TOKEN_FILE"], "/etc/migrationctl/token/token");
  EXPECT_EQ(SecretAt(pod, "/etc/migrationctl/token"), "tester");
  EXPECT_EQ(Show(At(Named(At(pod, "spec.volumes"), "token"), "secret.items")), "[{key: secret, path: token}]");
  EXPECT_EQ(Environment(Pod("auth: {tokens: {enabled: true}}")).count("MIGRATIONCTL_TOKEN_FILE"), 0u);
}

}  // namespace
}  // namespace migrationd
