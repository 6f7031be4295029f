#include "layers/mixers/gla/gla_config.h"

#include <cmath>

#include "layers/config_visitor.h"

namespace wyvern {
namespace {

constexpr int64_t kMaxConvWidth = 8;  // of the short convolution

}  // namespace

void GlaMixerConfig::Visit(ConfigVisitor& v) {
  v.Value("num_heads", &num_heads, {"Query, key and value heads.", "[1, 16384]"});
  v.Value("key_dim", &key_dim, {"Dimension of a query and key head.", "[1, 256]"});
  v.Value("value_dim", &value_dim, {"Dimension of a value head.", "[1, 262144]"});
  v.Value("conv_width", &conv_width,
          {"Taps of the short convolution of q, k and v, with SiLU; 0: neither of them.", "[0, 8]",
           "tokens"});
  v.Value("decay_rank", &decay_rank,
          {"Rank of the low-rank projection to the decays.", "[1, 262144]"});
  v.Value("decay_normalizer", &decay_normalizer,
          {"Divisor of log(sigmoid(logit)), which gives the log-decay.", "(0, inf)"});
  v.Value("min_log_decay", &min_log_decay,
          {"Lower bound of the log-decay; unset: none.", "(-inf, 0)"});
  v.Enumerated("output_gate", kOutputGateNames, &output_gate,
               "Activation of the gate before the output projection.");
}

void GlaMixerConfig::Validate(const ModelConfig&, Faults faults) const {
  faults.Positive("num_heads", num_heads, kMaxHeads);
  faults.HeadDim("key_dim", key_dim);
  faults.Positive("value_dim", value_dim, kMaxWidth);
  if (conv_width < 0 || conv_width > kMaxConvWidth) {
    faults.Add("conv_width", "expected 0 (no convolution) to ", kMaxConvWidth, ", got ",
               conv_width);
  }
  faults.Positive("decay_rank", decay_rank, kMaxWidth);
  faults.PositiveReal("decay_normalizer", decay_normalizer);
  if (min_log_decay.has_value()) {
    faults.Unless(std::isfinite(*min_log_decay) && *min_log_decay < 0, "min_log_decay",
                  "expected a negative number, got ", *min_log_decay);
  }
}

}  // namespace wyvern
