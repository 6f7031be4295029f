#include "trainer/config/load.h"

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/io/bounded_file.h"
#include "kernels/runtime/device.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"
#include "trainer/config/fields.h"
#include "trainer/config/node.h"
#include "trainer/config/strict_reader.h"
#include "trainer/config/yaml_writer.h"

namespace wyvern {
namespace {

constexpr char kOverlay[] = "cuda";
constexpr char kHasNoEffect[] = "has no effect";
constexpr size_t kMaxShownFaults = 100;
constexpr int64_t kAllBlocks = -1;  // "all", as CountOr reads it

// Keys of one section, of which it has one.
constexpr std::pair<const char*, const char*> kRivals[] = {{"steps", "tokens"},
                                                           {"warmup_steps", "warmup_tokens"},
                                                           {"decay_steps", "decay_tokens"},
                                                           {"val_fraction", "val_documents"}};

// Whether a key of `tree` gives a value that is not written at the same place in `below`. All of
// them but val_fraction are unset where they are 0.
bool IsLaidOver(const ConfigNode& below, const ConfigNode& tree, const std::string& key) {
  const ConfigNode* now = tree.Find(key);
  if (now == nullptr || (now->scalar == "0" && key != "val_fraction")) return false;
  const ConfigNode* before = below.Find(key);
  return before == nullptr || before->where != now->where;
}

// Whether a fault of Validate may only follow from what the reader already complained about: the
// same key, a part of it or a section around it, a key beside a choice that is none, or a key that
// the message compares with.
bool Follows(const std::vector<ConfigFault>& faults, const std::string& key,
             const std::string& message) {
  const auto covers = [](const std::string& a, const std::string& b) {
    return b.compare(0, a.size(), a) == 0 &&
           (b.size() == a.size() || b[a.size()] == '.' || b[a.size()] == '[');
  };
  return std::any_of(faults.begin(), faults.end(), [&](const ConfigFault& fault) {
    const std::string section = fault.key.substr(0, fault.key.rfind('.'));
    return covers(fault.key, key) || covers(key, fault.key) ||
           (fault.open && covers(section, key)) || message.find(fault.key) != std::string::npos;
  });
}

// The keys of a tree that have no effect.
std::set<std::string> IdleKeys(const ConfigNode& tree) {
  RunConfig config;
  std::vector<ConfigFault> faults;
  StrictReader reader(tree, "", &faults);
  VisitRunConfig(reader, &config);
  std::set<std::string> keys;
  for (const ConfigFault& fault : faults) {
    if (fault.idle) keys.insert(fault.key);
  }
  for (const std::string& fault : config.Validate()) {
    if (absl::StrContains(fault, kHasNoEffect)) keys.insert(fault.substr(0, fault.find(": ")));
  }
  return keys;
}

}  // namespace

void DropIdleKeys(const ConfigNode& below, ConfigNode* tree) {
  const std::set<std::string> idle = IdleKeys(*tree);
  if (idle.empty()) return;
  const std::set<std::string> idle_below = IdleKeys(below);
  for (const std::string& key : idle) {
    if (idle_below.count(key) == 0) EraseSame(below, key, tree);
  }
}

void DropRivals(const ConfigNode& below, ConfigNode* tree) {
  for (size_t i = 0; i < std::min(below.list.size(), tree->list.size()); ++i) {
    DropRivals(below.list[i], &tree->list[i]);
  }
  for (auto& [key, child] : tree->map) {
    if (const ConfigNode* old = below.Find(key)) DropRivals(*old, &child);
  }
  const auto drop = [&](const std::string& rival, const std::string& key) {
    if (!IsLaidOver(below, *tree, rival) || IsLaidOver(below, *tree, key)) return;
    std::erase_if(tree->map, [&](const ConfigMember& member) { return member.key == key; });
  };
  for (const auto& [a, b] : kRivals) {
    drop(a, b);
    drop(b, a);
  }
}

RunConfig ReadRunConfigTree(const ConfigNode& tree, std::optional<Device> device,
                            std::vector<std::string>* messages) {
  RunConfig config;
  std::vector<ConfigFault> faults;
  StrictReader reader(tree, "", &faults);
  VisitRunConfig(reader, &config);
  reader.Finish();
  for (const ConfigFault& fault : faults) {
    messages->push_back(absl::StrCat(fault.where, ": ", fault.key, ": ", fault.message));
  }
  if (!config.run.device.has_value()) config.run.device = device;
  config.run.ResolveAuto();
  if (config.train.recompute_blocks == kAllBlocks) {
    config.train.recompute_blocks = config.model.num_layers;
  }
  config.run.dir = config.RunDir();
  for (const std::string& fault : config.Validate()) {
    const std::string key = fault.substr(0, fault.find(": "));
    if (Follows(faults, key, fault)) continue;
    messages->push_back(absl::StrCat(WhereIs(tree, key), ": ", fault));
  }
  return config;
}

ConfigNode SplitOverlay(ConfigNode root, ConfigNode* overlay, std::vector<std::string>* messages) {
  for (const auto& [key, child] : root.map) {
    if (key != kOverlay) continue;
    if (child.kind == ConfigNode::Kind::kMap) {
      *overlay = child;
    } else {
      messages->push_back(absl::StrCat(child.where, ": ", kOverlay,
                                       ": expected a section of keys, got ", child.Describe()));
    }
    const ConfigNode* run = child.Find("run");
    if (const ConfigNode* device = run == nullptr ? nullptr : run->Find("device")) {
      messages->push_back(absl::StrCat(device->where, ": ", kOverlay,
                                       ".run.device: this section is for one device; set "
                                       "run.device outside of it"));
    }
  }
  std::erase_if(root.map, [](const auto& member) { return member.key == kOverlay; });
  return root;
}

absl::Status FaultsError(const std::vector<std::string>& messages, absl::string_view where) {
  std::set<absl::string_view> seen;
  std::vector<absl::string_view> lines;
  for (const std::string& message : messages) {
    if (seen.insert(message).second) lines.push_back(message);
  }
  const size_t count = lines.size();
  const std::string more = absl::StrCat("and ", count - std::min(count, kMaxShownFaults), " more");
  if (count > kMaxShownFaults) {
    lines.resize(kMaxShownFaults);
    lines.push_back(more);
  }
  return absl::InvalidArgumentError(absl::StrCat(count, count == 1 ? " error" : " errors", " in ",
                                                 where, "\n  ", absl::StrJoin(lines, "\n  ")));
}

absl::StatusOr<RunConfig> ParseRunConfig(const std::string& yaml, const std::string& origin,
                                         const std::vector<std::string>& sets) {
  const Operation reading(absl::StrCat("reading the configuration ", origin));
  ASSIGN_OR_RETURN(ConfigNode root, ParseConfigText(yaml, origin));
  if (root.kind != ConfigNode::Kind::kMap) {
    return absl::InvalidArgumentError(absl::StrCat(
        root.where, ": expected sections such as model: and train:, got ", root.Describe()));
  }
  if (root.Find("model_type") != nullptr && root.Find("model") == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        origin,
        ": this is the config.json of a Hugging Face model, not a run; `wyvern config from ",
        origin,
        "` prints it as the section model: of a run's file, and train.init_from takes its "
        "weights"));
  }
  std::vector<std::string> messages = RepeatedKeys(root);
  ConfigNode overlay;
  const ConfigNode base = SplitOverlay(std::move(root), &overlay, &messages);
  const auto read = [&](bool with_overlay, const std::vector<std::string>& with_sets,
                        std::vector<std::string>* found) {
    ConfigNode tree = base;
    if (with_overlay) {
      MergeConfig(overlay, &tree);
      DropIdleKeys(base, &tree);
    }
    if (!with_sets.empty()) {
      const ConfigNode file = tree;
      for (const std::string& set : with_sets) {
        if (absl::StartsWith(set, absl::StrCat(kOverlay, "."))) {
          found->push_back(absl::StrCat("--set ", set, ": overrides act on the form of the file ",
                                        "that runs; leave out '", kOverlay, ".'"));
          continue;
        }
        const absl::Status status = SetConfigValue(set, &tree);
        if (!status.ok()) found->push_back(std::string(status.message()));
      }
      DropRivals(file, &tree);
      DropIdleKeys(file, &tree);
    }
    std::optional<Device> device;
    if (overlay.kind == ConfigNode::Kind::kMap) {
      device = with_overlay ? Device::kCuda : Device::kCpu;
    }
    return ReadRunConfigTree(tree, device, found);
  };
  std::vector<std::string> found;
  RunConfig config = read(false, sets, &found);
  if (overlay.kind == ConfigNode::Kind::kMap) {
    std::vector<std::string> found_on_cuda;
    RunConfig on_cuda = read(true, sets, &found_on_cuda);
    const bool use_cuda = config.run.device == Device::kCuda ||
                          (on_cuda.run.device == Device::kCuda && CudaAvailable());
    if (use_cuda) {
      std::swap(config, on_cuda);
      std::swap(found, found_on_cuda);
    }
    // Keeps the errors of the form that does not run for which the file alone is to blame.
    std::vector<std::string> alone = found_on_cuda;
    if (!sets.empty()) {
      alone.clear();
      read(!use_cuda, {}, &alone);
    }
    const std::set<std::string> of_file(alone.begin(), alone.end());
    for (const std::string& message : found_on_cuda) {
      if (of_file.count(message) > 0) found.push_back(message);
    }
  }
  messages.insert(messages.end(), found.begin(), found.end());
  if (!messages.empty()) return FaultsError(messages, "the configuration");
  return config;
}

