#include "layers/mixers/mla/mla_mixer.h"

#include <limits>

#include "autograd/ops/attention/latent_attention.h"
#include "autograd/ops/attention/mla_keys.h"
#include "autograd/ops/attention/rope.h"
#include "autograd/ops/pointwise/row_gate.h"
#include "autograd/ops/pointwise/sigmoid_gate.h"
#include "autograd/parallel/context_rows.h"

namespace wyvern {
namespace {

// New tokens from which on it takes fewer operations to make keys and values of the cached tokens
// than to attend in the latent space: per head and cached token the former takes 2 L (P + V), the
// latter 2 (2 L - P - V) more for each new token.
int64_t LeastExpanded(const MlaMixerConfig& c) {
  const int64_t expanded = c.qk_nope_dim + c.value_dim, latent = 2 * c.kv_lora_rank;
  if (latent <= expanded) return std::numeric_limits<int64_t>::max();
  return c.kv_lora_rank * expanded / (latent - expanded) + 1;
}

}  // namespace

MlaMixer::MlaMixer(const ModelConfig& model, const MlaMixerConfig& config)
    : config_(config),
      q_proj_(model.hidden_size,
              config.q_lora_rank > 0 ? config.q_lora_rank : config.num_heads * config.QueryDim()),
      kv_a_proj_(model.hidden_size, config.kv_lora_rank + config.qk_rope_dim),
      kv_norm_(config.kv_lora_rank, config.latent_norm_eps),
      kv_b_proj_(config.kv_lora_rank, config.num_heads * (config.qk_nope_dim + config.value_dim)),
      o_proj_(config.num_heads * config.value_dim, model.hidden_size),
      inputs_({&q_proj_, &kv_a_proj_}) {
  if (config.q_lora_rank > 0) {
    q_norm_ = std::make_unique<Norm>(config.q_lora_rank, config.latent_norm_eps);
    q_b_proj_ = std::make_unique<Linear>(config.q_lora_rank, config.num_heads * config.QueryDim());
    AddChild("q_a_proj", &q_proj_);
    AddChild("kv_a_proj", &kv_a_proj_);
    AddChild("q_norm", q_norm_.get());
    AddChild("q_b_proj", q_b_proj_.get());
  } else {
    AddChild("q_proj", &q_proj_);
    AddChild("kv_a_proj", &kv_a_proj_);
  }
  AddChild("kv_norm", &kv_norm_);
  AddChild("kv_b_proj", &kv_b_proj_);
  if (config.output_gate != OutputGate::kNone) {
    const bool by_head = config.output_gate_scope == OutputGateScope::kHead;
    gate_proj_ = std::make_unique<Linear>(model.hidden_size,
                                          config.num_heads * (by_head ? 1 : config.value_dim));
    AddChild("gate_proj", gate_proj_.get());
  }
  AddChild("o_proj", &o_proj_);
}

Var MlaMixer::Queries(Tape& tape, const Var& projected, const Packing& packing) const {
  Var q = inputs_.Part(projected, q_proj_);
  if (q_b_proj_ != nullptr) q = q_b_proj_->Forward(tape, q_norm_->Forward(tape, q).y);
  q = q.Reshape({q.value().dim(0), config_.num_heads, config_.QueryDim()});
  if (!config_.rope) return q;
  return tape
      .Apply<Rope>({.x = q}, {.positions = packing.positions,
                              .theta = config_.rope_theta,
                              .rotary_begin = config_.qk_nope_dim,
                              .in_place = true})  // no matmul reads its output again
      .y;
}

Var MlaMixer::Expanded(Tape& tape, const Var& q, const Var& c, const Var& r,
                       const Attention::Params& params) const {
  const int64_t T = c.value().dim(0), H = config_.num_heads, P = config_.qk_nope_dim;
  const Var kv = kv_b_proj_.Forward(tape, c);
  const Var own = kv.Columns(0, H * P).Reshape({T, H, P});
  const Var v = kv.Columns(H * P, H * (P + config_.value_dim)).Reshape({T, H, config_.value_dim});
  const Var k = tape.Apply<MlaKeys>({.own = own, .shared = r}, {}).k;
  const auto out = tape.Apply<Attention>({.q = q, .k = k, .v = v}, params);
  if (params.want_max_logit) RaiseMaxLogit(out.max_logit.value());
  return out.o;
}

std::vector<QkRows> MlaMixer::qk_rows() const {
  const int64_t H = config_.num_heads, P = config_.qk_nope_dim, Q = config_.QueryDim();
  Parameter* q = (q_b_proj_ == nullptr ? q_proj_ : *q_b_proj_).weight();
  return {{q, H, Q, 0, P, 0.5}, {q, H, Q, P, Q, 1}, {kv_b_proj_.weight(), H, P, 0, P, 0.5}};
}

std::unique_ptr<MixerCache> MlaMixer::NewCache(int64_t num_sequences) const {
  return std::make_unique<LatentCache>(num_sequences);
}

Var MlaMixer::Continued(Tape& tape, const Var& q, const Tensor& latent) const {
  const auto T = static_cast<int32_t>(q.value().dim(0)), Tk = static_cast<int32_t>(latent.dim(0));
  const int64_t L = config_.kv_lora_rank, R = config_.qk_rope_dim;
  if (Tk > T && T < LeastExpanded(config_)) {
    return tape
        .Apply<LatentAttention>({.q = q, .latent = Var(latent), .weight = kv_b_proj_.weight()->var},
                                {.value_dim = config_.value_dim})
        .o;
  }
  Attention::Params params{
      .cu_seqlens_q_host = {0, T}, .cu_seqlens_k_host = {0, Tk}, .forward_only = true};
  const Device device = latent.device();
  params.cu_seqlens_q = Tensor::FromVector(params.cu_seqlens_q_host, {2}).To(device);
  params.cu_seqlens_k = Tensor::FromVector(params.cu_seqlens_k_host, {2}).To(device);
  return Expanded(tape, q, Var(latent).Columns(0, L), Var(latent).Columns(L, L + R), params);
}

Var MlaMixer::Continued(Tape& tape, const Var& q, const LatentCache::View& seen,
                        const Packing& packing) const {
  if (packing.num_documents() == 1) return Continued(tape, q, seen.rows);
  const std::vector<int32_t>& begin = packing.cu_seqlens_host;
  const Tensor o = Tensor::Empty({q.value().dim(0), config_.num_heads, config_.value_dim},
                                 q.value().dtype(), q.value().device());
  for (int64_t i = 0; i < packing.num_documents(); ++i) {
    if (begin[i] == begin[i + 1]) continue;
    o.Rows(begin[i], begin[i + 1])
        .CopyFrom(Continued(tape, Var(q.value().Rows(begin[i], begin[i + 1])),
                            seen.rows.Rows(seen.cu_seqlens[i], seen.cu_seqlens[i + 1]))
                      .value());
  }
  return Var(o);
}

Var MlaMixer::Forward(Tape& tape, const Var& x, const Packing& packing, MixerCache* cache) const {
  const int64_t T = x.value().dim(0), L = config_.kv_lora_rank, R = config_.qk_rope_dim;
  const Var projected = inputs_.Forward(tape, x);
  if (gate_proj_ == nullptr) tape.Discard({x});
  const Var q = Queries(tape, projected, packing);
  const Var compressed = inputs_.Part(projected, kv_a_proj_);
  Var c = kv_norm_.Forward(tape, compressed.Columns(0, L)).y;
  Var r = compressed.Columns(L, L + R);
  if (config_.rope) {
    r = tape.Apply<Rope>(
                {.x = r.Reshape({T, 1, R})},
                {.positions = packing.positions, .theta = config_.rope_theta, .in_place = true})
            .y.Reshape({T, R});
  }

  Var o;
  if (packing.step) {
    LatentCache::StepView seen = Own<LatentCache>(cache)->AppendStep(c.value(), r.value());
    o = tape.Apply<LatentAttention>(
                {.q = q, .latent = Var(seen.rows), .weight = kv_b_proj_.weight()->var},
                {.value_dim = config_.value_dim,
                 .key_begins = seen.ranges.begins,
                 .key_ends = seen.ranges.ends,
                 .key_begins_host = std::move(seen.ranges.begins_host),
                 .key_ends_host = std::move(seen.ranges.ends_host)})
            .o;
  } else if (cache != nullptr) {
    o = Continued(tape, q,
                  Own<LatentCache>(cache)->Append(c.value(), r.value(), packing.cu_seqlens_host),
                  packing);
  } else {
    Attention::Params params{.cu_seqlens_q = packing.cu_seqlens,
                             .cu_seqlens_q_host = packing.cu_seqlens_host,
                             .want_max_logit = TracksMaxLogit(tape)};
    if (packing.context != nullptr) {
      // Latent vectors travel, some 20 times smaller than keys and values.
      const ContextRows::Params rows{.split = packing.context};
      c = tape.Apply<ContextRows>({.x = c}, rows).y;
      r = tape.Apply<ContextRows>({.x = r}, rows).y;
      const ContextSplit::Offsets& offsets = packing.context->WithRowsBefore(c.value().dim(0) - T);
      params.cu_seqlens_k_host = offsets.host;
      params.cu_seqlens_k = offsets.device;
    }
    o = Expanded(tape, q, c, r, params);
  }
  const int64_t H = config_.num_heads, V = config_.value_dim;
  if (gate_proj_ != nullptr) {
    const Var gate = gate_proj_->Forward(tape, x);
    tape.Discard({x});
    if (config_.output_gate_scope == OutputGateScope::kHead) {
      o = tape.Apply<RowGate>({.x = o.Reshape({T * H, V}), .gate = gate.Reshape({T * H, 1})}, {}).y;
    } else {
      o = tape.Apply<SigmoidGate>({.x = o.Reshape({T, H * V}), .gate = gate}, {}).y;
    }
  }
  return o_proj_.Forward(tape, o.Reshape({T, H * V}));
}

}  // namespace wyvern
