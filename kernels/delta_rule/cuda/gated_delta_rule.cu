// The op's entries: choose the path, give every pass of the general path its buffers, run the
// passes.
#include "kernels/delta_rule/cuda/passes.cuh"
#include "kernels/delta_rule/sm90/passes.cuh"

namespace wyvern {
namespace delta {
namespace {

constexpr int64_t kMaxDim = 256;
constexpr int64_t kMaxStepTokens = 8;  // beyond, chunks are faster than steps

template <typename T>
int64_t LongestDocument(const GatedDeltaRuleInputs<T>& in) {
  int64_t longest = 0;
  for (int64_t n = 0; n < in.num_docs; ++n) {
    longest = std::max<int64_t>(longest, in.cu_seqlens_host[n + 1] - in.cu_seqlens_host[n]);
  }
  return longest;
}

template <typename T>
int64_t SquareElements(const Args<T>& a) {
  return static_cast<int64_t>(a.num_chunks) * a.value_heads * kChunk * kChunk;
}

// A - I, P and M, in the workspace if there is one.
template <typename T>
void PlaceSquares(Args<T>& a, T* workspace, Arena& arena) {
  if (workspace == nullptr) arena.Allocate(workspace, 3 * SquareElements(a));
  a.ut_less_one = workspace;
  a.p = workspace + SquareElements(a);
  a.m = workspace + 2 * SquareElements(a);
}

template <typename T>
Args<T> MakeArgs(const GatedDeltaRuleInputs<T>& in, Arena& arena) {
  CHECK(in.key_dim >= 1 && in.key_dim <= kMaxDim && in.value_dim >= 1 && in.value_dim <= kMaxDim,
        "gated_delta_rule: head dims 1 .. 256 on CUDA, got K ", in.key_dim, ", V ", in.value_dim);
  CHECK(in.num_value_heads % in.num_heads == 0, "gated_delta_rule: value heads ",
        in.num_value_heads, " are no multiple of heads ", in.num_heads);
  Args<T> a;
  a.num_docs = static_cast<int>(in.num_docs);
  a.num_chunks = static_cast<int>(CountDeltaChunks(in));
  a.num_tokens = in.num_tokens;
  a.heads = static_cast<int>(in.num_heads);
  a.value_heads = static_cast<int>(in.num_value_heads);
  a.group = a.value_heads / a.heads;
  a.key_dim = static_cast<int>(in.key_dim);
  a.value_dim = static_cast<int>(in.value_dim);
  a.key_blocks = in.key_dim <= 64 ? 1 : in.key_dim <= 128 ? 2 : 4;
  a.value_blocks = static_cast<int>(CeilDiv<int64_t>(in.value_dim, kTile));
  a.decay = in.decay;
  a.scale = static_cast<float>(in.scale);
  const int64_t token_heads = a.num_tokens * a.value_heads, Kp = a.key_pad(), Vp = a.value_pad();
  const int64_t chunk_heads = static_cast<int64_t>(a.num_chunks) * a.value_heads;
  arena.Allocate(a.doc_chunks, a.num_docs + 1);
  arena.Allocate(a.chunks, a.num_chunks);
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
  a.q_operand = a.q;
  a.k_operand = a.k_bar = a.k;
  a.operand_heads = a.heads;
  if (a.decay != DeltaDecay::kNone) {
    arena.Allocate(a.g_sum, token_heads * (a.decay == DeltaDecay::kPerHead ? 1 : Kp));
  }
  if (a.decay == DeltaDecay::kPerChannel) {
    for (const T** operand : {&a.q_operand, &a.k_operand, &a.k_bar}) {
      T* buffer = nullptr;
      arena.Allocate(buffer, token_heads * Kp);
      *operand = buffer;
    }
    arena.Allocate(a.chunk_decay, chunk_heads * Kp);
    a.operand_heads = a.value_heads;
  }
  arena.Allocate(a.states, chunk_heads * Kp * Vp);
  arena.Allocate(a.e, token_heads * Vp);
  return a;
}

template <typename T>
Path ChoosePath(const GatedDeltaRuleInputs<T>& in, bool has_gradient) {
  if (!has_gradient && LongestDocument(in) <= kMaxStepTokens) return Path::kSteps;
  if constexpr (kIsBf16<T>) {
    if (sm90::Serves(in)) return Path::kHopper;
  }
  return Path::kChunks;
}

}  // namespace
}  // namespace delta

template <typename Io>
size_t GatedDeltaRuleWorkspaceBytes(CudaTag, const GatedDeltaRuleInputs<Io>& in) {
  if constexpr (kIsBf16<Io>) {
    if (sm90::Serves(in)) return sm90::WorkspaceBytes(in);
  }
  return static_cast<size_t>(CountDeltaChunks(in) * in.num_value_heads) * 3 * delta::kChunk *
         delta::kChunk * sizeof(Io);
}

template <typename Io>
void GatedDeltaRuleFwd(CudaTag, const GatedDeltaRuleFwdParams<Io>& p) {
  const cudaStream_t stream = ToStream(p.stream);
  const delta::Path path = delta::ChoosePath(p.in, p.workspace != nullptr);
  if (path == delta::Path::kSteps) return delta::Recurrence(p, stream);
  if constexpr (kIsBf16<Io>) {
    if (path == delta::Path::kHopper) return sm90::Forward(p, stream);
  }
  delta::Arena arena;
  delta::Args<Io> a = delta::MakeArgs(p.in, arena);
  delta::PlaceSquares(a, static_cast<Io*>(p.workspace), arena);
  delta::ChunkInputs(a, p.in, stream);
  delta::WyRepresentation(a, stream);
  delta::StateScan(a, p.in.v, p.in.h0, p.ht, stream);
  delta::Output(a, p.o, stream);
}

template <typename Io>
void GatedDeltaRuleBwd(CudaTag, const GatedDeltaRuleBwdParams<Io>& p) {
  const cudaStream_t stream = ToStream(p.stream);
  if constexpr (kIsBf16<Io>) {
    if (delta::ChoosePath(p.in, /*has_gradient=*/true) == delta::Path::kHopper) {
      return sm90::Backward(p, stream);
    }
  }
  delta::Arena arena;
  delta::Args<Io> a = delta::MakeArgs(p.in, arena);
  // The workspace is only read; passes take it as they take their own buffers.
  delta::PlaceSquares(a, static_cast<Io*>(const_cast<void*>(p.workspace)), arena);
  delta::ChunkInputs(a, p.in, stream);
  if (p.workspace == nullptr) delta::WyRepresentation(a, stream);
  const int64_t token_heads = a.num_tokens * a.value_heads;
  if (kIsBf16<Io>) {
    arena.Allocate(a.e_rest, token_heads * a.value_pad());
    arena.Allocate(a.y_rest, token_heads * a.value_pad());
  }
  delta::StateScan<Io>(a, p.in.v, p.in.h0, nullptr, stream);

  const int64_t chunk_heads = static_cast<int64_t>(a.num_chunks) * a.value_heads;
  const Io* d_o = p.d_o;
  if (d_o == nullptr) {
    Io* zeros = nullptr;
    arena.Allocate(zeros, token_heads * a.value_dim);
    CUDA_CHECK(cudaMemsetAsync(zeros, 0, token_heads * a.value_dim * sizeof(Io), stream));
    d_o = zeros;
  }
  arena.Allocate(a.d_states, chunk_heads * a.key_pad() * a.value_pad());
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
