// YAML text as a tree with the place of everything. The only file that knows yaml-cpp.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "migrations/definition/definition.h"

namespace migrationd {

struct YamlKey {
  std::string text;
  int line = 0;  // from 1
  int column = 0;
};

struct YamlNode {
  enum class Kind {
    kNull,
    kScalar,
    kList,
    kMap,
    kRefused,  // a problem was reported for it; skip it in silence
  };
  Kind kind = Kind::kNull;
  int line = 0;
  int column = 0;
  std::string text;             // of a scalar
  bool quoted = false;          // a scalar in quotes or a block
  std::vector<YamlKey> keys;    // of a map, in order, one for each of `items`; no two are equal
  std::vector<YamlNode> items;  // of a map or list
};

// Adds to `problems` what the format of definitions refuses in any YAML: more than one document, anchors, aliases,
// tags, merge keys, duplicate keys, keys that are no scalars, nesting deeper than 20, more than 256 KiB, text that is
// not UTF-8 or holds control characters. Never throws. When the text cannot be read at all, the root is kRefused.
YamlNode ReadYamlTree(const std::string& yaml, std::vector<DefinitionProblem>& problems);

}  // namespace migrationd
