// The table of chunks, and what every chunk reads: norms of q and k, beta, running sums of log
// decays, decayed operands.
#include "kernels/delta_rule/cuda/gates.cuh"
#include "kernels/delta_rule/cuda/passes.cuh"

namespace wyvern::delta {
namespace {

constexpr int kThreads = 256;

// doc_chunks[n] = number of chunks in documents before n. One block.
__global__ void __launch_bounds__(1024)
    CountChunksKernel(const int* cu_seqlens, int num_docs, int* doc_chunks) {
  __shared__ int counts[1024];
  __shared__ int total;
  if (threadIdx.x == 0) total = 0;
  for (int base = 0; base < num_docs; base += 1024) {
    const int n = base + static_cast<int>(threadIdx.x);
    const int own = n < num_docs ? CeilDiv(cu_seqlens[n + 1] - cu_seqlens[n], kChunk) : 0;
    counts[threadIdx.x] = own;
    __syncthreads();
    for (int offset = 1; offset < 1024; offset *= 2) {  // inclusive scan
      const int before = static_cast<int>(threadIdx.x) >= offset ? counts[threadIdx.x - offset] : 0;
      __syncthreads();
      counts[threadIdx.x] += before;
      __syncthreads();
    }
    if (n < num_docs) doc_chunks[n] = total + counts[threadIdx.x] - own;
    __syncthreads();
    if (threadIdx.x == 1023) total += counts[1023];
    __syncthreads();
  }
  if (threadIdx.x == 0) doc_chunks[num_docs] = total;
}

__global__ void __launch_bounds__(kThreads)
    ListChunksKernel(const int* cu_seqlens, const int* doc_chunks, int num_docs, int num_chunks,
                     Chunk* chunks) {
  const int c = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
  if (c >= num_chunks) return;
  int low = 0, high = num_docs;  // doc_chunks[low] <= c < doc_chunks[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (doc_chunks[middle] <= c ? low : high) = middle;
  }
  const int first = cu_seqlens[low] + (c - doc_chunks[low]) * kChunk;
  chunks[c] = {first, min(kChunk, cu_seqlens[low + 1] - first), low, 0};
}

// One warp per row of [T, H, K]; blockIdx.y: q or k. Writes r and, if asked for, a copy of the row
// padded with zeros to Kp columns.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    NormKernel(Args<T> a, const T* q, const T* k, bool l2_norm, float eps, T* q_copy, T* k_copy) {
  const int64_t row =
      static_cast<int64_t>(blockIdx.x) * (kThreads / kWarpSize) + threadIdx.x / kWarpSize;
  if (row >= a.num_tokens * a.heads) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const T* x = (blockIdx.y == 0 ? q : k) + row * a.key_dim;
  T* copy = blockIdx.y == 0 ? q_copy : k_copy;
  float value[8];
  float square = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    LoadPair(x, 2 * lane + 64 * i, a.key_dim, value[2 * i], value[2 * i + 1]);
    square += value[2 * i] * value[2 * i] + value[2 * i + 1] * value[2 * i + 1];
  }
  const float r = l2_norm ? rsqrtf(WarpSum(square) + eps) : 1.f;
  if (lane == 0) (blockIdx.y == 0 ? a.q_norm : a.k_norm)[row] = r;
  if (copy == nullptr) return;
  copy += row * a.key_pad();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < a.key_blocks) {
      *reinterpret_cast<Vec<T, 2>*>(copy + 2 * lane + 64 * i) = {
          FromFloatDevice<T>(value[2 * i]), FromFloatDevice<T>(value[2 * i + 1])};
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    BetaKernel(const T* raw, DeltaBeta form, int64_t n, float* beta) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n) return;
  const float b = BetaOf(form, raw, i);
  beta[i] = copysignf(fmaxf(fabsf(b), kMinBeta), b);
}

struct GateSettings {
  DeltaGate form;
  float lower_bound;
};

// G of one chunk, value head and channel per thread. `channels` is 1 with a decay per head, else
// Kp.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    GateSumKernel(Args<T> a, const T* gate, const float* a_log, const float* dt_bias,
                  GateSettings settings, int channels) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int channel = static_cast<int>(index % channels);
  const int hv = static_cast<int>(index / channels % a.value_heads);
  const int64_t c = index / channels / a.value_heads;
  if (c >= a.num_chunks) return;
  const Chunk chunk = a.chunks[c];
  const int raw_channels = channels == 1 ? 1 : a.key_dim;
  const bool present = channel < raw_channels;
  float head_a_log = 0, bias = 0;
  if (present && settings.form != DeltaGate::kLogDecay) {
    head_a_log = a_log == nullptr ? 0.f : a_log[hv];
    bias = dt_bias == nullptr ? 0.f : dt_bias[hv * raw_channels + channel];
  }
  const T* from = gate + (static_cast<int64_t>(chunk.first) * a.value_heads + hv) * raw_channels +
                  (present ? channel : 0);
  float* to =
      a.g_sum + (static_cast<int64_t>(chunk.first) * a.value_heads + hv) * channels + channel;
  float sum = 0;
#pragma unroll 4
  for (int i = 0; i < chunk.rows; ++i) {
    if (present) {
      const float raw = ToFloatDevice(from[static_cast<int64_t>(i) * a.value_heads * raw_channels]);
      sum +=
          fmaxf(LogDecay(settings.form, raw, head_a_log, bias, settings.lower_bound), kMinLogDecay);
    }
    to[static_cast<int64_t>(i) * a.value_heads * channels] = sum;
  }
}

