#include "trainer/config/load.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/file.h"
#include "kernels/runtime/device.h"
#include "kernels/runtime/random.h"
#include "kernels/runtime/status.h"
#include "trainer/config/fields.h"
#include "trainer/config/node.h"
#include "trainer/config/strict_reader.h"
#include "trainer/config/yaml_writer.h"

namespace wyvern {
namespace {

constexpr char kOverlay[] = "cuda";

// Whether a fault of Validate may only follow from what the reader already complained about: the
// same key, a part of it or a section around it, or a key that the message compares with.
bool Follows(const std::vector<ConfigFault>& faults, const std::string& key,
             const std::string& message) {
  const auto covers = [](const std::string& a, const std::string& b) {
    return b.compare(0, a.size(), a) == 0 &&
           (b.size() == a.size() || b[a.size()] == '.' || b[a.size()] == '[');
  };
  return std::any_of(faults.begin(), faults.end(), [&](const ConfigFault& fault) {
    return covers(fault.key, key) || covers(key, fault.key) ||
           message.find(fault.key) != std::string::npos;
  });
}

}  // namespace

RunConfig ReadRunConfigTree(const ConfigNode& tree, DeviceChoice device,
                            std::vector<std::string>* messages) {
  RunConfig config;
  std::vector<ConfigFault> faults;
  StrictReader reader(tree, "", &faults);
  VisitRunConfig(reader, &config);
  reader.Finish();
  for (const ConfigFault& fault : faults) {
    messages->push_back(absl::StrCat(fault.where, ": ", fault.key, ": ", fault.message));
  }
  if (config.run.device == DeviceChoice::kAuto) config.run.device = device;
  if (config.run.device == DeviceChoice::kAuto) {
    config.run.device = CudaAvailable() ? DeviceChoice::kCuda : DeviceChoice::kCpu;
  }
  if (config.run.precision == PrecisionChoice::kAuto) {
    config.run.precision =
        config.run.device == DeviceChoice::kCuda ? PrecisionChoice::kBf16 : PrecisionChoice::kFp32;
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

absl::StatusOr<RunConfig> ParseRunConfig(const std::string& yaml, const std::string& origin,
                                         const std::vector<std::string>& sets) {
  ASSIGN_OR_RETURN(ConfigNode root, ParseConfigText(yaml, origin));
  if (root.kind != ConfigNode::Kind::kMap) {
    return absl::InvalidArgumentError(absl::StrCat(
        root.where, ": expected sections such as model: and train:, got ", root.Describe()));
  }
  std::vector<std::string> messages;
  ConfigNode overlay;
  const ConfigNode base = SplitOverlay(std::move(root), &overlay, &messages);
  const auto read = [&](bool with_overlay, DeviceChoice device) {
    ConfigNode tree = base;
    if (with_overlay) MergeConfig(overlay, &tree);
    std::vector<std::string> found;
    for (const std::string& set : sets) {
      const absl::Status status = SetConfigValue(set, &tree);
      if (!status.ok()) found.push_back(std::string(status.message()));
    }
    RunConfig config = ReadRunConfigTree(tree, device, &found);
    for (std::string& message : found) {
      if (std::find(messages.begin(), messages.end(), message) == messages.end()) {
        messages.push_back(std::move(message));
      }
    }
    return config;
  };
  RunConfig config;
  if (overlay.kind == ConfigNode::Kind::kMap) {
    // Both forms are checked, on every machine.
    const RunConfig on_cpu = read(false, DeviceChoice::kCpu);
    const RunConfig on_cuda = read(true, DeviceChoice::kCuda);
    const bool use_cuda = on_cpu.run.device == DeviceChoice::kCuda ||
                          (on_cuda.run.device == DeviceChoice::kCuda && CudaAvailable());
    config = use_cuda ? on_cuda : on_cpu;
  } else {
    config = read(false, DeviceChoice::kAuto);
  }
  if (!messages.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(messages.size(), messages.size() == 1 ? " error" : " errors",
                     " in the configuration\n  ", absl::StrJoin(messages, "\n  ")));
  }
  return config;
}

absl::StatusOr<RunConfig> LoadRunConfig(const std::string& path,
                                        const std::vector<std::string>& sets) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
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
  YamlWriter writer(&out);
  ModelConfig copy = config;
  VisitModelConfig(writer, &copy);
  return out;
}

std::string ConfigHash(const RunConfig& config) {
  return absl::StrFormat("%016x", HashName(ToYaml(config)));
}

std::vector<std::string> Differences(const RunConfig& before, const RunConfig& after) {
  const auto flatten = [](const RunConfig& config) {
    const absl::StatusOr<ConfigNode> tree = ParseConfigText(ToYaml(config), "");
    return tree.ok() ? FlattenConfig(*tree) : std::map<std::string, std::string>();
  };
  const auto old_keys = flatten(before), new_keys = flatten(after);
  std::vector<std::string> differences;
  for (const auto& [key, value] : old_keys) {
    const auto found = new_keys.find(key);
    const std::string now = found == new_keys.end() ? "(absent)" : found->second;
    if (now != value) differences.push_back(absl::StrCat(key, ": ", value, " -> ", now));
  }
  for (const auto& [key, value] : new_keys) {
    if (old_keys.count(key) == 0) {
      differences.push_back(absl::StrCat(key, ": (absent) -> ", value));
    }
  }
  return differences;
}

}  // namespace wyvern
