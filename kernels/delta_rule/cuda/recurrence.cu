// Forward token by token, for documents of a few tokens (decoding): one block per document, value
// head and 32 value columns, the state in registers, norm and gates inside, one launch.
#include "kernels/delta_rule/cuda/gates.cuh"
#include "kernels/delta_rule/cuda/passes.cuh"

namespace wyvern::delta {
namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 32;                  // one per lane
constexpr int kParts = kThreads / kWarpSize;  // warps share the K rows of the state
constexpr int kMaxKeyDim = 256;

// kRows: state rows per thread; row r of warp w is key channel w + kParts r.
template <typename T, int kRows>
__global__ void __launch_bounds__(kThreads)
    RecurrenceKernel(GatedDeltaRuleFwdParams<T> p, int column_blocks) {
  const GatedDeltaRuleInputs<T>& in = p.in;
  __shared__ float s_q[kMaxKeyDim], s_k[kMaxKeyDim], s_decay[kMaxKeyDim];
  __shared__ float s_sum[2][kParts][kColumns], scratch[kParts];
  const int tid = static_cast<int>(threadIdx.x), lane = tid % kWarpSize, warp = tid / kWarpSize;
  const int K = static_cast<int>(in.key_dim), V = static_cast<int>(in.value_dim);
  const int HV = static_cast<int>(in.num_value_heads), H = static_cast<int>(in.num_heads);
  const int64_t doc_head = blockIdx.x / column_blocks;
  const int hv = static_cast<int>(doc_head % HV), h = hv / (HV / H);
  const int64_t doc = doc_head / HV;
  const int column = static_cast<int>(blockIdx.x % column_blocks) * kColumns + lane;
  const bool active = column < V;
  const int channels = in.decay == DeltaDecay::kPerChannel ? K : 1;

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
    const float q = tid < K ? ToFloatDevice(in.q[key + tid]) : 0.f;
    const float k = tid < K ? ToFloatDevice(in.k[key + tid]) : 0.f;
    float q_factor = static_cast<float>(in.scale), k_factor = 1.f;
    if (in.l2_norm) {
      const float eps = static_cast<float>(in.l2_norm_eps);
      q_factor *= rsqrtf(BlockSum<kThreads>(q * q, scratch) + eps);
      k_factor = rsqrtf(BlockSum<kThreads>(k * k, scratch) + eps);
    }
    __syncthreads();  // the previous token's values are no longer read
    if (tid < kMaxKeyDim) {
      s_q[tid] = q * q_factor;
      s_k[tid] = k * k_factor;
      float decay = 1.f;
      if (in.decay != DeltaDecay::kNone && tid < K) {
        const int channel = channels == 1 ? 0 : tid;
        const float a_log = in.a_log == nullptr ? 0.f : in.a_log[hv];
        const float bias = in.dt_bias == nullptr ? 0.f : in.dt_bias[hv * channels + channel];
        decay = expf(LogDecay(in.gate_form, ToFloatDevice(in.gate[token_head * channels + channel]),
                              a_log, bias, static_cast<float>(in.lower_bound)));
      }
      s_decay[tid] = decay;
    }
    __syncthreads();
    float known = 0;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int d = warp + kParts * r;
      state[r] *= s_decay[d];
      known = fmaf(state[r], s_k[d], known);
    }
    s_sum[0][warp][lane] = known;
    __syncthreads();
    known = 0;
#pragma unroll
    for (int i = 0; i < kParts; ++i) known += s_sum[0][i][lane];
    const float v = active ? ToFloatDevice(in.v[token_head * V + column]) : 0.f;
    const float e = BetaOf(in.beta_form, in.beta, token_head) * (v - known);
    float out = 0;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int d = warp + kParts * r;
      state[r] = fmaf(s_k[d], e, state[r]);
      out = fmaf(state[r], s_q[d], out);
    }
    s_sum[1][warp][lane] = out;
    __syncthreads();
    if (warp == 0 && active) {
      out = 0;
#pragma unroll
      for (int i = 0; i < kParts; ++i) out += s_sum[1][i][lane];
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

}  // namespace

template <typename T>
void Recurrence(const GatedDeltaRuleFwdParams<T>& p, cudaStream_t stream) {
  const int column_blocks = static_cast<int>(CeilDiv<int64_t>(p.in.value_dim, kColumns));
  const unsigned blocks =
      static_cast<unsigned>(p.in.num_docs * p.in.num_value_heads * column_blocks);
  if (blocks == 0) return;
  if (p.in.key_dim <= 128) {
    RecurrenceKernel<T, 16><<<blocks, kThreads, 0, stream>>>(p, column_blocks);
  } else {
    RecurrenceKernel<T, 32><<<blocks, kThreads, 0, stream>>>(p, column_blocks);
  }
  CUDA_CHECK_LAUNCH();
}

template void Recurrence(const GatedDeltaRuleFwdParams<float>&, cudaStream_t);
template void Recurrence(const GatedDeltaRuleFwdParams<Bf16>&, cudaStream_t);

}  // namespace wyvern::delta
