#include "tests/helm/promql.h"

#include <gtest/gtest.h>

#include <regex>
#include <sstream>

#include "tests/helm/chart.h"

namespace migrationd {

std::set<std::string> MetricNames(const std::string& expression) {
  // What is no name of a metric, one kind after the other: texts, matchers, ranges, lists of labels.
  static const std::regex kNoise[] = {
      std::regex(R"("[^"]*")"), std::regex(R"(\{[^}]*\})"), std::regex(R"(\[[^\]]*\])"),
      std::regex(R"(\b(by|on|ignoring|without|group_left|group_right)\s*\([^)]*\))")};
  static const std::set<std::string> kWords = {"and", "or", "unless", "bool", "offset", "inf", "nan"};
  static const std::regex kName(R"([a-zA-Z_:][a-zA-Z0-9_:]*(\s*\()?)");
  std::string rest = expression;
  for (const std::regex& noise : kNoise) rest = std::regex_replace(rest, noise, " ");
  std::set<std::string> names;
  for (std::sregex_iterator match(rest.begin(), rest.end(), kName), end; match != end; ++match) {
    if (match->str().back() != '(' && kWords.count(match->str()) == 0) names.insert(match->str());
  }
  return names;
}

void ExpectKnownMetrics(const std::string& where, const std::string& expression, const std::set<std::string>& known) {
  static const std::regex kPart("_(bucket|sum|count)$");
  const std::set<std::string> names = MetricNames(expression);
  EXPECT_FALSE(names.empty()) << where << ": " << expression;
  for (const std::string& name : names) {
    EXPECT_TRUE(known.count(name) == 1 || known.count(std::regex_replace(name, kPart, "")) == 1)
        << where << ": migrationd has no metric " << name;
  }
}

}  // namespace migrationd
