#include "layers/mixers/attention/attention_config.h"

#include "layers/config_visitor.h"
#include "layers/model_config.h"

namespace wyvern {
namespace {

constexpr int64_t kMaxWindow = int64_t{1} << 40;

}  // namespace

void AttentionMixerConfig::Visit(ConfigVisitor& v) {
  v.Value("num_heads", &num_heads);
  v.Value("num_kv_heads", &num_kv_heads);
  v.Value("head_dim", &head_dim);
  v.Value("window", &window);
  v.Value("rope", &rope);
  v.Only(rope, "rope: false",
         [this](ConfigVisitor& only) { only.Value("rope_theta", &rope_theta); });
  v.Value("qkv_bias", &qkv_bias);
  v.Value("output_bias", &output_bias);
  v.Value("qk_norm", &qk_norm);
  v.Only(qk_norm, "qk_norm: false",
         [this](ConfigVisitor& only) { only.Value("qk_norm_eps", &qk_norm_eps); });
  v.Enumerated("output_gate", kOutputGateNames, &output_gate);
}

void AttentionMixerConfig::Validate(const ModelConfig& model, Faults faults) const {
  const AttentionMixerConfig defaults;
  faults.Positive("num_heads", num_heads, kMaxHeads);
  faults.NotNegative("num_kv_heads", num_kv_heads, "as many as num_heads", kMaxHeads);
  if (num_heads > 0 && num_kv_heads > 0 && num_heads % num_kv_heads != 0) {
    faults.Add("num_kv_heads", "expected a divisor of num_heads ", num_heads, ", got ",
               num_kv_heads);
  }
  int64_t dim = head_dim;
  if (head_dim < 0) {
    faults.Add("head_dim", "expected a positive number or 0 (hidden_size / num_heads), got ",
               head_dim);
  }
  if (head_dim == 0 && num_heads > 0 && model.hidden_size > 0) {
    if (model.hidden_size % num_heads != 0) {
      faults.Add("num_heads", "expected a divisor of hidden_size ", model.hidden_size,
                 " or a head_dim of its own, got ", num_heads);
    }
    dim = model.hidden_size / num_heads;
  }
  if (dim > 0) {
    faults.HeadDim("head_dim", dim);
    if (rope && dim % 2 != 0) {
      faults.Add("head_dim", "RoPE needs an even number, got ", dim);
    }
  }
  faults.NotNegative("window", window, "all tokens", kMaxWindow);
  faults.PositiveReal("rope_theta", rope_theta);
  if (!rope && rope_theta != defaults.rope_theta) {
    faults.Add("rope_theta", rope_theta, " has no effect with rope: false; remove one");
  }
  faults.PositiveReal("qk_norm_eps", qk_norm_eps);
  if (!qk_norm && qk_norm_eps != defaults.qk_norm_eps) {
    faults.Add("qk_norm_eps", qk_norm_eps, " has no effect with qk_norm: false; remove one");
  }
  if (output_gate == OutputGate::kSilu) {
    faults.Add("output_gate", "attention serves none or sigmoid, got silu");
  }
}

}  // namespace wyvern