absl::StatusOr<RunConfig> LoadRunConfig(const std::string& path,
                                        const std::vector<std::string>& sets) {
  ASSIGN_OR_RETURN(const std::string text, ReadFileOf(kConfigurationFile, path));
  return ParseRunConfig(text, path, sets);
}

std::string ToYaml(const RunConfig& config) {
  std::string out;
  YamlWriter writer(&out);
  RunConfig copy = config;
  VisitRunConfig(writer, &copy);
  return out;
}

std::string ToYaml(const ModelConfig& config) {
  std::string out;
  ModelConfig copy = config;
  YamlWriter(&out).Section("model",
                           [&copy](ConfigVisitor& keys) { VisitModelConfig(keys, &copy); });
  return out;
}

std::string ConfigHash(const RunConfig& config) {
  return absl::StrFormat("%016x", HashName(ToYaml(config)));
}

namespace {

// The entry of a list ("stages[1]") that the key is a part of and none of `keys` is, or "".
std::string EntryNotIn(const std::map<std::string, std::string>& keys, const std::string& key) {
  for (size_t end = key.find(']'); end != std::string::npos && end + 1 < key.size();
       end = key.find(']', end + 1)) {
    const std::string entry = key.substr(0, end + 1);
    const auto next = keys.lower_bound(entry);
    if (next == keys.end() || !absl::StartsWith(next->first, entry)) return entry;
  }
  return "";
}

}  // namespace

