#include "trainer/config/node.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "kernels/runtime/checked_math.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// Deeper than any configuration; a bound, because an anchor may stand inside itself.
constexpr int kMaxDepth = 64;
// The limit of all scalars, each alias counting again.
constexpr int64_t kMaxScalarBytes = int64_t{64} << 20;
constexpr size_t kMaxShownBytes = 200;

std::string Place(const std::string& origin, const YAML::Mark& mark) {
  return mark.is_null() ? origin : absl::StrCat(origin, ":", mark.line + 1);
}

// Counts what a text would make, before anything is made: a few lines of aliases to aliases can
// stand for more than any memory holds.
class Counter : public YAML::EventHandler {
 public:
  explicit Counter(const std::string& origin) : origin_(origin) {}
  absl::Status status() const { return status_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++num_documents_ == 2) {
      Fail(mark, "a second document begins here; a file holds one (remove the '---')");
    }
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    OnScalar(mark, "", anchor, "");
  }
  void OnScalar(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                const std::string& value) override {
    const Size size{1, static_cast<int64_t>(value.size())};
    if (anchor != 0) anchors_[anchor] = size;
    Add(mark, size);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) return Fail(mark, "an alias stands inside what it stands for");
    Add(mark, found->second);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Begin(mark, anchor);
  }
  void OnSequenceEnd() override { End(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Begin(mark, anchor);
  }
  void OnMapEnd() override { End(); }

 private:
  struct Size {
    int64_t values = 0, bytes = 0;
  };
  struct Open {
    YAML::anchor_t anchor;
    Size before;
  };

  void Begin(const YAML::Mark& mark, YAML::anchor_t anchor) {
    open_.push_back({anchor, total_});
    Add(mark, {1, 0});
  }
  void End() {
    const Open ended = open_.back();
    open_.pop_back();
    if (ended.anchor == 0) return;
    anchors_[ended.anchor] = {total_.values - ended.before.values,
                              total_.bytes - ended.before.bytes};
  }
  void Add(const YAML::Mark& mark, const Size& size) {
    total_.values = SaturatedSum(total_.values, size.values);
    total_.bytes = SaturatedSum(total_.bytes, size.bytes);
    if (total_.values > kMaxConfigValues) {
      Fail(mark, absl::StrCat("more than ", kMaxConfigValues,
                              " values, counting each alias as all that it stands for"));
    } else if (total_.bytes > kMaxScalarBytes) {
      Fail(mark, absl::StrCat("more than ", kMaxScalarBytes >> 20,
                              " MiB of text, counting each alias as all that it stands for"));
    }
  }
  void Fail(const YAML::Mark& mark, absl::string_view what) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(absl::StrCat(Place(origin_, mark), ": ", what));
  }

  const std::string& origin_;
  absl::Status status_;
  int num_documents_ = 0;
  Size total_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, Size> anchors_;
};

absl::Status CheckSize(const std::string& yaml, const std::string& origin) {
  std::istringstream stream(yaml);
  YAML::Parser parser(stream);
  Counter counter(origin);
  while (counter.status().ok() && parser.HandleNextDocument(counter)) {
  }
  return counter.status();
}

absl::StatusOr<ConfigNode> Convert(const YAML::Node& yaml, const std::string& origin, int depth) {
  ConfigNode node;
  node.where = Place(origin, yaml.Mark());
  if (depth > kMaxDepth) {
    return absl::InvalidArgumentError(absl::StrCat(node.where, ": nested too deeply"));
  }
  switch (yaml.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      break;
    case YAML::NodeType::Scalar:
      node.kind = ConfigNode::Kind::kScalar;
      node.scalar = yaml.Scalar();
      node.quoted = yaml.Tag() == "!";
      if (yaml.Tag().size() > 1 && yaml.Tag()[0] == '!') node.tag = yaml.Tag();
      break;
    case YAML::NodeType::Sequence:
      node.kind = ConfigNode::Kind::kList;
      for (const YAML::Node& entry : yaml) {
        ASSIGN_OR_RETURN(ConfigNode child, Convert(entry, origin, depth + 1));
        node.list.push_back(std::move(child));
      }
      break;
    case YAML::NodeType::Map:
      node.kind = ConfigNode::Kind::kMap;
      for (const auto& member : yaml) {
        if (!member.first.IsScalar()) {
          return absl::InvalidArgumentError(absl::StrCat(
              Place(origin, member.first.Mark()), ": expected a key, got a list or a section"));
        }
        ASSIGN_OR_RETURN(ConfigNode child, Convert(member.second, origin, depth + 1));
        // A section begins on the line after its key; a message points at the key.
        child.where = Place(origin, member.first.Mark());
        node.map.push_back({member.first.Scalar(), std::move(child)});
      }
      break;
  }
  return node;
}

