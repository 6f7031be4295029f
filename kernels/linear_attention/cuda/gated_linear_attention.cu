// Entry points: plan the work, give every pass its buffers, run the passes.
#include "kernels/linear_attention/cuda/gated_linear_attention.cuh"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {
namespace linear_attention {
namespace {

// The buffers of one call.
class Arena {
 public:
  template <typename U>
  void Allocate(U*& pointer, int64_t count) {
    buffers_.emplace_back(Device::kCuda, static_cast<size_t>(count) * sizeof(U));
    pointer = buffers_.back().template as<U>();
  }

 private:
  std::vector<Buffer> buffers_;
};

template <typename T>
Args<T> MakeArgs(const GatedLinearAttentionInputs<T>& in, const LinearAttentionPlan& plan,
                 bool backward, Arena& arena) {
  Args<T> a;
  a.in = in;
  a.num_docs = static_cast<int>(in.num_docs);
  a.heads = static_cast<int>(in.num_heads);
  a.value_heads = static_cast<int>(in.num_value_heads);
  a.group = a.value_heads / a.heads;
  a.key_dim = static_cast<int>(in.key_dim);
  a.value_dim = static_cast<int>(in.value_dim);
  a.key_pad = static_cast<int>(plan.key_pad);
  a.value_pad = static_cast<int>(plan.value_pad);
  a.key_vectors = MovesInVectors(in.q, in.key_dim) && MovesInVectors(in.k, in.key_dim) &&
                  (in.decay != LinearDecay::kPerChannel || MovesInVectors(in.gate, in.key_dim));
  a.chunk_slots = static_cast<int>(plan.chunk_slots);
  a.span_tokens = static_cast<int>(plan.span_tokens);
  a.span_slots = static_cast<int>(plan.span_slots);
  const int64_t chunk_heads = plan.chunk_slots * a.value_heads;
  const int64_t span_heads = plan.span_slots * a.value_heads;
  arena.Allocate(a.q_operand, in.num_tokens * a.value_heads * a.key_pad);
  arena.Allocate(a.k_operand, in.num_tokens * a.value_heads * a.key_pad);
  arena.Allocate(a.chunk_decay, chunk_heads * a.key_pad);
  arena.Allocate(a.p, chunk_heads * kChunk * kChunk);
  if (backward) {
    arena.Allocate(a.states, chunk_heads * a.key_pad * a.value_pad);
    arena.Allocate(a.d_states, chunk_heads * a.key_pad * a.value_pad);
    if (a.group > 1) {
      arena.Allocate(a.dq_sum, in.num_tokens * a.heads * a.key_dim);
      arena.Allocate(a.dk_sum, in.num_tokens * a.heads * a.key_dim);
    }
    if (in.decay == LinearDecay::kPerHead) {
      arena.Allocate(a.head_dg, in.num_tokens * a.value_heads);
    }
  }
  arena.Allocate(a.span_decay, span_heads * a.key_pad);
  arena.Allocate(a.span_state, span_heads * a.key_dim * a.value_dim);
  return a;
}

template <typename T>
LinearAttentionPlan CheckedPlan(const GatedLinearAttentionInputs<T>& in) {
  CHECK(in.key_dim >= 1 && in.key_dim <= kMaxLinearAttentionKeyDim,
        "gated_linear_attention: key dims 1 .. ", kMaxLinearAttentionKeyDim, " on CUDA, got ",
        in.key_dim);
  return ChooseLinearAttention(in);
}

}  // namespace
}  // namespace linear_attention

template <typename Io>
void GatedLinearAttentionFwd(CudaTag, const GatedLinearAttentionFwdParams<Io>& p) {
  const cudaStream_t stream = ToStream(p.stream);
  const LinearAttentionPlan plan = linear_attention::CheckedPlan(p.in);
  NotePlan("gated_linear_attention", plan);
  if (plan.steps) return linear_attention::Steps(p, stream);
  linear_attention::Arena arena;
  const linear_attention::Args<Io> a =
      linear_attention::MakeArgs(p.in, plan, /*backward=*/false, arena);
  linear_attention::Intra(a, stream);
  linear_attention::Scan<Io>(a, {.value = p.in.v, .start = p.in.h0, .end = p.ht, .out = p.o},
                             stream);
}

template <typename Io>
void GatedLinearAttentionBwd(CudaTag, const GatedLinearAttentionBwdParams<Io>& p) {
  const cudaStream_t stream = ToStream(p.stream);
  const LinearAttentionPlan plan = linear_attention::CheckedPlan(p.in);
  NotePlan("gated_linear_attention backward", plan);
  linear_attention::Arena arena;
  const linear_attention::Args<Io> a =
      linear_attention::MakeArgs(p.in, plan, /*backward=*/true, arena);
  GatedLinearAttentionBwdParams<Io> with_d_o = p;
  if (p.d_o == nullptr) {
    const int64_t count = p.in.num_tokens * p.in.num_value_heads * p.in.value_dim;
    Io* zeros = nullptr;
    arena.Allocate(zeros, count);
    CUDA_CHECK(cudaMemsetAsync(zeros, 0, count * sizeof(Io), stream));
    with_d_o.d_o = zeros;
  }
  linear_attention::Intra(a, stream);
  linear_attention::Scan<Io>(a, {.value = p.in.v, .start = p.in.h0, .states = a.states}, stream);
  linear_attention::Scan<Io>(a,
                             {.reverse = true,
                              .value = with_d_o.d_o,
                              .start = p.d_ht,
                              .end = p.d_h0,
                              .out = p.dv,
                              .states = a.d_states},
                             stream);
  if (p.dq == nullptr && p.dk == nullptr && p.d_gate == nullptr) return;
  linear_attention::Grad(a, with_d_o, stream);
}

template void GatedLinearAttentionFwd(CudaTag, const GatedLinearAttentionFwdParams<float>&);
template void GatedLinearAttentionFwd(CudaTag, const GatedLinearAttentionFwdParams<Bf16>&);
template void GatedLinearAttentionBwd(CudaTag, const GatedLinearAttentionBwdParams<float>&);
template void GatedLinearAttentionBwd(CudaTag, const GatedLinearAttentionBwdParams<Bf16>&);

}  // namespace wyvern
