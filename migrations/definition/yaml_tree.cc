#include "migrations/definition/yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <exception>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "migrations/definition/text_rules.h"

namespace migrationd {
namespace {

constexpr std::size_t kMostBytes = 256 * 1024;
constexpr std::size_t kDeepest = 20;

// Ends the parse from inside a handler; the problem was recorded.
class StopReading : public std::exception {};

// Builds the tree of the first document. Everything after a refusal is read on, so that all problems are reported.
class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::vector<DefinitionProblem>& problems) : problems_(problems) {}

  YamlNode TakeRoot() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Add(Open(YamlNode::Kind::kNull, mark, "", anchor));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    Problem(mark, "aliases (*name) are not supported; write the value out");
    Add(Open(YamlNode::Kind::kRefused, mark, "", 0));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    // The parser hands out "?" for plain scalars and "!" for quoted ones.
    YamlNode node = Open(YamlNode::Kind::kScalar, mark, tag == "?" || tag == "!" ? "" : tag, anchor);
    node.text = value;
    node.quoted = tag == "!";
    if (value.find('\0') != std::string::npos || FindInvalidUtf8(value) != std::string::npos) {
      Problem(mark, "holds a zero byte or text that is not UTF-8; write it as plain text");
      node.kind = YamlNode::Kind::kRefused;
    }
    Add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Push(Open(YamlNode::Kind::kList, mark, tag == "?" ? "" : tag, anchor));
  }
  void OnSequenceEnd() override { Pop(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Push(Open(YamlNode::Kind::kMap, mark, tag == "?" ? "" : tag, anchor));
  }
  void OnMapEnd() override { Pop(); }

 private:
  struct Frame {
    YamlNode node;
    std::set<std::string> seen;  // keys of a map
    bool key_pending = false;    // of a map: the next node is a value
    bool key_refused = false;    // ... which goes with a key that was refused
  };

  void Problem(const YAML::Mark& mark, std::string message) {
    problems_.push_back({mark.line + 1, mark.column + 1, Path(), std::move(message)});
  }
  void KeyProblem(const YamlNode& key, const std::string& name, std::string message) {
    const std::string path = Path();
    problems_.push_back(
        {key.line, key.column, absl::StrCat(path, path.empty() || name.empty() ? "" : ".", name), std::move(message)});
  }

  // The path to where the reader is: keys that are open.
  std::string Path() const {
    std::string path;
    for (const Frame& frame : frames_) {
      if (frame.node.kind == YamlNode::Kind::kList) {
        absl::StrAppend(&path, "[", frame.node.items.size(), "]");
      } else if (frame.key_pending) {
        absl::StrAppend(&path, path.empty() ? "" : ".", Shown(frame.node.keys.back().text));
      }
    }
    return path;
  }

  YamlNode Open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    if (anchor != 0) Problem(mark, "anchors (&name) are not supported; remove it");
    if (!tag.empty()) Problem(mark, absl::StrCat("tags (", Shown(tag), ") are not supported; remove it"));
    return node;
  }

  void Push(YamlNode node) {
    if (frames_.size() >= kDeepest) {
      problems_.push_back({node.line, node.column, "", absl::StrCat("nesting is deeper than ", kDeepest)});
      throw StopReading();
    }
    frames_.push_back({std::move(node), {}, false, false});
  }

  void Pop() {
    YamlNode node = std::move(frames_.back().node);
    frames_.pop_back();
    Add(std::move(node));
  }

  void Add(YamlNode node) {
    if (frames_.empty()) {
      root_ = std::move(node);
      return;
    }
    Frame& frame = frames_.back();
    if (frame.node.kind == YamlNode::Kind::kList) {
      frame.node.items.push_back(std::move(node));
    } else if (frame.key_pending) {
      if (frame.key_refused) node.kind = YamlNode::Kind::kRefused;
      frame.node.items.push_back(std::move(node));
      frame.key_pending = false;
    } else {
      AddKey(frame, node);
    }
  }

  void AddKey(Frame& frame, const YamlNode& node) {
    frame.key_refused = true;
    if (node.kind != YamlNode::Kind::kScalar) {
      if (node.kind != YamlNode::Kind::kRefused) KeyProblem(node, "", "a key must be a plain word");
    } else if (node.text == "<<" && !node.quoted) {
      KeyProblem(node, "", "merge keys (<<) are not supported; write the fields out");
    } else if (!frame.seen.insert(node.text).second) {
      KeyProblem(node, Shown(node.text), absl::StrCat("'", Shown(node.text), "' is given twice; keep one of them"));
    } else {
      frame.key_refused = false;
    }
    frame.node.keys.push_back({node.text, node.line, node.column});
    frame.key_pending = true;
  }

  std::vector<DefinitionProblem>& problems_;
  std::vector<Frame> frames_;
  YamlNode root_;
};

