#include "trainer/model_cost.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "layers/model.h"

namespace wyvern {
namespace {

constexpr int64_t kChunk = 64;  // of the delta rule
// Rows of logits that exist at once, in units of 4 bytes per vocabulary entry.
constexpr int64_t kLogitRows = 2048;

struct MixerCost {
  double weights = 0;  // in products, per token
  double core = 0;     // FLOPs of one token's forward
  // Activation elements kept per token: always, and where the policy of that name does not compute
  // them again.
  double saved = 0, fused = 0, elementwise = 0, projections = 0;

  double Kept(RecomputePolicy policy) const {
    return saved + (policy < RecomputePolicy::kFused ? fused : 0) +
           (policy < RecomputePolicy::kElementwise ? elementwise : 0) +
           (policy < RecomputePolicy::kProjections ? projections : 0);
  }
};

MixerCost CostOf(const DeltaMixerConfig& c, int64_t hidden) {
  const double D = static_cast<double>(hidden);
  const double H = static_cast<double>(c.num_heads);
  const double HV = static_cast<double>(c.num_value_heads > 0 ? c.num_value_heads : c.num_heads);
  const double K = static_cast<double>(c.key_dim), V = static_cast<double>(c.value_dim);
  const double C = kChunk;
  MixerCost cost;
  cost.weights = 2 * D * H * K + 2 * D * HV * V;  // q, k and v, o
  if (c.learned_beta) cost.weights += D * HV;
  if (c.decay == DeltaDecay::kPerHead) cost.weights += D * HV;
  if (c.decay == DeltaDecay::kPerChannel) {
    const double rank = static_cast<double>(c.decay_rank > 0 ? c.decay_rank : c.value_dim);
    cost.weights += D * rank + rank * HV * K;
    cost.saved += rank + HV * K;
  }
  if (c.output_gate != OutputGate::kNone) {
    const double rank = static_cast<double>(c.output_gate_rank);
    cost.weights += rank > 0 ? D * rank + rank * HV * V : D * HV * V;
    (rank > 0 ? cost.saved : cost.projections) += rank + HV * V;
  }
  cost.core = HV * (6 * K * V + 1.5 * C * (K + V) + C * C);
  // q, k, v before and after the convolution; the output before and after its norm; per chunk a
  // state and a triangular inverse.
  cost.projections += 2 * H * K + HV * V;
  cost.elementwise += 2 * H * K + HV * V;
  cost.fused += HV * V;
  cost.saved += HV * V + HV * (K * V / C + C);
  return cost;
}

MixerCost CostOf(const AttentionMixerConfig& c, int64_t hidden, int64_t seq_len) {
  const double D = static_cast<double>(hidden), H = static_cast<double>(c.num_heads);
  const double HK = static_cast<double>(c.num_kv_heads > 0 ? c.num_kv_heads : c.num_heads);
  const double d = c.head_dim > 0 ? static_cast<double>(c.head_dim) : D / H;
  const double T = static_cast<double>(seq_len);
  const double W = c.window > 0 ? std::min(T, static_cast<double>(c.window)) : T;
  const bool gated = c.output_gate != OutputGate::kNone;
  MixerCost cost;
  cost.weights = D * d * (2 * H + 2 * HK + (gated ? H : 0));
  const double pairs = (W * (W + 1) / 2 + (T - W) * W) / T;  // visible keys of a mean query
  cost.core = 4 * d * H * pairs;
  cost.saved = d * ((c.qk_norm ? 2 : 1) * (H + HK) + HK + (gated ? 3 : 1) * H);
  return cost;
}

MixerCost CostOf(const MlaMixerConfig& c, int64_t hidden, int64_t seq_len) {
  const double D = static_cast<double>(hidden), H = static_cast<double>(c.num_heads);
  const double query = static_cast<double>(c.QueryDim()), V = static_cast<double>(c.value_dim);
  const double own = static_cast<double>(c.qk_nope_dim), shared = query - own;
  const double rank = static_cast<double>(c.kv_lora_rank);
  const double q_rank = static_cast<double>(c.q_lora_rank);
  const double gate = c.output_gate != OutputGate::kNone ? H * V : 0;
  MixerCost cost;
  cost.weights = (q_rank > 0 ? (D + H * query) * q_rank : D * H * query) + D * (rank + shared) +
                 rank * H * (own + V) + H * V * D + D * gate;
  cost.core = (query + V) * H * (static_cast<double>(seq_len) + 1);  // a mean query sees half
  // q, the latent before and after its norm, own parts and values, keys, the output.
  cost.saved = H * query + 2 * q_rank + 2 * rank + shared + H * (own + V) + H * query + H * V +
               (gate > 0 ? 2 * gate : 0);
  return cost;
}

MixerCost CostOf(const MixerConfig& mixer, int64_t hidden, int64_t seq_len) {
  if (const auto* delta = std::get_if<DeltaMixerConfig>(&mixer)) return CostOf(*delta, hidden);
  if (const auto* mla = std::get_if<MlaMixerConfig>(&mixer)) return CostOf(*mla, hidden, seq_len);
  return CostOf(std::get<AttentionMixerConfig>(mixer), hidden, seq_len);
}

}  // namespace

double ForwardFlopsPerToken(const ModelConfig& config, int64_t seq_len) {
  const double D = static_cast<double>(config.hidden_size);
  const double mlp = 3 * D * static_cast<double>(config.IntermediateSize());
  double flops = 2 * D * static_cast<double>(config.vocab_size);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const MixerCost mixer = CostOf(config.MixerOfLayer(i), config.hidden_size, seq_len);
    flops += 2 * (mixer.weights + mlp) + mixer.core;
  }
  return flops;
}