ConfigNode* FindMutable(ConfigNode* node, absl::string_view key) {
  for (auto& [name, child] : node->map) {
    if (name == key) return &child;
  }
  return nullptr;
}

void SetWhere(const std::string& where, ConfigNode* node) {
  node->where = where;
  for (ConfigNode& child : node->list) SetWhere(where, &child);
  for (auto& [name, child] : node->map) SetWhere(where, &child);
}

void AppendRepeated(const std::string& key, const ConfigNode& node, std::vector<std::string>* out) {
  for (size_t i = 0; i < node.list.size(); ++i) {
    AppendRepeated(absl::StrCat(key, "[", i, "]"), node.list[i], out);
  }
  std::set<absl::string_view> seen;
  for (const auto& [name, child] : node.map) {
    const std::string inner = key.empty() ? name : absl::StrCat(key, ".", name);
    if (!seen.insert(name).second) {
      out->push_back(absl::StrCat(child.where, ": ", inner, ": given twice; keep one"));
    }
    AppendRepeated(inner, child, out);
  }
}

ConfigNode* FindMutablePath(ConfigNode* root, absl::string_view key) {
  ConfigNode* at = root;
  for (absl::string_view part : absl::StrSplit(key, '.')) {
    uint64_t index = 0;
    if (at->kind == ConfigNode::Kind::kList) {
      if (!absl::SimpleAtoi(part, &index) || index >= at->list.size()) return nullptr;
      at = &at->list[index];
    } else if (at = FindMutable(at, part); at == nullptr) {
      return nullptr;
    }
  }
  return at;
}

// Where in `tree` the first value stands that is not, at the same place, in `below` too; empty if
// there is none.
std::string FirstOther(const ConfigNode& below, const ConfigNode& tree) {
  if (tree.kind != ConfigNode::Kind::kMap || below.kind != ConfigNode::Kind::kMap) {
    const bool same = tree.where == below.where && tree.scalar == below.scalar;
    return same ? "" : tree.where;
  }
  for (const auto& [key, child] : tree.map) {
    const ConfigNode* same = below.Find(key);
    const std::string other = same == nullptr ? child.where : FirstOther(*same, child);
    if (!other.empty()) return other;
  }
  return "";
}

void Flatten(const std::string& key, const ConfigNode& node,
             std::map<std::string, std::string>* out) {
  switch (node.kind) {
    case ConfigNode::Kind::kNull:
      (*out)[key] = "null";
      break;
    case ConfigNode::Kind::kScalar:
      (*out)[key] = node.scalar;
      break;
    case ConfigNode::Kind::kList:
      for (size_t i = 0; i < node.list.size(); ++i) {
        Flatten(absl::StrCat(key, "[", i, "]"), node.list[i], out);
      }
      break;
    case ConfigNode::Kind::kMap:
      for (const auto& [name, child] : node.map) {
        Flatten(key.empty() ? name : absl::StrCat(key, ".", name), child, out);
      }
      break;
  }
}

}  // namespace

const ConfigNode* ConfigNode::Find(absl::string_view key) const {
  return FindMutable(const_cast<ConfigNode*>(this), key);
}

std::string ConfigNode::Describe() const {
  switch (kind) {
    case Kind::kNull:
      return "nothing";
    case Kind::kScalar:
      return absl::StrCat("'", scalar.substr(0, kMaxShownBytes),
                          scalar.size() > kMaxShownBytes ? "..." : "", "'");
    case Kind::kList:
      return "a list";
    case Kind::kMap:
      return "a section";
  }
  return "";
}

absl::StatusOr<ConfigNode> ParseConfigText(const std::string& yaml, const std::string& origin) {
  try {
    if (absl::StrContains(yaml, absl::string_view("\0", 1))) {
      return absl::InvalidArgumentError(
          absl::StrCat(origin, ": not valid YAML: it is binary data, not text"));
    }
    RETURN_IF_ERROR(CheckSize(yaml, origin));
    ASSIGN_OR_RETURN(ConfigNode root, Convert(YAML::Load(yaml), origin, 0));
    if (root.kind == ConfigNode::Kind::kNull) root.kind = ConfigNode::Kind::kMap;
    return root;
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(Place(origin, error.mark),
                     ": not valid YAML: ", error.msg.empty() ? "it cannot be parsed" : error.msg));
  }
}

std::vector<std::string> RepeatedKeys(const ConfigNode& root) {
  std::vector<std::string> messages;
  AppendRepeated("", root, &messages);
  return messages;
}

void MergeConfig(const ConfigNode& over, ConfigNode* base) {
  if (over.kind != ConfigNode::Kind::kMap || base->kind != ConfigNode::Kind::kMap) {
    *base = over;
    return;
  }
  for (const auto& [key, child] : over.map) {
    if (child.kind == ConfigNode::Kind::kNull) {
      std::erase_if(base->map, [&key = key](const auto& member) { return member.key == key; });
    } else if (ConfigNode* found = FindMutable(base, key)) {
      MergeConfig(child, found);
    } else {
      base->map.push_back({key, child});
    }
  }
}

