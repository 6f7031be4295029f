// The op's entries: choose the path, give every pass of the general path its buffers, run the
// passes.
#include "kernels/delta_rule/cuda/passes.cuh"
#include "kernels/delta_rule/sm90/passes.cuh"
#include "kernels/runtime/plan_log.h"

namespace wyvern {
namespace delta {
namespace {

// A - I, P and M, in the workspace if there is one.
template <typename T>
void PlaceSquares(Args<T>& a, T* workspace, Arena& arena) {
  const int64_t square = a.chunk_heads() * kChunk * kChunk;
  if (workspace == nullptr) arena.Allocate(workspace, 3 * square);
  a.ut_less_one = workspace;
  a.p = workspace + square;
  a.m = workspace + 2 * square;
}

template <typename T>
Args<T> MakeArgs(const GatedDeltaRuleInputs<T>& in, const DeltaRulePlan& plan, Arena& arena,
                 cudaStream_t stream) {
  Args<T> a;
  SetChunks(in, plan, arena, stream, &a);
  a.key_blocks = in.key_dim <= 64 ? 1 : in.key_dim <= 128 ? 2 : 4;
  a.value_blocks = static_cast<int>(CeilDiv<int64_t>(in.value_dim, kTile));
  const int64_t token_heads = a.token_heads(), chunk_heads = a.chunk_heads();
  const int64_t Kp = a.key_pad(), Vp = a.value_pad();
  const auto padded = [&](const T* x) {
    if (in.key_dim == Kp && MovesInVectors(x, Kp)) return x;
    T* copy = nullptr;
    arena.Allocate(copy, a.num_tokens * a.heads * Kp);
    return static_cast<const T*>(copy);
  };
  a.q = padded(in.q);
  a.k = padded(in.k);
  arena.Allocate(a.q_norm, a.num_tokens * a.heads);
  arena.Allocate(a.k_norm, a.num_tokens * a.heads);
  arena.Allocate(a.beta, token_heads);
  a.state_q = a.q;
  a.state_k = a.state_k_bar = a.k;
  a.operand_heads = a.heads;
  if (a.decay != DeltaDecay::kNone) {
    arena.Allocate(a.g_sum, token_heads * (a.decay == DeltaDecay::kPerHead ? 1 : Kp));
  }
  if (a.decay == DeltaDecay::kPerChannel) {
    for (T** operand : {&a.q_operand, &a.k_operand, &a.k_bar}) {
      arena.Allocate(*operand, token_heads * Kp);
    }
    a.state_q = a.q_operand;
    a.state_k = a.k_operand;
    a.state_k_bar = a.k_bar;
    arena.Allocate(a.chunk_decay, chunk_heads * Kp);
    a.operand_heads = a.value_heads;
  }
  arena.Allocate(a.states, chunk_heads * Kp * Vp);
  arena.Allocate(a.e, token_heads * Vp);
  return a;
}

}  // namespace
}  // namespace delta

template <typename Io>
size_t GatedDeltaRuleWorkspaceBytes(CudaTag, const GatedDeltaRuleInputs<Io>& in) {
  return static_cast<size_t>(
      ChooseDeltaRule(DescOf(in, /*gradient=*/true), CurrentGpu()).workspace_bytes);
}

template <typename Io>
void GatedDeltaRuleFwd(CudaTag, const GatedDeltaRuleFwdParams<Io>& p) {
  const cudaStream_t stream = ToStream(p.stream);
  const GpuInfo& gpu = CurrentGpu();
  const DeltaRulePlan plan = ChooseDeltaRule(DescOf(p.in, p.workspace != nullptr), gpu);
  NotePlan("gated_delta_rule", plan);
  if (plan.path == DeltaRulePath::kRecurrence) return delta::Recurrence(p, stream);
  if constexpr (kIsBf16<Io>) {
    if (plan.path == DeltaRulePath::kSm90) return sm90::Forward(p, plan, gpu, stream);
  }
  delta::Arena arena;
  delta::Args<Io> a = delta::MakeArgs(p.in, plan, arena, stream);
  delta::PlaceSquares(a, static_cast<Io*>(p.workspace), arena);
  delta::ChunkInputs(a, p.in, stream);
  delta::WyRepresentation(a, stream);
  delta::StateScan(a, p.in.v, p.in.h0, p.ht, stream);
  delta::Output(a, p.o, stream);
}

template <typename Io>
void GatedDeltaRuleBwd(CudaTag, const GatedDeltaRuleBwdParams<Io>& p) {
  const cudaStream_t stream = ToStream(p.stream);
  const GpuInfo& gpu = CurrentGpu();
  const DeltaRulePlan plan = ChooseDeltaRule(DescOf(p.in, /*gradient=*/true), gpu);
  NotePlan("gated_delta_rule", plan);
  if constexpr (kIsBf16<Io>) {
    if (plan.path == DeltaRulePath::kSm90) return sm90::Backward(p, plan, gpu, stream);
  }
  delta::Arena arena;
  delta::Args<Io> a = delta::MakeArgs(p.in, plan, arena, stream);
  // The workspace is only read; passes take it as they take their own buffers.
  delta::PlaceSquares(a, static_cast<Io*>(const_cast<void*>(p.workspace)), arena);
  delta::ChunkInputs(a, p.in, stream);
  if (p.workspace == nullptr) delta::WyRepresentation(a, stream);
  const int64_t token_heads = a.token_heads();
  if (kIsBf16<Io>) {
    arena.Allocate(a.e_rest, token_heads * a.value_pad());
    arena.Allocate(a.y_rest, token_heads * a.value_pad());
  }
  delta::StateScan<Io>(a, p.in.v, p.in.h0, nullptr, stream);

  const Io* d_o = p.d_o;
  if (d_o == nullptr) {
    Io* zeros = nullptr;
    arena.Allocate(zeros, token_heads * a.value_dim);
    CUDA_CHECK(cudaMemsetAsync(zeros, 0, token_heads * a.value_dim * sizeof(Io), stream));
    d_o = zeros;
  }
  arena.Allocate(a.d_states, a.chunk_heads() * a.key_pad() * a.value_pad());
  arena.Allocate(a.y, token_heads * a.value_pad());
  delta::StateScanBackward(a, d_o, p.d_ht, p.dv, p.d_h0, stream);
  const bool per_channel = a.decay == DeltaDecay::kPerChannel;
  arena.Allocate(a.dq, token_heads * a.key_pad());
  arena.Allocate(a.dk, token_heads * a.key_pad());
  arena.Allocate(a.d_beta, token_heads);
  if (a.decay != DeltaDecay::kNone) {
    arena.Allocate(a.dg, token_heads * (per_channel ? a.key_pad() : 1));
  }
  delta::ChunkGrad(a, d_o, stream);
  delta::InputGrad(a, p, stream);
}

template size_t GatedDeltaRuleWorkspaceBytes(CudaTag, const GatedDeltaRuleInputs<float>&);
template size_t GatedDeltaRuleWorkspaceBytes(CudaTag, const GatedDeltaRuleInputs<Bf16>&);
template void GatedDeltaRuleFwd(CudaTag, const GatedDeltaRuleFwdParams<float>&);
template void GatedDeltaRuleFwd(CudaTag, const GatedDeltaRuleFwdParams<Bf16>&);
template void GatedDeltaRuleBwd(CudaTag, const GatedDeltaRuleBwdParams<float>&);
template void GatedDeltaRuleBwd(CudaTag, const GatedDeltaRuleBwdParams<Bf16>&);

}  // namespace wyvern
