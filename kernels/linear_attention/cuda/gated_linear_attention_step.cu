// Forward token by token, for documents of a few tokens (decoding): one block of threads per
// document, value head and 32 value columns, the state in registers, gates inside, one launch.
#include "kernels/linear_attention/cuda/gated_linear_attention.cuh"

namespace wyvern::linear_attention {
namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 32;                  // one per lane
constexpr int kParts = kThreads / kWarpSize;  // warps share the K rows of the state
constexpr int kMaxKeyDim = static_cast<int>(kMaxLinearAttentionKeyDim);

// kRows: state rows per thread; row r of warp w is key channel w + kParts r.
template <typename T, int kRows>
__global__ void __launch_bounds__(kThreads)
    StepKernel(GatedLinearAttentionFwdParams<T> p, Gate gate, int column_blocks) {
  const GatedLinearAttentionInputs<T>& in = p.in;
  __shared__ float s_q[kMaxKeyDim], s_k[kMaxKeyDim], s_decay[kMaxKeyDim];
  __shared__ float s_sum[kParts][kColumns];
  const int tid = static_cast<int>(threadIdx.x), lane = tid % kWarpSize, warp = tid / kWarpSize;
  const int K = static_cast<int>(in.key_dim), V = static_cast<int>(in.value_dim);
  const int HV = static_cast<int>(in.num_value_heads), H = static_cast<int>(in.num_heads);
  const int64_t doc_head = blockIdx.x / column_blocks;
  const int hv = static_cast<int>(doc_head % HV), h = hv / (HV / H);
  const int64_t doc = doc_head / HV;
  const int column = static_cast<int>(blockIdx.x % column_blocks) * kColumns + lane;
  const bool active = column < V;
  const int gate_dim = in.decay == LinearDecay::kPerChannel ? K : 1;

  float state[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int d = warp + kParts * r;
    state[r] = in.h0 != nullptr && active && d < K ? in.h0[(doc_head * K + d) * V + column] : 0.f;
  }
  const int end = in.cu_seqlens[doc + 1];
  for (int t = in.cu_seqlens[doc]; t < end; ++t) {
    const int64_t key = (static_cast<int64_t>(t) * H + h) * K;
    const int64_t token_head = static_cast<int64_t>(t) * HV + hv;
    __syncthreads();  // the previous token's values are no longer read
    s_q[tid] = tid < K ? static_cast<float>(in.scale) * ToFloatDevice(in.q[key + tid]) : 0.f;
    s_k[tid] = tid < K ? ToFloatDevice(in.k[key + tid]) : 0.f;
    float decay[1] = {1.f};
    if (in.gate != nullptr && tid < K) {
      decay[0] = ToFloatDevice(in.gate[token_head * gate_dim + (gate_dim == 1 ? 0 : tid)]);
      ToDecays<float>(gate, decay);
    }
    s_decay[tid] = decay[0];
    __syncthreads();
    const float v = active ? ToFloatDevice(in.v[token_head * V + column]) : 0.f;
    float out = 0;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int d = warp + kParts * r;
      state[r] = fmaf(s_k[d], v, s_decay[d] * state[r]);
      out = fmaf(state[r], s_q[d], out);
    }
    s_sum[warp][lane] = out;
    __syncthreads();
    if (warp == 0 && active) {
      out = 0;
#pragma unroll
      for (int i = 0; i < kParts; ++i) out += s_sum[i][lane];
      p.o[token_head * V + column] = FromFloatDevice<T>(out);
    }
  }
  if (p.ht == nullptr || !active) return;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int d = warp + kParts * r;
    if (d < K) p.ht[(doc_head * K + d) * V + column] = state[r];
  }
}
static_assert(kThreads == kMaxKeyDim, "a thread for each key channel");

}  // namespace

template <typename T>
void Steps(const GatedLinearAttentionFwdParams<T>& p, cudaStream_t stream) {
  const int column_blocks = static_cast<int>(CeilDiv<int64_t>(p.in.value_dim, kColumns));
  const unsigned blocks =
      static_cast<unsigned>(p.in.num_docs * p.in.num_value_heads * column_blocks);
  if (blocks == 0) return;
  if (p.in.key_dim <= 128) {
    StepKernel<T, 16><<<blocks, kThreads, 0, stream>>>(p, GateOf(p.in), column_blocks);
  } else {
    StepKernel<T, 32><<<blocks, kThreads, 0, stream>>>(p, GateOf(p.in), column_blocks);
  }
  CUDA_CHECK_LAUNCH();
}

template void Steps(const GatedLinearAttentionFwdParams<float>&, cudaStream_t);
template void Steps(const GatedLinearAttentionFwdParams<Bf16>&, cudaStream_t);

}  // namespace wyvern::linear_attention