std::vector<std::string> Differences(const RunConfig& before, const RunConfig& after) {
  const auto flatten = [](const RunConfig& config) {
    const absl::StatusOr<ConfigNode> tree = ParseConfigText(ToYaml(config), "");
    return tree.ok() ? FlattenConfig(*tree) : std::map<std::string, std::string>();
  };
  const auto old_keys = flatten(before), new_keys = flatten(after);
  std::vector<std::string> differences;
  const auto add = [&](const std::string& difference) {
    if (differences.empty() || differences.back() != difference) differences.push_back(difference);
  };
  for (const auto& [key, value] : old_keys) {
    const auto found = new_keys.find(key);
    const std::string entry = EntryNotIn(new_keys, key);
    if (!entry.empty()) {
      add(absl::StrCat(entry, ": removed"));
    } else if (found == new_keys.end() || found->second != value) {
      add(absl::StrCat(key, ": ", value, " -> ",
                       found == new_keys.end() ? "(absent)" : found->second));
    }
  }
  for (const auto& [key, value] : new_keys) {
    if (old_keys.count(key) > 0) continue;
    const std::string entry = EntryNotIn(old_keys, key);
    add(entry.empty() ? absl::StrCat(key, ": (absent) -> ", value)
                      : absl::StrCat(entry, ": added"));
  }
  return differences;
}

}  // namespace wyvern
