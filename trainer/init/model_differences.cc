#include "trainer/init/model_differences.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "trainer/config/model_json.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

// "key: 1 there, 2 here" for every key in which two objects differ.
std::vector<std::string> Compare(const Json& there, const Json& here) {
  std::set<std::string> keys;
  for (const auto& [key, value] : there.items()) keys.insert(key);
  for (const auto& [key, value] : here.items()) keys.insert(key);
  const auto text = [](const Json& object, const std::string& key) {
    return object.contains(key) ? object[key].dump() : "unset";
  };
  std::vector<std::string> lines;
  for (const std::string& key : keys) {
    const std::string a = text(there, key), b = text(here, key);
    if (a != b) lines.push_back(absl::StrCat(key, ": ", a, " there, ", b, " here"));
  }
  return lines;
}

// The whole model's keys.
Json Global(const ModelConfig& config) {
  ModelConfig full = config;
  full.intermediate_size = config.IntermediateSize();
  Json json = ModelConfigToJson(full);
  for (const char* key : {"mixers", "pattern", "at", "initializer_range"}) json.erase(key);
  return json;
}

// The mixer of each layer, every default written out.
std::vector<Json> Mixers(const ModelConfig& config) {
  std::vector<Json> mixers;
  for (const MixerConfig& mixer : MixersInFull(config)) {
    ModelConfig one;
    one.mixers = {{"m", mixer}};
    mixers.push_back(ModelConfigToJson(one)["mixers"]["m"]);
  }
  return mixers;
}

}  // namespace

std::vector<std::string> ModelDifferences(const ModelConfig& there, const ModelConfig& here) {
  std::vector<std::string> lines = Compare(Global(there), Global(here));
  const std::vector<Json> a = Mixers(there), b = Mixers(here);
  // Lines of a range of layers that differ alike are said once.
  const size_t num_layers = std::min(a.size(), b.size());
  for (size_t first = 0, end = 0; first < num_layers; first = end) {
    const std::vector<std::string> differences = Compare(a[first], b[first]);
    end = first + 1;
    while (end < num_layers && Compare(a[end], b[end]) == differences) ++end;
    const std::string layers = end == first + 1 ? absl::StrCat("layer ", end)
                                                : absl::StrCat("layers ", first + 1, " to ", end);
    for (const std::string& line : differences) {
      lines.push_back(absl::StrCat(layers, ", mixer: ", line));
    }
  }
  return lines;
}

}  // namespace wyvern
