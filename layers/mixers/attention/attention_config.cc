#include "layers/mixers/attention/attention_config.h"

#include "layers/config_visitor.h"
#include "layers/model_config.h"

namespace wyvern {
namespace {

constexpr int64_t kMaxWindow = int64_t{1} << 40;

}  // namespace

void AttentionMixerConfig::Visit(ConfigVisitor& v) {
  v.Value("num_heads", &num_heads, {"Query heads.", "[1, 16384]"});
  v.Value("num_kv_heads", &num_kv_heads,
          {"Key and value heads, a divisor of num_heads (grouped-query attention); 0: num_heads.",
           "[0, 16384]"});
  v.Value("head_dim", &head_dim,
          {"Dimension of a head, even with RoPE; 0: hidden_size / num_heads.", "[0, 256]"});
  v.Value("window", &window,
          {"Tokens that a token attends to, itself included (sliding window); 0: all.",
           "[0, 1099511627776]", "tokens"});
  v.Value("rope", &rope, "Whether queries and keys are rotated by their position (RoPE).");
  v.Only(rope, "rope: false", [this](ConfigVisitor& only) {
    only.Value("rope_theta", &rope_theta,
               {"Base of the rotation frequencies of RoPE.", "(0, inf)"});
    only.Value("rotary_dim", &rotary_dim,
               {"Leading dimensions of a head that RoPE rotates, even; 0: all.", "[0, 256]"});
  });
  v.Value("qkv_bias", &qkv_bias, "Whether the projections to q, k and v have biases.");
  v.Value("output_bias", &output_bias, "Whether the output projection has a bias.");
  v.Value("qk_norm", &qk_norm, "Whether q and k pass an RMSNorm before RoPE.");
  v.Only(qk_norm, "qk_norm: false", [this](ConfigVisitor& only) {
    only.Enumerated("qk_norm_scope", {"head", "token"}, &qk_norm_scope,
                    "What one of these norms spans: each head, or all heads of a token together.");
    only.Value("qk_norm_eps", &qk_norm_eps, {"Epsilon of these norms.", "(0, inf)"});
  });
  v.Enumerated("output_gate", kOutputGateNames, &output_gate,
               "Activation of the gate before the output projection: none or sigmoid.");
  v.Value(
      "post_norm", &post_norm,
      "Whether the norms of these layers stand behind mixer and MLP instead of before (OLMo 2).");
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
    if (rope && rotary_dim == 0 && dim % 2 != 0) {
      faults.Add("head_dim", "RoPE needs an even number, got ", dim);
    }
    if (rotary_dim < 0 || rotary_dim > dim || rotary_dim % 2 != 0) {
      faults.Add("rotary_dim", "expected an even number up to head_dim ", dim, ", got ",
                 rotary_dim);
    }
  }
  faults.NotNegative("window", window, "all tokens", kMaxWindow);
  faults.PositiveReal("rope_theta", rope_theta);
  if (!rope && rope_theta != defaults.rope_theta) {
    faults.Add("rope_theta", rope_theta, " has no effect with rope: false; remove one");
  }
  if (!rope && rotary_dim != defaults.rotary_dim) {
    faults.Add("rotary_dim", rotary_dim, " has no effect with rope: false; remove one");
  }
  faults.PositiveReal("qk_norm_eps", qk_norm_eps);
  if (!qk_norm && qk_norm_scope != defaults.qk_norm_scope) {
    faults.Add("qk_norm_scope", "token has no effect with qk_norm: false; remove one");
  }
  if (!qk_norm && qk_norm_eps != defaults.qk_norm_eps) {
    faults.Add("qk_norm_eps", qk_norm_eps, " has no effect with qk_norm: false; remove one");
  }
  if (output_gate == OutputGate::kSilu) {
    faults.Add("output_gate", "attention serves none or sigmoid, got silu");
  }
}

}  // namespace wyvern
