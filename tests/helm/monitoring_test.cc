// ServiceMonitor, alert rules and dashboard: they find the pods, use metrics that exist, and alarm when they should.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "server/observability/metric_table.h"
#include "tests/helm/chart.h"
#include "tests/helm/promql.h"

namespace migrationd {
namespace {

using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using Json = nlohmann::json;

const std::string& AlertsFile() {
  static const auto* const file = new std::string(ChartFolder() + "/files/alerts.yaml");
  return *file;
}
// What the server exports, and what Prometheus adds to every scrape.
std::set<std::string> Known() {
  std::set<std::string> names = {"up"};
  for (const MetricInfo& metric : AllMetrics()) names.insert(std::string(metric.name));
  return names;
}

// Every alert of a rule file, or of the spec of a PrometheusRule.
std::map<std::string, YAML::Node> Alerts(const YAML::Node& rules) {
  std::map<std::string, YAML::Node> alerts;
  for (const auto& group : rules["groups"]) {
    for (const auto& rule : group["rules"]) EXPECT_TRUE(alerts.emplace(Text(rule, "alert"), rule).second) << Text(rule, "alert");
  }
  return alerts;
}
std::map<std::string, YAML::Node> AlertsOfFile() { return Alerts(YAML::LoadFile(AlertsFile())); }

TEST(MetricNamesTest, AreWhatIsNoFunctionLabelWordOrText) {
  EXPECT_THAT(MetricNames(R"(sum by (job, le) (rate(a_bucket{job="x", b=~"c|d"}[5m])) / on (job) d > 0.05 and e == 1)"),
              ElementsAre("a_bucket", "d", "e"));
  EXPECT_THAT(MetricNames("time() - max without (pod) (f_seconds)"), ElementsAre("f_seconds"));
}

TEST(AlertsTest, EachSaysWhereWhatAndWhatToDo) {
  const std::string readme = ReadFile(ChartFolder() + "/README.md");
  const auto alerts = AlertsOfFile();
  EXPECT_GT(alerts.size(), 12u);
  for (const auto& [name, rule] : alerts) {
    EXPECT_THAT(name, StartsWith("Migrationd"));
    EXPECT_THAT(Text(rule, "labels.severity"), AnyOf("warning", "critical")) << name;
    EXPECT_NE(Text(rule, "for"), "(none)") << name;
    EXPECT_NE(Text(rule, "annotations.summary"), "(none)") << name;
    EXPECT_NE(Text(rule, "annotations.description"), "(none)") << name;
    const std::vector<std::string> url = absl::StrSplit(Text(rule, "annotations.runbook_url"), '#');
    ASSERT_EQ(url.size(), 2u) << name;
    EXPECT_EQ(url[0], "helm/migrationd/README.md") << name;
    std::vector<std::string> anchors;
    for (const std::string& line : std::vector<std::string>(absl::StrSplit(readme, '\n'))) {
      if (absl::StartsWith(line, "### ")) anchors.push_back(absl::AsciiStrToLower(line.substr(4)));
    }
    EXPECT_THAT(anchors, Contains(url[1])) << name;
  }
}

TEST(AlertsTest, UseMetricsThatExistOfThisJobOnly) {
  for (const auto& [name, rule] : AlertsOfFile()) {
    const std::string expression = Text(rule, "expr");
    ExpectKnownMetrics(name, expression, Known());
    for (const std::string& metric : MetricNames(expression)) {
      for (std::size_t at = expression.find(metric); at != std::string::npos; at = expression.find(metric, at + 1)) {
        if (at > 0 && (absl::ascii_isalnum(expression[at - 1]) || expression[at - 1] == '_')) continue;
        const std::string rest = expression.substr(at + metric.size());
        if (!rest.empty() && (absl::ascii_isalnum(rest[0]) || rest[0] == '_')) continue;
        EXPECT_THAT(rest, StartsWith("{job=\"migrationd\"")) << name << ": " << metric;
      }
    }
  }
}

TEST(AlertsTest, EachHasATest) {
  const std::string tests = ReadFile(SOURCE "/tests/helm/alerts_test.yaml");
  for (const auto& [name, rule] : AlertsOfFile())
    EXPECT_TRUE(absl::StrContains(tests, absl::StrCat("ALERTS{alertname=\"", name, "\"")) ||
                absl::StrContains(tests, absl::StrCat("alertname: ", name, "\n")))
        << name;
}

class PromtoolTest : public ChartTest {
 protected:
  void SetUp() override { Need("promtool", promtool_); }
  std::string promtool_;
};

TEST_F(PromtoolTest, TakesTheRules) {
  const CommandResult check = Run({promtool_, "check", "rules", AlertsFile()});
  EXPECT_EQ(check.exit_status, 0) << check.out << check.err;
}

TEST_F(PromtoolTest, SeesEachAlertFireWhenItShould) {
  const CommandResult test = Run({promtool_, "test", "rules", SOURCE "/tests/helm/alerts_test.yaml"});
  EXPECT_EQ(test.exit_status, 0) << test.out << test.err;
}

// So that the check above is one: without its alert, a test fails.
TEST_F(PromtoolTest, NoticesAnAlertThatDoesNotFire) {
  const std::string rules = Write("alerts.yaml", absl::StrReplaceAll(ReadFile(AlertsFile()), {{"state=\"HALTED\"", "state=\"HALT\""}}));
  const std::string tests = Write(
      "test.yaml",
      absl::StrReplaceAll(ReadFile(SOURCE "/tests/helm/alerts_test.yaml"), {{"../../helm/migrationd/files/alerts.yaml", rules}}));
  const CommandResult test = Run({promtool_, "test", "rules", tests});
  EXPECT_NE(test.exit_status, 0);
  EXPECT_THAT(test.out + test.err, HasSubstr("MigrationdMigrationHalted"));
}

class MonitoringTest : public ChartTest {};

TEST_F(MonitoringTest, TheServiceMonitorFindsEachPodOnce) {
  const Rendered rendered = Render("serviceMonitor: {enabled: true, labels: {release: prometheus}, namespace: monitoring}");
  const YAML::Node monitor = rendered.Get("ServiceMonitor", "migrationd");
  EXPECT_EQ(Text(monitor, "apiVersion"), "monitoring.coreos.com/v1");
  EXPECT_EQ(Text(monitor, "metadata.namespace"), "monitoring");
  EXPECT_EQ(Text(monitor, "metadata.labels.release"), "prometheus");
  EXPECT_EQ(Show(At(monitor, "spec.namespaceSelector.matchNames")), "[infra]");
  EXPECT_EQ(Text(monitor, "spec.endpoints.0.path"), "/metrics");
  const std::string port = Text(monitor, "spec.endpoints.0.port");
  const YAML::Node wanted = At(monitor, "spec.selector.matchLabels");
  ASSERT_GT(wanted.size(), 0u);
  std::vector<std::string> found;
  for (const YAML::Node& service : rendered.OfKind("Service")) {
    bool matches = true;
    for (const std::string& label : Keys(wanted))
      matches = matches && Show(wanted[label]) == Show(At(service, "metadata.labels")[label]);
    if (!matches) continue;
    found.push_back(Text(service, "metadata.name"));
    EXPECT_TRUE(Named(At(service, "spec.ports"), port).IsDefined());
  }
  EXPECT_THAT(found, ElementsAre("migrationd-metrics"));
}

// Prometheus' operator takes the Service's name, and alerts and dashboard ask for the release's.
TEST_F(MonitoringTest, TheServiceMonitorGivesTheJobThatTheAlertsAskFor) {
  const Rendered rendered = Render(
      RenderOptions{.values = "fullnameOverride: migrationd-blue\nprometheusRule: {enabled: true}\n"
                              "serviceMonitor: {enabled: true, relabelings: [{targetLabel: cluster, replacement: eu}]}"});
  const YAML::Node relabelings = At(rendered.Get("ServiceMonitor", "migrationd-blue"), "spec.endpoints.0.relabelings");
  EXPECT_EQ(Show(relabelings), "[{replacement: migrationd-blue, targetLabel: job}, {replacement: eu, targetLabel: cluster}]");
  EXPECT_THAT(Text(rendered.Get("PrometheusRule", "migrationd-blue"), "spec.groups.0.rules.0.expr"),
              HasSubstr("{job=\"migrationd-blue\", namespace=\"infra\"}"));
}

TEST_F(MonitoringTest, AnnotationsForScrapersAreThereUnlessAServiceMonitorIs) {
  const auto annotations = [&](const std::string& values) {
    return Keys(At(Render(values).Deployment(), "spec.template.metadata.annotations"));
  };
  EXPECT_THAT(annotations(""), Contains("prometheus.io/scrape"));
  EXPECT_THAT(annotations("serviceMonitor: {enabled: true}"), Not(Contains("prometheus.io/scrape")));
}

TEST_F(MonitoringTest, ThePrometheusRuleIsTheFileForThisRelease) {
  const YAML::Node spec = At(
      Render(RenderOptions{.values = "prometheusRule: {enabled: true}\nfullnameOverride: migrationd-blue"}).Get("PrometheusRule", "migrationd-blue"),
      "spec");
  const auto rendered = Alerts(spec);
  const auto file = AlertsOfFile();
  ASSERT_EQ(rendered.size(), file.size());
  for (const auto& [name, rule] : file) {
    ASSERT_EQ(rendered.count(name), 1u) << name;
    const YAML::Node& ours = rendered.at(name);
    EXPECT_EQ(Text(ours, "expr"), absl::StrReplaceAll(Text(rule, "expr"),
                                                      {{"job=\"migrationd\"", "job=\"migrationd-blue\", namespace=\"infra\""}}));
    EXPECT_EQ(Show(ours["annotations"]), Show(rule["annotations"])) << name;
    EXPECT_EQ(Show(ours["labels"]), Show(rule["labels"])) << name;
    EXPECT_EQ(Text(ours, "for"), Text(rule, "for")) << name;
  }
  std::string promtool;
  Need("promtool", promtool);
  if (promtool.empty()) return;
  const CommandResult check = Run({promtool, "check", "rules", Write("rules.yaml", YAML::Dump(spec))});
  EXPECT_EQ(check.exit_status, 0) << check.out << check.err;
}

TEST_F(MonitoringTest, AlertsCanBeLeftOutLabelledAndLinked) {
  const auto alerts = Alerts(At(Render("prometheusRule:\n  enabled: true\n  disabled: [MigrationdFrozenTooLong]\n"
                                       "  alertLabels: {team: databases}\n  selector: cluster=\"eu\"\n"
                                       "  runbookBaseUrl: https://git.example.org/main/\n")
                                    .Get("PrometheusRule", "migrationd"),
                                "spec"));
  EXPECT_EQ(alerts.size(), AlertsOfFile().size() - 1);
  EXPECT_EQ(alerts.count("MigrationdFrozenTooLong"), 0u);
  for (const auto& [name, rule] : alerts) {
    EXPECT_EQ(Text(rule, "labels.team"), "databases") << name;
    EXPECT_THAT(Text(rule, "expr"), HasSubstr("{cluster=\"eu\"")) << name;
    EXPECT_THAT(Text(rule, "expr"), Not(HasSubstr("job=\""))) << name;
    EXPECT_THAT(Text(rule, "annotations.runbook_url"), StartsWith("https://git.example.org/main/helm/migrationd/README.md#")) << name;
  }
}

TEST_F(MonitoringTest, TheDashboardIsTheFile) {
  const YAML::Node map = Render("dashboard: {enabled: true, namespace: monitoring, annotations: {grafana_folder: Databases}}")
                             .Get("ConfigMap", "migrationd-dashboard");
  EXPECT_EQ(Text(map, "metadata.namespace"), "monitoring");
  EXPECT_EQ(Text(map, "metadata.labels.grafana_dashboard"), "1");
  EXPECT_EQ(Text(map, "metadata.annotations.grafana_folder"), "Databases");
  EXPECT_EQ(Json::parse(Show(At(map, "data")["migrationd.json"])), Json::parse(ReadFile(ChartFolder() + "/files/dashboard.json")));
}

// The rules of grafana's dashboard-linter.
class DashboardTest : public ::testing::Test {
 protected:
  DashboardTest() : dashboard_(Json::parse(ReadFile(ChartFolder() + "/files/dashboard.json"))) {}
  // Without the rows.
  std::vector<Json> Panels() const {
    std::vector<Json> panels;
    for (const Json& panel : dashboard_["panels"]) {
      if (panel["type"] != "row") panels.push_back(panel);
    }
    EXPECT_GT(panels.size(), 20u);
    return panels;
  }
  const Json dashboard_;
};

TEST_F(DashboardTest, IsOneThatNobodyEditsByHand) {
  EXPECT_EQ(dashboard_["editable"], false);
  EXPECT_EQ(dashboard_["uid"], "migrationd-overview");
  EXPECT_FALSE(dashboard_["tags"].empty());
  EXPECT_EQ(dashboard_.value("id", Json()), Json()) << "an id belongs to one Grafana";
}

TEST_F(DashboardTest, HasVariablesForSourceJobAndInstance) {
  std::map<std::string, Json> variables;
  for (const Json& variable : dashboard_["templating"]["list"]) variables[variable["name"]] = variable;
  EXPECT_EQ(variables["datasource"]["type"], "datasource");
  EXPECT_EQ(variables["datasource"]["query"], "prometheus");
  for (const char* name : {"job", "instance", "target", "migration"}) {
    const Json& variable = variables[name];
    EXPECT_EQ(variable["type"], "query") << name;
    EXPECT_EQ(variable["multi"], true) << name;
    EXPECT_EQ(variable["includeAll"], true) << name;
    EXPECT_EQ(variable["refresh"], 2) << name << " follows the time range";
    EXPECT_EQ(variable["datasource"]["uid"], "${datasource}") << name;
    static const std::regex kLabelValues(R"(^label_values\(([a-z_]+)(\{.*\})?, ([a-z]+)\)$)");
    std::smatch match;
    const std::string query = variable["query"]["query"];
    ASSERT_TRUE(std::regex_match(query, match, kLabelValues)) << query;
    EXPECT_THAT(Known(), Contains(match[1].str()));
    EXPECT_EQ(match[3], name);
    EXPECT_EQ(variable["definition"], query);
  }
  EXPECT_EQ(variables["job"]["allValue"], ".+");
  EXPECT_EQ(variables["instance"]["allValue"], ".+");
}

TEST_F(DashboardTest, EachPanelSaysWhatItShowsAndInWhichUnit) {
  std::set<int> ids;
  std::set<std::string> titles;
  for (const Json& panel : Panels()) {
    const std::string title = panel.value("title", "");
    EXPECT_TRUE(ids.insert(panel["id"].get<int>()).second) << title;
    EXPECT_FALSE(title.empty());
    EXPECT_TRUE(titles.insert(title).second) << title;
    EXPECT_FALSE(panel.value("description", "").empty()) << title;
    EXPECT_NE(panel["fieldConfig"]["defaults"].value("unit", ""), "") << title;
    EXPECT_EQ(panel["datasource"]["uid"], "${datasource}") << title;
    EXPECT_FALSE(panel["targets"].empty()) << title;
  }
}

TEST_F(DashboardTest, PanelsLieBesideEachOther) {
  std::set<std::pair<int, int>> taken;
  for (const Json& panel : dashboard_["panels"]) {
    const Json& at = panel["gridPos"];
    const int left = at["x"], top = at["y"], width = at["w"], height = at["h"];
    EXPECT_LE(left + width, 24);
    for (int x = left; x < left + width; ++x) {
      for (int y = top; y < top + height; ++y) EXPECT_TRUE(taken.emplace(x, y).second) << panel["title"];
    }
  }
}

TEST_F(DashboardTest, EachQueryIsOfMetricsThatExistAndOfWhatIsChosen) {
  static const std::regex kMatchers(R"(\{([^}]*)\})");
  static const std::regex kCounter(R"(([a-z]*)\(?([a-z_]+_(total|bucket|sum|count))\{)");
  for (const Json& panel : Panels()) {
    const std::string title = panel["title"];
    for (const Json& target : panel["targets"]) {
      const std::string query = target["expr"];
      EXPECT_EQ(target["datasource"]["uid"], "${datasource}") << title;
      ExpectKnownMetrics(title, query, Known());
      // As many lists of matchers as metrics, each with both variables.
      int lists = 0;
      for (std::sregex_iterator match(query.begin(), query.end(), kMatchers), end; match != end; ++match, ++lists)
        EXPECT_THAT((*match)[1].str(), StartsWith("job=~\"$job\", instance=~\"$instance\"")) << title;
      EXPECT_GE(lists, static_cast<int>(MetricNames(query).size())) << title << ": " << query;
      for (std::sregex_iterator match(query.begin(), query.end(), kCounter), end; match != end; ++match)
        EXPECT_THAT((*match)[1].str(), AnyOf("rate", "irate", "increase")) << title << ": " << query;
      static const std::regex kRange(R"(\[([^\]]*)\])");
      for (std::sregex_iterator match(query.begin(), query.end(), kRange), end; match != end; ++match)
        EXPECT_EQ((*match)[1], "$__rate_interval") << title;
    }
  }
}

// promtool parses what Grafana would send.
TEST_F(PromtoolTest, TakesTheQueriesOfTheDashboard) {
  YAML::Node rules;
  YAML::Node group;
  group["name"] = "dashboard";
  int number = 0;
  const Json dashboard = Json::parse(ReadFile(ChartFolder() + "/files/dashboard.json"));
  for (const Json& panel : dashboard["panels"]) {
    if (!panel.contains("targets")) continue;
    for (const Json& target : panel["targets"]) {
      YAML::Node rule;
      rule["record"] = absl::StrCat("dashboard:query", ++number);
      rule["expr"] = absl::StrReplaceAll(target["expr"].get<std::string>(), {{"$__rate_interval", "5m"}});
      group["rules"].push_back(rule);
    }
  }
  ASSERT_GT(number, 20);
  rules["groups"].push_back(group);
  const CommandResult check = Run({promtool_, "check", "rules", Write("dashboard.yaml", YAML::Dump(rules))});
  EXPECT_EQ(check.exit_status, 0) << check.out << check.err;
}

}  // namespace
}  // namespace migrationd
