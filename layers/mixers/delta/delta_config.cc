#include "layers/mixers/delta/delta_config.h"

#include "absl/strings/str_cat.h"
#include "layers/config_visitor.h"

namespace wyvern {
namespace {

constexpr int64_t kMaxConvWidth = 8;  // of the short convolution

}  // namespace

const char* DeltaMixerConfig::TypeName() const {
  switch (decay) {
    case DeltaDecay::kNone:
      return "delta_net";
    case DeltaDecay::kPerHead:
      return "gated_delta_net";
    case DeltaDecay::kPerChannel:
      return "kda";
  }
  return "?";
}

void DeltaMixerConfig::Visit(ConfigVisitor& v) {
  v.Value("num_heads", &num_heads, {"Query and key heads.", "[1, 16384]"});
  v.Value("num_value_heads", &num_value_heads,
          {"Value heads, a multiple of num_heads; each group of them shares a query and key head; "
           "0: num_heads.",
           "[0, 16384]"});
  v.Value("key_dim", &key_dim, {"Dimension of a query and key head.", "[1, 256]"});
  v.Value("value_dim", &value_dim, {"Dimension of a value head.", "[1, 256]"});
  v.Value("conv_width", &conv_width,
          {"Taps of the short convolution of q, k and v; 0: SiLU without a convolution.", "[0, 8]",
           "tokens"});
  v.Value("learned_beta", &learned_beta,
          "Whether beta, the strength of a write, is learned; false: it is 1.");
  v.Only(learned_beta, "learned_beta: false", [this](ConfigVisitor& only) {
    only.Value("negative_eigenvalues", &negative_eigenvalues,
               "Whether beta lies in (0, 2) instead of (0, 1), which allows negative eigenvalues "
               "of the state transition.");
  });
  v.Value("l2_norm_eps", &l2_norm_eps,
          {"Epsilon of the L2 norms of queries and keys, inside the root.", "(0, inf)"});
  v.Only(decay == DeltaDecay::kPerChannel, absl::StrCat("type: ", TypeName()),
         [this](ConfigVisitor& only) {
           only.Value("gate_lower_bound", &gate_lower_bound,
                      {"Lower bound of the log-decay, which makes the gate a bounded one; unset: a "
                       "softplus gate.",
                       "[-5, 0)"});
           only.CountOr("full", "decay_rank", &decay_rank,
                        {"Rank of the low-rank projection to the decays; 0: value_dim; full: one "
                         "full matrix.",
                         "[0, 262144]"});
         });
  v.Enumerated("output_gate", kOutputGateNames, &output_gate,
               "Activation of the gate before the output projection.");
  const bool gated = output_gate != OutputGate::kNone;
  if (output_gate_rank == kValueDim) output_gate_rank = gated ? value_dim : 0;
  v.Only(gated, "output_gate: none", [this](ConfigVisitor& only) {
    only.Value("output_gate_rank", &output_gate_rank,
               {absl::StrCat("Rank of the low-rank projection to the gate; 0: one full matrix",
                             decay == DeltaDecay::kPerChannel ? "; by default value_dim." : "."),
                "[0, 262144]"});
  });
  v.Value("output_norm_eps", &output_norm_eps,
          {"Epsilon of the norm of each head's output; unset: norm_eps.", "(0, inf)"});
  v.Only(output_gate_rank > 0, "output_gate_rank: 0", [this](ConfigVisitor& only) {
    only.Value("output_gate_bias", &output_gate_bias,
               "Whether the second matrix of a low-rank gate has a bias.");
  });
}

void DeltaMixerConfig::Validate(const ModelConfig&, Faults faults) const {
  faults.Positive("num_heads", num_heads, kMaxHeads);
  faults.NotNegative("num_value_heads", num_value_heads, "as many as num_heads", kMaxHeads);
  if (num_heads > 0 && num_value_heads > 0 && num_value_heads % num_heads != 0) {
    faults.Add("num_value_heads", "expected a multiple of num_heads ", num_heads, ", got ",
               num_value_heads);
  }
  faults.HeadDim("key_dim", key_dim);
  faults.HeadDim("value_dim", value_dim);
  if (conv_width < 0 || conv_width > kMaxConvWidth) {
    faults.Add("conv_width", "expected 0 (no convolution) to ", kMaxConvWidth, ", got ",
               conv_width);
  }
  if (negative_eigenvalues && !learned_beta) {
    faults.Add("negative_eigenvalues", "has no effect with learned_beta: false; remove one");
  }
  if (gate_lower_bound.has_value()) {
    const double bound = *gate_lower_bound;
    if (decay != DeltaDecay::kPerChannel) {
      faults.Add("gate_lower_bound", "has no effect without a decay per channel (kda)");
    } else if (!(bound >= -5 && bound < 0)) {
      faults.Add("gate_lower_bound", "expected a number in [-5, 0), got ", bound);
    }
  }
  faults.PositiveReal("l2_norm_eps", l2_norm_eps);
  if (decay_rank != kFullRank) faults.NotNegative("decay_rank", decay_rank, "value_dim", kMaxWidth);
  if (decay_rank != 0 && decay != DeltaDecay::kPerChannel) {
    faults.Add("decay_rank", decay_rank, " has no effect without a decay per channel (kda)");
  }
  if (output_norm_eps.has_value()) faults.PositiveReal("output_norm_eps", *output_norm_eps);
  faults.NotNegative("output_gate_rank", output_gate_rank, "one matrix", kMaxWidth);
  if (output_gate_rank > 0 && output_gate == OutputGate::kNone) {
    faults.Add("output_gate_rank", output_gate_rank,
               " has no effect with output_gate: none; remove one");
  }
  if (!output_gate_bias && output_gate_rank == 0) {
    faults.Add("output_gate_bias", "false has no effect without an output_gate_rank");
  }
}

}  // namespace wyvern
