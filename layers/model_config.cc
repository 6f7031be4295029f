#include "layers/model_config.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/nearest.h"
#include "layers/faults.h"

namespace wyvern {
namespace {

constexpr int64_t kMaxExperts = 1024, kMaxExpertsPerToken = 32;  // of the router
// Far beyond any model; below them no count of elements, bytes or operations overflows.
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxInner = int64_t{1} << 22;       // of MLPs and experts
constexpr int64_t kMaxParameters = int64_t{1} << 50;  // of embeddings, MLPs and experts

void ValidateMoe(const MoeConfig& c, int64_t num_layers, Faults faults) {
  if (c.num_experts < 1 || c.num_experts > kMaxExperts) {
    faults.Add("num_experts", "expected 1 to ", kMaxExperts, " (what the kernels serve), got ",
               c.num_experts);
  }
  faults.Positive("intermediate_size", c.intermediate_size, kMaxInner);
  if (c.shared_experts < 0 || c.shared_experts > kMaxExperts) {
    faults.Add("shared_experts", "expected 0 to ", kMaxExperts, ", got ", c.shared_experts);
  }
  if (c.shared_gate && c.shared_experts == 0) {
    faults.Add("shared_gate", "true has no effect with shared_experts: 0; remove one");
  }
  if (c.first_dense < 0 || (num_layers > 0 && c.first_dense >= num_layers)) {
    faults.Add("first_dense", "expected 0 to num_layers - 1 = ", num_layers - 1, ", got ",
               c.first_dense);
  }
  faults.Positive("every", c.every, kMaxLayers);
  if (c.every > 0 && c.every <= kMaxLayers && num_layers > 0 && c.first_dense >= 0 &&
      c.first_dense < num_layers &&
      (c.first_dense + c.every - 1) / c.every * c.every >= num_layers) {
    faults.Add("every", "no multiple of ", c.every, " is among the layers ", c.first_dense, " to ",
               num_layers - 1, " (numbered from 0), so no layer has experts");
  }
  faults.PositiveReal("scale", c.scale);
  faults.Positive("groups", c.groups, kMaxExperts);
  if (c.experts_per_token < 1 || c.experts_per_token > kMaxExpertsPerToken) {
    faults.Add("experts_per_token", "expected 1 to ", kMaxExpertsPerToken,
               " (what the kernels serve), got ", c.experts_per_token);
  } else if (c.num_experts > 0 && c.experts_per_token > c.num_experts) {
    faults.Add("experts_per_token", "expected at most num_experts ", c.num_experts, ", got ",
               c.experts_per_token);
  }
  if (c.groups < 1 || c.num_experts < 1) return;
  if (c.num_experts % c.groups != 0) {
    faults.Add("groups", "expected a divisor of num_experts ", c.num_experts, ", got ", c.groups);
  } else if (c.top_groups < 1 || c.top_groups > c.groups) {
    faults.Add("top_groups", "expected 1 to groups = ", c.groups, ", got ", c.top_groups);
  } else if (c.experts_per_token > c.top_groups * (c.num_experts / c.groups)) {
    faults.Add("top_groups", c.top_groups, " groups of ", c.num_experts / c.groups,
               " experts have no ", c.experts_per_token, " (experts_per_token)");
  }
}

// Which mixer each layer has; unknown names and wrong numbers are errors.
void ValidateLayout(const ModelConfig& c, Faults faults) {
  std::vector<std::string> names;
  for (const auto& [name, mixer] : c.mixers) names.push_back(name);
  if (c.mixers.empty()) {
    faults.Add("mixers", "expected at least one token mixer");
    return;
  }
  bool all_known = true;
  const auto check_name = [&](const char* key, const std::string& name) {
    if (c.mixers.count(name) == 0) {
      all_known = false;
      const std::string nearest = Nearest(name, names);
      faults.Add(key, "'", name, "' is not among the mixers (", absl::StrJoin(names, ", "), ")",
                 nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?"));
    }
  };
  for (const std::string& name : c.pattern) check_name("pattern", name);
  std::vector<std::string> layers(std::max<int64_t>(c.num_layers, 0));
  for (size_t i = 0; !c.pattern.empty() && i < layers.size(); ++i) {
    layers[i] = c.pattern[i % c.pattern.size()];
  }
  if (c.num_layers > 0 && static_cast<int64_t>(c.pattern.size()) > c.num_layers) {
    faults.Add("pattern", "has ", c.pattern.size(), " entries for ", c.num_layers, " layers");
  }
  std::map<int64_t, std::string> named;
  for (const auto& [name, numbers] : c.at) {
    check_name("at", name);
    if (numbers.empty()) faults.Add("at", "'", name, "' names no layer");
    for (const int64_t number : numbers) {
      if (number < 1 || number > c.num_layers) {
        faults.Add("at", "'", name, "' names layer ", number, "; layers count from 1 to ",
                   c.num_layers);
        continue;
      }
      const auto [it, inserted] = named.emplace(number, name);
      if (!inserted) {
        faults.Add("at", "layer ", number, " is named twice, by '", it->second, "' and '", name,
                   "'");
      }
      layers[number - 1] = name;
    }
  }
  std::vector<int64_t> without;
  std::map<std::string, int64_t> uses;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].empty()) without.push_back(static_cast<int64_t>(i) + 1);
    ++uses[layers[i]];
  }
  if (!without.empty()) {
    faults.Add("pattern",
               "is empty, and `at` leaves layers without a mixer: ", absl::StrJoin(without, ", "));
  }
  if (!all_known) return;  // which mixer an unknown name means, and so which are idle, is open
  for (const auto& [name, mixer] : c.mixers) {
    if (!layers.empty() && uses[name] == 0) {
      faults.Add(absl::StrCat("mixers.", name), "has no effect: no layer uses it");
    }
  }
}

