// A YAML tree onto a message, by reflection.
#pragma once

#include <google/protobuf/message.h>

#include <map>
#include <string>
#include <vector>

#include "migrations/definition/definition.h"
#include "migrations/definition/yaml_tree.h"

namespace migrationd {

// Where the values stand that the file gives: path (`sql_batch.key[1]`) -> place.
struct YamlPlace {
  int line = 0;
  int column = 0;
};
using YamlPlaces = std::map<std::string, YamlPlace>;

// Fills `message` and `places`; adds unknown fields and values of the wrong form to `problems`.
void ReadYamlMessage(const YamlNode& root, google::protobuf::Message& message, YamlPlaces& places,
                     std::vector<DefinitionProblem>& problems);

}  // namespace migrationd