MemoryEstimate EstimateMemory(const RunConfig& config, int64_t shards) {
  const ModelConfig& model = config.model;
  const bool bf16 = config.run.precision == PrecisionChoice::kBf16;
  const int64_t parameters = CountParameters(model);
  const double D = static_cast<double>(model.hidden_size);
  const double I = static_cast<double>(model.IntermediateSize());
  double kept = 0, largest = 0;  // elements per token
  for (int64_t i = 0; i < model.num_layers; ++i) {
    // Two norms keep their input's sum and give an output; the MLP keeps gate, up and product.
    const MixerCost mixer = CostOf(model.MixerOfLayer(i), model.hidden_size, config.data.seq_len);
    const RecomputePolicy policy = config.train.recompute;
    const double block =
        2 * D + 2 * I + mixer.Kept(policy) + (policy < RecomputePolicy::kFused ? 2 * D + I : 0);
    const bool recomputed = i < config.train.recompute_blocks;
    kept += recomputed ? 2 * D : block;
    if (recomputed) {
      largest = std::max(largest, 4 * D + 3 * I + mixer.Kept(RecomputePolicy::kNone));
    }
  }
  kept += largest + 3 * D;
  const double tokens = static_cast<double>(config.train.micro_batch * config.data.seq_len);
  const double logits = static_cast<double>(std::min<int64_t>(
                            kLogitRows, config.train.micro_batch * config.data.seq_len)) *
                        static_cast<double>(model.vocab_size) * 4;
  MemoryEstimate m;
  const int64_t level = shards > 1 ? config.parallel.zero : 0;
  const auto share = [&](int64_t from) { return level >= from ? parameters / shards : parameters; };
  // Masters in fp32 beside bf16 values; fp32 values are their own masters.
  m.parameter_bytes = bf16 ? share(3) * 2 + share(1) * 4 : share(3) * 4;
  m.gradient_bytes = share(2) * 4;
  m.optimizer_bytes = share(1) * 8;
  m.activation_bytes = static_cast<int64_t>(kept * tokens * (bf16 ? 2 : 4) + logits);
  return m;
}

std::string BytesText(double num_bytes) {
  if (num_bytes >= 1e9) return absl::StrFormat("%.1f GB", num_bytes / 1e9);
  return absl::StrFormat("%.1f MB", num_bytes / 1e6);
}

std::string DescribeCost(const RunConfig& config, const std::string& prefix, int64_t shards) {
  const MemoryEstimate m = EstimateMemory(config, shards);
  const double forward = ForwardFlopsPerToken(config.model, config.data.seq_len);
  const int64_t steps = config.TotalSteps();
  const double tokens = static_cast<double>(steps) * static_cast<double>(config.train.batch_tokens);
  const int64_t parameters = CountParameters(config.model);
  const int64_t tables =
      (config.model.tie_embeddings ? 1 : 2) * config.model.vocab_size * config.model.hidden_size;
  return absl::StrFormat(
      "%sparameters        %d (%d without embedding and head)\n"
      "%strain FLOPs       %.4g per token, %.3g in all (%d steps of %d tokens)\n"
      "%smemory, about     %s%s: weights %s, gradients %s, optimizer %s, activations %s\n",
      prefix, parameters, parameters - tables, prefix, 3 * forward, 3 * forward * tokens, steps,
      config.train.batch_tokens, prefix, BytesText(static_cast<double>(m.Total())),
      shards > 1 ? " a rank" : "", BytesText(static_cast<double>(m.parameter_bytes)),
      BytesText(static_cast<double>(m.gradient_bytes)),
      BytesText(static_cast<double>(m.optimizer_bytes)),
      BytesText(static_cast<double>(m.activation_bytes)));
}

}  // namespace wyvern
