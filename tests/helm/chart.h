// The chart as helm renders it, and words for what tests ask of it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <ostream>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace migrationd {

// helm/migrationd in the sources.
std::string ChartFolder();
std::string ReadFile(const std::string& path);

// The value at a path of keys and indexes, "spec.containers.0.image"; an undefined node where there is none.
YAML::Node At(const YAML::Node& node, const std::string& path);
// Its text; "(none)" where there is none, which no object says.
std::string Text(const YAML::Node& node, const std::string& path);
std::vector<std::string> Texts(const YAML::Node& sequence);
// All keys of a map; none of what is not a map.
std::vector<std::string> Keys(const YAML::Node& map);
// The element of a sequence whose `name` is that; an undefined node where there is none.
YAML::Node Named(const YAML::Node& sequence, const std::string& name);
// One text for equal nodes.
std::string Show(const YAML::Node& node);

struct Rendered {
  CommandResult result;
  std::vector<YAML::Node> objects;  // none when it failed

  std::vector<YAML::Node> OfKind(const std::string& kind) const;
  // The one object of that kind and name; an undefined node, and a failed test, where there is none, or more.
  YAML::Node Get(const std::string& kind, const std::string& name) const;
  // The server's Deployment and its container.
  YAML::Node Deployment() const { return Get("Deployment", "migrationd"); }
  YAML::Node Container() const { return At(Deployment(), "spec.template.spec.containers.0"); }
  std::vector<std::string> Args() const { return Texts(At(Container(), "args")); }
  // Every pod, whatever makes it: its `spec`, beside the name of the object that holds it.
  struct Pod {
    std::string name;
    YAML::Node metadata;
    YAML::Node spec;
  };
  std::vector<Pod> Pods() const;
};

struct RenderOptions {
  std::string values = {};           // the text of a file of values
  std::vector<std::string> flags = {};  // more flags of helm template
  std::string kube_version = "1.30.0";
  std::string folder = {};           // of the chart; by default ChartFolder()
};

// helm, or a test that is skipped for want of it. Release migrationd in the namespace infra, so that objects are named migrationd.
class ChartTest : public ::testing::Test {
 protected:
  void SetUp() override;
  // Skips the test, or fails it when tools are required, where there is no such tool. Returns early; check with IsSkipped.
  void Need(const std::string& tool, std::string& file);

  // helm template, which may fail.
  Rendered TryRender(const RenderOptions& options);
  // One that must not.
  Rendered Render(const RenderOptions& options);
  Rendered Render(const std::string& values = "") { return Render(RenderOptions{.values = values}); }
  // What helm says to values it refuses; "" when it takes them.
  std::string Refusal(const std::string& values);
  // Any program, with a deadline.
  CommandResult Run(const std::vector<std::string>& command);
  // A file in a folder that is removed with the test.
  std::string Write(const std::string& name, const std::string& text);
  const std::string& folder() const { return folder_.path(); }
  const std::string& helm() const { return helm_; }

 private:
  TempFolder folder_;
  std::string helm_;
};

// Sets of values that users may have; every check that holds for all values is made with each.
struct ValuesCase {
  std::string name;
  std::string values;
};
void PrintTo(const ValuesCase& values, std::ostream* out);
const std::vector<ValuesCase>& Matrix();

}  // namespace migrationd
