#include "layers/mixers/mamba2/mamba2_config.h"

#include <cmath>

#include "layers/config_visitor.h"

namespace wyvern {
namespace {

constexpr int64_t kMaxConvWidth = 8;  // of the short convolution

}  // namespace

void Mamba2MixerConfig::Visit(ConfigVisitor& v) {
  v.Value("num_heads", &num_heads, {"Heads, each with a decay.", "[1, 16384]"});
  v.Value("head_dim", &head_dim, {"Dimension of a head's values.", "[1, 4096]"});
  v.Value("state_dim", &state_dim, {"Dimension of keys (B) and queries (C).", "[1, 256]"});
  v.Value("num_groups", &num_groups,
          {"Groups of heads that share keys, queries and the mean square of the output norm; a "
           "divisor of num_heads.",
           "[1, 16384]"});
  v.Value("conv_width", &conv_width,
          {"Taps of the short convolution of values, keys and queries.", "[1, 8]", "tokens"});
  v.Value("conv_bias", &conv_bias, "Whether the convolution has a bias.");
  v.Value("bias", &bias, "Whether the projections have biases.");
  v.Value("min_dt", &min_dt, {"Least step of a head, by which it decays and writes.", "[0, inf)"});
  v.Value("max_dt", &max_dt, {"Largest step of a head; unset: no bound.", "(0, inf)"});
}

void Mamba2MixerConfig::Validate(const ModelConfig&, Faults faults) const {
  constexpr int64_t kMaxValueDim = 4096;
  faults.Positive("num_heads", num_heads, kMaxHeads);
  faults.Positive("head_dim", head_dim, kMaxValueDim);
  faults.HeadDim("state_dim", state_dim);
  faults.Positive("num_groups", num_groups, kMaxHeads);
  if (num_groups > 0 && num_heads > 0 && num_heads % num_groups != 0) {
    faults.Add("num_groups", "expected a divisor of num_heads ", num_heads, ", got ", num_groups);
  }
  faults.Positive("conv_width", conv_width, kMaxConvWidth);
  faults.Unless(std::isfinite(min_dt) && min_dt >= 0, "min_dt",
                "expected a number of at least 0, got ", min_dt);
  if (max_dt.has_value()) {
    faults.Unless(std::isfinite(*max_dt) && *max_dt > 0, "max_dt",
                  "expected a positive number, got ", *max_dt);
    faults.Unless(!(*max_dt > 0) || *max_dt >= min_dt, "max_dt", "expected at least min_dt ",
                  min_dt, ", got ", *max_dt);
  }
}

}  // namespace wyvern