// Checks that the widest parts together stay countable. The mixers' bounds keep theirs small
// enough.
void ValidateSize(const ModelConfig& c, Faults faults) {
  const auto layers = static_cast<double>(c.num_layers);
  const auto hidden = static_cast<double>(c.hidden_size);
  double inner = c.mlp ? layers * static_cast<double>(c.IntermediateSize()) : 0;
  if (c.moe.has_value()) {
    inner += layers * static_cast<double>((c.moe->num_experts + c.moe->shared_experts) *
                                          c.moe->intermediate_size);
  }
  const double parameters = hidden * (2 * static_cast<double>(c.vocab_size) + 3 * inner);
  if (parameters > static_cast<double>(kMaxParameters)) {
    faults.Add("hidden_size", c.hidden_size, " makes a model of ", parameters,
               " parameters with vocab_size, num_layers, and the MLPs' and experts' widths; at "
               "most ",
               kMaxParameters, " are served");
  }
}

}  // namespace

int64_t ModelConfig::IntermediateSize() const {
  if (intermediate_size > 0) return intermediate_size;
  const int64_t wide = hidden_size * 8 / 3;
  return (wide + 255) / 256 * 256;
}

bool ModelConfig::IsMoe(int64_t i) const {
  return moe.has_value() && i >= moe->first_dense && i % moe->every == 0;
}

const MixerConfig& ModelConfig::MixerOfLayer(int64_t i) const {
  for (const auto& [name, numbers] : at) {
    for (const int64_t number : numbers) {
      if (number == i + 1) return mixers.at(name);
    }
  }
  CHECK(!pattern.empty(), "layer ", i, " has no mixer");
  return mixers.at(pattern[i % static_cast<int64_t>(pattern.size())]);
}

std::vector<std::string> ModelConfig::Validate() const {
  std::vector<std::string> all;
  Faults faults("model.", &all);
  if (vocab_size < 1) faults.Add("vocab_size", "expected a positive number, got ", vocab_size);
  if (vocab_size > std::numeric_limits<int32_t>::max()) {
    faults.Add("vocab_size", "token ids have 31 bits, got ", vocab_size);
  }
  faults.Positive("hidden_size", hidden_size, kMaxWidth);
  faults.Positive("num_layers", num_layers, kMaxLayers);
  faults.NotNegative("intermediate_size", intermediate_size, "from hidden_size", kMaxInner);
  if (!mlp) {
    faults.Unless(intermediate_size == 0, "intermediate_size", "has no effect with mlp: false");
    faults.Unless(!mlp_bias, "mlp_bias", "has no effect with mlp: false");
    faults.Unless(!moe.has_value(), "moe", "has no place with mlp: false; remove one");
  }
  faults.PositiveReal("norm_eps", norm_eps);
  faults.PositiveReal("initializer_range", initializer_range);
  if (padding_id < -1 || padding_id >= vocab_size) {
    faults.Add("padding_id", "expected -1 (none) to vocab_size - 1, got ", padding_id);
  }
  for (const auto& [name, mixer] : mixers) {
    mixer.Validate(*this, Faults(absl::StrCat("model.mixers.", name, "."), &all));
  }
  if (num_layers <= kMaxLayers) ValidateLayout(*this, faults);
  if (moe.has_value()) {
    ValidateMoe(*moe, std::min(num_layers, kMaxLayers), Faults("model.moe.", &all));
  }
  if (all.empty()) ValidateSize(*this, faults);
  return all;
}

}  // namespace wyvern
