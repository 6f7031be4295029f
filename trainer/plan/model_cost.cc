#include "trainer/plan/model_cost.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "layers/model.h"
#include "trainer/config/stages.h"
#include "trainer/plan/simulate.h"

namespace wyvern {
namespace {

constexpr int64_t kChunk = 64;  // of the delta rule

struct LayerCost {
  double weights = 0;  // in products, per token
  double core = 0;     // FLOPs of one token's forward
};

LayerCost CostOf(const DeltaMixerConfig& c, int64_t hidden) {
  const double D = static_cast<double>(hidden);
  const double H = static_cast<double>(c.num_heads);
  const double HV = static_cast<double>(c.num_value_heads > 0 ? c.num_value_heads : c.num_heads);
  const double K = static_cast<double>(c.key_dim), V = static_cast<double>(c.value_dim);
  const double C = kChunk;
  LayerCost cost;
  cost.weights = 2 * D * H * K + 2 * D * HV * V;  // q, k and v, o
  if (c.learned_beta) cost.weights += D * HV;
  if (c.decay == DeltaDecay::kPerHead) cost.weights += D * HV;
  if (c.decay == DeltaDecay::kPerChannel) {
    const double rank = static_cast<double>(c.decay_rank > 0 ? c.decay_rank : c.value_dim);
    cost.weights += D * rank + rank * HV * K;
  }
  if (c.output_gate != OutputGate::kNone) {
    const double rank = static_cast<double>(c.output_gate_rank);
    cost.weights += rank > 0 ? D * rank + rank * HV * V : D * HV * V;
  }
  cost.core = HV * (6 * K * V + 1.5 * C * (K + V) + C * C);
  return cost;
}

LayerCost CostOf(const AttentionMixerConfig& c, int64_t hidden, int64_t seq_len) {
  const double D = static_cast<double>(hidden), H = static_cast<double>(c.num_heads);
  const double HK = static_cast<double>(c.num_kv_heads > 0 ? c.num_kv_heads : c.num_heads);
  const double d = c.head_dim > 0 ? static_cast<double>(c.head_dim) : D / H;
  const double T = static_cast<double>(seq_len);
  const double W = c.window > 0 ? std::min(T, static_cast<double>(c.window)) : T;
  const bool gated = c.output_gate != OutputGate::kNone;
  LayerCost cost;
  cost.weights = D * d * (2 * H + 2 * HK + (gated ? H : 0));
  const double pairs = (W * (W + 1) / 2 + (T - W) * W) / T;  // visible keys of a mean query
  cost.core = 4 * d * H * pairs;
  return cost;
}

LayerCost CostOf(const MlaMixerConfig& c, int64_t hidden, int64_t seq_len) {
  const double D = static_cast<double>(hidden), H = static_cast<double>(c.num_heads);
  const double query = static_cast<double>(c.QueryDim()), V = static_cast<double>(c.value_dim);
  const double own = static_cast<double>(c.qk_nope_dim), shared = query - own;
  const double rank = static_cast<double>(c.kv_lora_rank);
  const double q_rank = static_cast<double>(c.q_lora_rank);
  const double gate = c.output_gate != OutputGate::kNone ? H * V : 0;
  LayerCost cost;
  cost.weights = (q_rank > 0 ? (D + H * query) * q_rank : D * H * query) + D * (rank + shared) +
                 rank * H * (own + V) + H * V * D + D * gate;
  cost.core = (query + V) * H * (static_cast<double>(seq_len) + 1);  // a mean query sees half
  return cost;
}

LayerCost CostOf(const MixerConfig& mixer, int64_t hidden, int64_t seq_len) {
  if (const auto* delta = mixer.As<DeltaMixerConfig>()) return CostOf(*delta, hidden);
  if (const auto* mla = mixer.As<MlaMixerConfig>()) return CostOf(*mla, hidden, seq_len);
  return CostOf(*mixer.As<AttentionMixerConfig>(), hidden, seq_len);
}

// The MLP, or the mixture of experts, of layer i.
LayerCost FeedForwardCost(const ModelConfig& config, int64_t i) {
  const double D = static_cast<double>(config.hidden_size);
  LayerCost cost;
  const auto add_swiglu = [&](double width) { cost.weights += 3 * D * width; };
  if (!config.IsMoe(i)) {
    add_swiglu(static_cast<double>(config.IntermediateSize()));
    return cost;
  }
  const MoeConfig& moe = *config.moe;
  const double k = static_cast<double>(moe.experts_per_token);
  const double I = static_cast<double>(moe.intermediate_size);
  const double E = static_cast<double>(moe.num_experts);
  add_swiglu(k * I);
  add_swiglu(static_cast<double>(moe.shared_experts) * I);
  cost.weights += D * E;
  return cost;
}

}  // namespace

double ForwardFlopsPerToken(const ModelConfig& config, int64_t seq_len) {
  const double D = static_cast<double>(config.hidden_size);
  double flops = 2 * D * static_cast<double>(config.vocab_size);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const LayerCost mixer = CostOf(config.MixerOfLayer(i), config.hidden_size, seq_len);
    flops += 2 * (mixer.weights + FeedForwardCost(config, i).weights) + mixer.core;
  }
  return flops;
}

std::string BytesText(double num_bytes) {
  if (num_bytes >= 1e9) return absl::StrFormat("%.1f GB", num_bytes / 1e9);
  return absl::StrFormat("%.1f MB", num_bytes / 1e6);
}

std::string DescribeCost(const RunConfig& config, const std::string& prefix, int num_ranks) {
  const std::vector<Stage> stages = StagesOf(config);
  double flops = 0;  // of all forwards
  for (const Stage& stage : stages) {
    flops += ForwardFlopsPerToken(config.model, stage.seq_len) *
             static_cast<double>(stage.end_token() - stage.first_token);
  }
  const double tokens = static_cast<double>(stages.back().end_token());
  const int64_t parameters = CountParameters(config.model);
  const std::string active =
      config.model.moe.has_value()
          ? absl::StrFormat(", %d active per token", CountActiveParameters(config.model))
          : "";
  const int64_t tables =
      (config.model.tie_embeddings ? 1 : 2) * config.model.vocab_size * config.model.hidden_size;
  std::string text = absl::StrFormat(
      "%sparameters        %d (%d without embedding and head)%s\n"
      "%strain FLOPs       %.4g per token, %.3g in all (%d steps, %.4g tokens)\n",
      prefix, parameters, parameters - tables, active, prefix, 3 * flops / std::max(tokens, 1.0),
      3 * flops, stages.back().end_step(), tokens);
  const absl::StatusOr<RunPlan> run =
      ResolveRun(config, {.num_ranks = num_ranks, .simulated = true});
  if (!run.ok()) return text;  // the run itself says why it cannot be
  StepMemory m;                // of the stage that needs most
  for (const Stage& stage : run->stages) {
    const absl::StatusOr<SimulatedStep> step = SimulateStep(*run, stage, num_ranks);
    if (!step.ok()) return text;
    if (step->memory.peak_bytes > m.peak_bytes) m = step->memory;
  }
  const auto bytes = [](int64_t n) { return BytesText(static_cast<double>(n)); };
  absl::StrAppendFormat(
      &text, "%smemory, about     %s%s at the peak; weights %s, gradients %s, optimizer %s\n",
      prefix, bytes(m.peak_bytes), num_ranks > 1 ? " a rank" : "",
      bytes(m.weight_bytes + m.master_bytes), bytes(m.gradient_bytes), bytes(m.optimizer_bytes));
  return text;
}

}  // namespace wyvern