// Finds out only whether another document begins.
class SecondDocument : public YAML::EventHandler {
 public:
  explicit SecondDocument(std::vector<DefinitionProblem>& problems) : problems_(problems) {}
  void OnDocumentStart(const YAML::Mark& mark) override {
    problems_.push_back(
        {mark.line + 1, mark.column + 1, "", "a second document begins here; one file is one definition"});
    throw StopReading();
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

 private:
  std::vector<DefinitionProblem>& problems_;
};

// What no YAML of ours holds, found before the parser sees it (which would guess at other encodings). 0-based offset of
// the first such byte.
std::size_t FindForbiddenByte(const std::string& yaml) {
  const std::size_t invalid = FindInvalidUtf8(yaml);
  const auto control = std::find_if(yaml.begin(), yaml.end(), [](char c) {
    const unsigned char byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\n' && c != '\r' && c != '\t') || byte == 0x7F;
  });
  const std::size_t found = control == yaml.end() ? std::string::npos : control - yaml.begin();
  return std::min(invalid, found);
}

DefinitionProblem ProblemAtByte(const std::string& yaml, std::size_t offset, std::string message) {
  const std::string_view before(yaml.data(), offset);
  const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  DefinitionProblem problem;
  problem.line = static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1;
  problem.column = static_cast<int>(offset - line_start) + 1;
  problem.message = std::move(message);
  return problem;
}

YamlNode Unreadable() {
  YamlNode node;
  node.kind = YamlNode::Kind::kRefused;
  return node;
}

}  // namespace

YamlNode ReadYamlTree(const std::string& yaml, std::vector<DefinitionProblem>& problems) {
  if (yaml.size() > kMostBytes) {
    problems.push_back(
        {0, 0, "", absl::StrCat("the file has ", yaml.size(), " bytes; at most ", kMostBytes, " are read")});
    return Unreadable();
  }
  if (const std::size_t offset = FindForbiddenByte(yaml); offset != std::string::npos) {
    problems.push_back(
        ProblemAtByte(yaml, offset, "a control character, or a byte that is not UTF-8; write plain UTF-8 text"));
    return Unreadable();
  }
  try {
    // yaml-cpp takes a quote that is open at a final line break for closed, so a half-written file for whole. A comment
    // on a line of its own makes it notice, and changes nothing else.
    std::istringstream stream(absl::EndsWith(yaml, "\n") ? yaml + "#" : yaml);
    YAML::Parser parser(stream);
    TreeBuilder builder(problems);
    if (!parser.HandleNextDocument(builder)) {
      problems.push_back({1, 1, "", "the file is empty; write a definition"});
      return Unreadable();
    }
    SecondDocument second(problems);
    parser.HandleNextDocument(second);
    return builder.TakeRoot();
  } catch (const StopReading&) {
    // Its problem was recorded where it was thrown.
  } catch (const YAML::Exception& error) {
    problems.push_back({error.mark.line + 1, error.mark.column + 1, "",
                        absl::StrCat("this is not YAML: ", Shown(error.msg), "; look at quotes and indentation")});
  } catch (const std::exception& error) {
    problems.push_back({0, 0, "", absl::StrCat("this cannot be read as YAML: ", Shown(error.what()))});
  }
  return Unreadable();
}

}  // namespace migrationd
