// A parsed configuration file: a tree that remembers where each part was written. yaml-cpp and its
// exceptions stay behind this file.
#ifndef WYVERN_TRAINER_CONFIG_NODE_H_
#define WYVERN_TRAINER_CONFIG_NODE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern {

struct ConfigMember;

struct ConfigNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  std::string where;    // "configs/a.yaml:4" or "--set a.b=c"
  std::string scalar;   // as written, without quotes
  bool quoted = false;  // a quoted scalar is a string, never a number
  std::string tag;      // as !name, of a scalar that the file gives one; else empty
  std::vector<ConfigNode> list;
  std::vector<ConfigMember> map;  // in order; repeated keys stay

  const ConfigNode* Find(absl::string_view key) const;  // a map's member, or null
  // The value as a message shows it: 'four' (its beginning, if it is long), a list, a section,
  // nothing.
  std::string Describe() const;
};

struct ConfigMember {
  std::string key;
  ConfigNode value;
};

// The text of a YAML file. `origin` is its name in messages. The error names the line. An empty
// text is an empty map.
// A text of several documents is an error, and so is one of more than kMaxConfigValues values, each
// alias counting as all that it stands for.
absl::StatusOr<ConfigNode> ParseConfigText(const std::string& yaml, const std::string& origin);

inline constexpr int64_t kMaxConfigValues = 250'000;

// "where: key: given twice; keep one" for every repeated key of the tree. Laying trees over each
// other keeps the last of them, so this is asked before.
std::vector<std::string> RepeatedKeys(const ConfigNode& root);

// Lays `over` on `base`: maps merge key by key, all else is replaced, and a null removes the key,
// which gives it its default back.
void MergeConfig(const ConfigNode& over, ConfigNode* base);

// Applies "a.b=c", the value being YAML. A part of the path that meets a list is an index from 0.
absl::Status SetConfigValue(const std::string& assignment, ConfigNode* root);
// The same for a value that is parsed already; messages begin with value.where.
absl::Status SetConfigNode(absl::string_view key, const ConfigNode& value, ConfigNode* root);

// The part below a dotted key, in which a number picks from a list; null when there is none.
const ConfigNode* FindPath(const ConfigNode& root, absl::string_view key);

// Where the key stands ("model.mixers.delta.window"), or the nearest enclosing part that the file
// has.
std::string WhereIs(const ConfigNode& root, absl::string_view key);

// Takes a key, as messages write it ("data.sources[0].dir"), from `tree` if all of its value stands
// in `below` too, written at the same place. Else the value stays, as if written where the first
// part is that is not of `below`.
void EraseSame(const ConfigNode& below, absl::string_view key, ConfigNode* tree);

// Every scalar and null with its dotted key; list entries as "key[0]".
std::map<std::string, std::string> FlattenConfig(const ConfigNode& root);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CONFIG_NODE_H_