absl::Status SetConfigValue(const std::string& assignment, ConfigNode* root) {
  const std::string where = absl::StrCat("--set ", assignment);
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected key=value, as in --set train.steps=100"));
  }
  // An empty variable of a script must not reset a key to its default.
  if (absl::StripAsciiWhitespace(absl::string_view(assignment).substr(equals + 1)).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": no value; write null for the default, or '' for an empty text"));
  }
  absl::StatusOr<ConfigNode> value = ParseConfigText(assignment.substr(equals + 1), where);
  if (!value.ok()) return value.status();
  if (value->map.empty() && value->kind == ConfigNode::Kind::kMap &&
      assignment.find('{', equals) == std::string::npos) {
    value->kind = ConfigNode::Kind::kNull;  // a text without a value is nothing, not a section
  }
  SetWhere(where, &*value);
  const std::vector<std::string> repeated = RepeatedKeys(*value);
  if (!repeated.empty()) return absl::InvalidArgumentError(repeated.front());
  return SetConfigNode(assignment.substr(0, equals), *value, root);
}

absl::Status SetConfigNode(absl::string_view key, const ConfigNode& value, ConfigNode* root) {
  const std::vector<std::string> path = absl::StrSplit(key, '.');
  ConfigNode* at = root;
  for (size_t i = 0; i < path.size(); ++i) {
    const bool last = i + 1 == path.size();
    if (path[i].empty()) {
      return absl::InvalidArgumentError(absl::StrCat(value.where, ": the key has an empty part"));
    }
    if (at->kind == ConfigNode::Kind::kList) {
      uint64_t index = 0;
      if (!absl::SimpleAtoi(path[i], &index) || index > at->list.size()) {
        return absl::InvalidArgumentError(
            absl::StrCat(value.where, ": '", path[i], "': expected an index into the list below ",
                         at->list.size(), ", or ", at->list.size(), " for one more entry"));
      }
      if (index == at->list.size()) at->list.emplace_back().where = value.where;
      at = &at->list[index];
      if (last) MergeConfig(value, at);
      continue;
    }
    if (at->kind != ConfigNode::Kind::kMap) {  // a key below a value: the reader will say so
      *at = ConfigNode();
      at->kind = ConfigNode::Kind::kMap;
      at->where = value.where;
    }
    if (last) {
      ConfigNode over;
      over.kind = ConfigNode::Kind::kMap;
      over.map.push_back({path[i], value});
      MergeConfig(over, at);
      continue;
    }
    ConfigNode* next = FindMutable(at, path[i]);
    if (next == nullptr) {
      ConfigNode section;
      section.kind = ConfigNode::Kind::kMap;
      section.where = value.where;
      at->map.push_back({path[i], std::move(section)});
      next = &at->map.back().value;
    }
    at = next;
  }
  return absl::OkStatus();
}

const ConfigNode* FindPath(const ConfigNode& root, absl::string_view key) {
  return FindMutablePath(const_cast<ConfigNode*>(&root), key);
}

void EraseSame(const ConfigNode& below, absl::string_view key, ConfigNode* tree) {
  const std::string path = absl::StrReplaceAll(key, {{"[", "."}, {"]", ""}});
  const size_t dot = path.rfind('.');
  const std::string name = path.substr(dot == std::string::npos ? 0 : dot + 1);
  ConfigNode* section =
      dot == std::string::npos ? tree : FindMutablePath(tree, path.substr(0, dot));
  const ConfigNode* old = FindPath(below, path);
  if (old == nullptr || section == nullptr) return;
  ConfigNode* found = FindMutable(section, name);
  if (found == nullptr) return;
  found->where = FirstOther(*old, *found);
  if (!found->where.empty()) return;
  std::erase_if(section->map, [&name](const ConfigMember& member) { return member.key == name; });
}

std::string WhereIs(const ConfigNode& root, absl::string_view key) {
  const ConfigNode* at = &root;
  for (absl::string_view part : absl::StrSplit(key, '.')) {
    const size_t bracket = part.find('[');
    const ConfigNode* next = at->Find(part.substr(0, bracket));
    if (next == nullptr) break;
    at = next;
    uint64_t index = 0;
    if (bracket != absl::string_view::npos &&
        absl::SimpleAtoi(part.substr(bracket + 1, part.size() - bracket - 2), &index) &&
        index < at->list.size()) {
      at = &at->list[index];
    }
  }
  return at->where;
}

std::map<std::string, std::string> FlattenConfig(const ConfigNode& root) {
  std::map<std::string, std::string> flat;
  Flatten("", root, &flat);
  return flat;
}

}  // namespace wyvern