// With a decay per channel: r e^G q, e^G k, e^{G_C - G} k and e^{G_C} of one chunk and value head
// per block. The chunk's last e^{G_C - G} k is k, exactly.
template <typename T>
__global__ void __launch_bounds__(kThreads) OperandKernel(Args<T> a) {
  const int64_t c = blockIdx.x / a.value_heads;
  const int hv = static_cast<int>(blockIdx.x % a.value_heads), Kp = a.key_pad();
  const Chunk chunk = a.chunks[c];
  const float* g_last =
      a.g_sum + (static_cast<int64_t>(chunk.first + chunk.rows - 1) * a.value_heads + hv) * Kp;
  for (int i = threadIdx.x; i < chunk.rows * Kp / 2; i += kThreads) {
    const int row = i / (Kp / 2), d = i % (Kp / 2) * 2;
    const int64_t t = chunk.first + row, key_head = t * a.heads + hv / a.group;
    const int64_t out = (t * a.value_heads + hv) * Kp + d;
    const float q_norm = a.q_norm[key_head];
    const auto q = *reinterpret_cast<const Vec<T, 2>*>(a.q + key_head * Kp + d);
    const auto k = *reinterpret_cast<const Vec<T, 2>*>(a.k + key_head * Kp + d);
    Vec<T, 2> q_decayed, k_decayed, k_bar;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float g = a.g_sum[out + j];
      const float decay = Exp<T>(g), rest = Exp<T>(g_last[d + j] - g);
      q_decayed.v[j] = FromFloatDevice<T>(ToFloatDevice(q.v[j]) * (q_norm * decay));
      k_decayed.v[j] = FromFloatDevice<T>(ToFloatDevice(k.v[j]) * decay);
      k_bar.v[j] = FromFloatDevice<T>(ToFloatDevice(k.v[j]) * rest);
    }
    *reinterpret_cast<Vec<T, 2>*>(a.q_operand + out) = q_decayed;
    *reinterpret_cast<Vec<T, 2>*>(a.k_operand + out) = k_decayed;
    *reinterpret_cast<Vec<T, 2>*>(a.k_bar + out) = k_bar;
  }
  for (int d = threadIdx.x; d < Kp; d += kThreads) {
    a.chunk_decay[static_cast<int64_t>(blockIdx.x) * Kp + d] = expf(g_last[d]);
  }
}

unsigned Blocks(int64_t n) { return static_cast<unsigned>(CeilDiv<int64_t>(n, kThreads)); }

}  // namespace

void ListChunks(const int* cu_seqlens, int num_docs, int num_chunks, int* doc_chunks, Chunk* chunks,
                cudaStream_t stream) {
  CountChunksKernel<<<1, 1024, 0, stream>>>(cu_seqlens, num_docs, doc_chunks);
  CUDA_CHECK_LAUNCH();
  if (num_chunks == 0) return;
  ListChunksKernel<<<Blocks(num_chunks), kThreads, 0, stream>>>(cu_seqlens, doc_chunks, num_docs,
                                                                num_chunks, chunks);
  CUDA_CHECK_LAUNCH();
}

template <typename T>
void ChunkInputs(const Args<T>& a, const GatedDeltaRuleInputs<T>& in, cudaStream_t stream) {
  if (a.num_chunks == 0) return;
  const dim3 norm_grid(Blocks(a.num_tokens * a.heads * kWarpSize), 2);
  // Args holds what later passes only read; buffers of this call's own are written here.
  T* const q_copy = a.q == in.q ? nullptr : const_cast<T*>(a.q);
  T* const k_copy = a.k == in.k ? nullptr : const_cast<T*>(a.k);
  NormKernel<T><<<norm_grid, kThreads, 0, stream>>>(
      a, in.q, in.k, in.l2_norm, static_cast<float>(in.l2_norm_eps), q_copy, k_copy);
  CUDA_CHECK_LAUNCH();
  const int64_t token_heads = a.num_tokens * a.value_heads;
  BetaKernel<T>
      <<<Blocks(token_heads), kThreads, 0, stream>>>(in.beta, in.beta_form, token_heads, a.beta);
  CUDA_CHECK_LAUNCH();
  if (a.decay == DeltaDecay::kNone) return;
  const int channels = a.decay == DeltaDecay::kPerHead ? 1 : a.key_pad();
  const int64_t chunk_heads = static_cast<int64_t>(a.num_chunks) * a.value_heads;
  GateSumKernel<T><<<Blocks(chunk_heads * channels), kThreads, 0, stream>>>(
      a, in.gate, in.a_log, in.dt_bias, {in.gate_form, static_cast<float>(in.lower_bound)},
      channels);
  CUDA_CHECK_LAUNCH();
  if (a.decay != DeltaDecay::kPerChannel) return;
  OperandKernel<T><<<static_cast<unsigned>(chunk_heads), kThreads, 0, stream>>>(a);
  CUDA_CHECK_LAUNCH();
}

template void ChunkInputs(const Args<float>&, const GatedDeltaRuleInputs<float>&, cudaStream_t);
template void ChunkInputs(const Args<Bf16>&, const GatedDeltaRuleInputs<Bf16>&, cudaStream_t);

}  // namespace wyvern::delta
