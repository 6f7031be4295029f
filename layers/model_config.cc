#include "layers/model_config.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/attention/latent_attention.h"
#include "kernels/runtime/check.h"

namespace wyvern {
namespace {

constexpr int64_t kMaxHeadDim = 256;  // that the attention and delta kernels serve
constexpr int64_t kMaxConvWidth = 8;  // of the short convolution
constexpr int64_t kMaxExperts = 1024, kMaxExpertsPerToken = 32;  // of the router
// Far beyond any model; below them no count of elements, bytes or operations overflows.
constexpr int64_t kMaxLayers = 4096;
constexpr int64_t kMaxWidth = int64_t{1} << 18;  // of the stream, of low-rank projections
constexpr int64_t kMaxInner = int64_t{1} << 22;  // of MLPs and experts
constexpr int64_t kMaxHeads = int64_t{1} << 14;
constexpr int64_t kMaxWindow = int64_t{1} << 40;
constexpr int64_t kMaxParameters = int64_t{1} << 50;  // of embeddings, MLPs and experts

// Gathers faults under a key prefix.
class Faults {
 public:
  Faults(std::string prefix, std::vector<std::string>* all)
      : prefix_(std::move(prefix)), all_(all) {}

  template <class... Parts>
  void Add(absl::string_view key, const Parts&... parts) {
    all_->push_back(absl::StrCat(prefix_, key, ": ", parts...));
  }
  void Positive(const char* key, int64_t value, int64_t most) {
    if (value < 1) Add(key, "expected a positive number, got ", value);
    AtMost(key, value, most);
  }
  void NotNegative(const char* key, int64_t value, const char* zero_means, int64_t most) {
    if (value < 0) {
      Add(key, "expected a positive number or 0 (", zero_means, "), got ", value);
    }
    AtMost(key, value, most);
  }
  void PositiveReal(const char* key, double value) {
    if (!(value > 0) || !std::isfinite(value)) {
      Add(key, "expected a positive number, got ", value);
    }
  }
  void HeadDim(const char* key, int64_t value) {
    if (value < 1 || value > kMaxHeadDim) {
      Add(key, "expected 1 to ", kMaxHeadDim, " (what the kernels serve), got ", value);
    }
  }

 private:
  void AtMost(const char* key, int64_t value, int64_t most) {
    if (value > most) Add(key, "expected at most ", most, ", got ", value);
  }

  std::string prefix_;
  std::vector<std::string>* all_;
};

void ValidateDelta(const DeltaMixerConfig& c, Faults faults) {
  faults.Positive("num_heads", c.num_heads, kMaxHeads);
  faults.NotNegative("num_value_heads", c.num_value_heads, "as many as num_heads", kMaxHeads);
  if (c.num_heads > 0 && c.num_value_heads > 0 && c.num_value_heads % c.num_heads != 0) {
    faults.Add("num_value_heads", "expected a multiple of num_heads ", c.num_heads, ", got ",
               c.num_value_heads);
  }
  faults.HeadDim("key_dim", c.key_dim);
  faults.HeadDim("value_dim", c.value_dim);
  if (c.conv_width < 0 || c.conv_width > kMaxConvWidth) {
    faults.Add("conv_width", "expected 0 (no convolution) to ", kMaxConvWidth, ", got ",
               c.conv_width);
  }
  if (c.negative_eigenvalues && !c.learned_beta) {
    faults.Add("negative_eigenvalues", "has no effect with learned_beta: false; remove one");
  }
  if (c.gate_lower_bound.has_value()) {
    const double bound = *c.gate_lower_bound;
    if (c.decay != DeltaDecay::kPerChannel) {
      faults.Add("gate_lower_bound", "has no effect without a decay per channel (kda)");
    } else if (!(bound >= -5 && bound < 0)) {
      faults.Add("gate_lower_bound", "expected a number in [-5, 0), got ", bound);
    }
  }
  faults.NotNegative("decay_rank", c.decay_rank, "value_dim", kMaxWidth);
  if (c.decay_rank > 0 && c.decay != DeltaDecay::kPerChannel) {
    faults.Add("decay_rank", c.decay_rank, " has no effect without a decay per channel (kda)");
  }
  faults.NotNegative("output_gate_rank", c.output_gate_rank, "one matrix", kMaxWidth);
  if (c.output_gate_rank > 0 && c.output_gate == OutputGate::kNone) {
    faults.Add("output_gate_rank", c.output_gate_rank,
               " has no effect with output_gate: none; remove one");
  }
  if (!c.output_gate_bias && c.output_gate_rank == 0) {
    faults.Add("output_gate_bias", "false has no effect without an output_gate_rank");
  }
}

void ValidateAttention(const AttentionMixerConfig& c, int64_t hidden_size, Faults faults) {
  const AttentionMixerConfig defaults;
  faults.Positive("num_heads", c.num_heads, kMaxHeads);
  faults.NotNegative("num_kv_heads", c.num_kv_heads, "as many as num_heads", kMaxHeads);
  if (c.num_heads > 0 && c.num_kv_heads > 0 && c.num_heads % c.num_kv_heads != 0) {
    faults.Add("num_kv_heads", "expected a divisor of num_heads ", c.num_heads, ", got ",
               c.num_kv_heads);
  }
  int64_t head_dim = c.head_dim;
  if (c.head_dim < 0) {
    faults.Add("head_dim", "expected a positive number or 0 (hidden_size / num_heads), got ",
               c.head_dim);
  }
  if (c.head_dim == 0 && c.num_heads > 0 && hidden_size > 0) {
    if (hidden_size % c.num_heads != 0) {
      faults.Add("num_heads", "expected a divisor of hidden_size ", hidden_size,
                 " or a head_dim of its own, got ", c.num_heads);
    }
    head_dim = hidden_size / c.num_heads;
  }
  if (head_dim > 0) {
    faults.HeadDim("head_dim", head_dim);
    if (c.rope && head_dim % 2 != 0) {
      faults.Add("head_dim", "RoPE needs an even number, got ", head_dim);
    }
  }
  faults.NotNegative("window", c.window, "all tokens", kMaxWindow);
  faults.PositiveReal("rope_theta", c.rope_theta);
  if (!c.rope && c.rope_theta != defaults.rope_theta) {
    faults.Add("rope_theta", c.rope_theta, " has no effect with rope: false; remove one");
  }
  faults.PositiveReal("qk_norm_eps", c.qk_norm_eps);
  if (!c.qk_norm && c.qk_norm_eps != defaults.qk_norm_eps) {
    faults.Add("qk_norm_eps", c.qk_norm_eps, " has no effect with qk_norm: false; remove one");
  }
  if (c.output_gate == OutputGate::kSilu) {
    faults.Add("output_gate", "attention serves none or sigmoid, got silu");
  }
}

void ValidateMla(const MlaMixerConfig& c, Faults faults) {
  faults.Positive("num_heads", c.num_heads, kMaxHeads);
  faults.NotNegative("q_lora_rank", c.q_lora_rank, "one matrix", kMaxWidth);
  if (c.kv_lora_rank < 1 || c.kv_lora_rank > kMaxLatentRank) {
    faults.Add("kv_lora_rank", "expected 1 to ", kMaxLatentRank,
               " (what the decoding kernel serves), got ", c.kv_lora_rank);
  }
  faults.Positive("qk_nope_dim", c.qk_nope_dim, kMaxHeadDim);
  if (c.qk_rope_dim < 1 || c.qk_rope_dim > kMaxLatentSharedDim) {
    faults.Add("qk_rope_dim", "expected 1 to ", kMaxLatentSharedDim,
               " (what the decoding kernel serves), got ", c.qk_rope_dim);
  }
  if (c.qk_nope_dim > 0 && c.qk_nope_dim <= kMaxHeadDim && c.qk_rope_dim > 0 &&
      c.qk_rope_dim <= kMaxLatentSharedDim && c.QueryDim() > kMaxHeadDim) {
    faults.Add("qk_nope_dim", "expected at most ", kMaxHeadDim,
               " together with qk_rope_dim (what the kernels serve), got ", c.QueryDim());
  }
  faults.HeadDim("value_dim", c.value_dim);
  faults.PositiveReal("latent_norm_eps", c.latent_norm_eps);
  if (c.rope && c.qk_rope_dim % 2 != 0) {
    faults.Add("qk_rope_dim", "RoPE needs an even number, got ", c.qk_rope_dim);
  }
  faults.PositiveReal("rope_theta", c.rope_theta);
  if (!c.rope && c.rope_theta != MlaMixerConfig().rope_theta) {
    faults.Add("rope_theta", c.rope_theta, " has no effect with rope: false; remove one");
  }
  if (c.output_gate == OutputGate::kSilu) {
    faults.Add("output_gate", "attention serves none or sigmoid, got silu");
  }
}

void ValidateMoe(const MoeConfig& c, int64_t num_layers, Faults faults) {
  if (c.num_experts < 1 || c.num_experts > kMaxExperts) {
    faults.Add("num_experts", "expected 1 to ", kMaxExperts, " (what the kernels serve), got ",
               c.num_experts);
  }
  faults.Positive("intermediate_size", c.intermediate_size, kMaxInner);
  if (c.shared_experts < 0 || c.shared_experts > kMaxExperts) {
    faults.Add("shared_experts", "expected 0 to ", kMaxExperts, ", got ", c.shared_experts);
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

// Which mixer each layer has; unknown names and wrong numbers are faults.
void ValidateLayout(const ModelConfig& c, Faults faults) {
  std::string names;
  for (const auto& [name, mixer] : c.mixers)
    absl::StrAppend(&names, names.empty() ? "" : ", ", name);
  if (c.mixers.empty()) {
    faults.Add("mixers", "expected at least one token mixer");
    return;
  }
  bool all_known = true;
  const auto check_name = [&](const char* key, const std::string& name) {
    if (c.mixers.count(name) == 0) {
      all_known = false;
      faults.Add(key, "'", name, "' is not among the mixers (", names, ")");
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
  double inner = layers * static_cast<double>(c.IntermediateSize());
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
  faults.PositiveReal("norm_eps", norm_eps);
  faults.PositiveReal("initializer_range", initializer_range);
  if (padding_id < -1 || padding_id >= vocab_size) {
    faults.Add("padding_id", "expected -1 (none) to vocab_size - 1, got ", padding_id);
  }
  for (const auto& [name, mixer] : mixers) {
    Faults inner(absl::StrCat("model.mixers.", name, "."), &all);
    if (const auto* delta = std::get_if<DeltaMixerConfig>(&mixer)) {
      ValidateDelta(*delta, inner);
    } else if (const auto* mla = std::get_if<MlaMixerConfig>(&mixer)) {
      ValidateMla(*mla, inner);
    } else {
      ValidateAttention(std::get<AttentionMixerConfig>(mixer), hidden_size, inner);
    }
  }
  if (num_layers <= kMaxLayers) ValidateLayout(*this, faults);
  if (moe.has_value()) {
    ValidateMoe(*moe, std::min(num_layers, kMaxLayers), Faults("model.moe.", &all));
  }
  if (all.empty()) ValidateSize(*this, faults);
  return all;
}

std::string TypeName(const MixerConfig& mixer) {
  if (std::holds_alternative<MlaMixerConfig>(mixer)) return "mla";
  const auto* delta = std::get_if<DeltaMixerConfig>(&mixer);
  if (delta == nullptr) return "attention";
  switch (delta->decay) {
    case DeltaDecay::kNone:
      return "delta_net";
    case DeltaDecay::kPerHead:
      return "gated_delta_net";
    case DeltaDecay::kPerChannel:
      return "kda";
  }
  return "?";
}

}  // namespace wyvern
