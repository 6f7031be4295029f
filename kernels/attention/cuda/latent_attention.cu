// Attention over latent vectors, in four steps: queries are absorbed; blocks attend to runs of keys
// (kernels/attention/cuda/latent_attend.cu); the runs are put together; the values' matrix is
// applied. Runs, not queries, fill the GPU when one token is decoded.
#include "kernels/attention/cuda/latent_attention.cuh"
#include "kernels/attention/latent_attention.h"
#include "kernels/attention/latent_attention_plan.h"
#include "kernels/common/vector.cuh"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {
namespace {

constexpr float kLog2E = 1.4426950408889634f;
constexpr int kThreads = 256, kWarps = kThreads / kWarpSize;
constexpr int kTokens = 8;  // that share a read of the weights

// Grid: x = head, y = run of kThreads dims, z = run of kTokens queries.
template <typename Io>
__global__ void __launch_bounds__(kThreads) AbsorbKernel(LatentAttentionParams<Io> p, Io* a) {
  extern __shared__ float q[];  // [kTokens, P]
  const int H = static_cast<int>(p.num_heads), P = static_cast<int>(p.own_dim),
            R = static_cast<int>(p.shared_dim), L = static_cast<int>(p.rank);
  const int h = static_cast<int>(blockIdx.x), first = static_cast<int>(blockIdx.z) * kTokens;
  const int count = min(kTokens, static_cast<int>(p.num_queries) - first);
  const int l = static_cast<int>(blockIdx.y) * kThreads + static_cast<int>(threadIdx.x);
  const Io* const from = p.q + first * p.q_stride + h * (P + R);
  Io* const to = a + (static_cast<int64_t>(first) * H + h) * (L + R);
  const int64_t to_stride = static_cast<int64_t>(H) * (L + R);
  for (int i = static_cast<int>(threadIdx.x); i < kTokens * P; i += kThreads) {
    const int t = i / P, e = i - t * P;
    q[i] = t < count ? ToFloatDevice(from[t * p.q_stride + e]) : 0.f;
  }
  if (blockIdx.y == 0) {
    for (int i = static_cast<int>(threadIdx.x); i < count * R; i += kThreads) {
      const int t = i / R, e = i - t * R;
      to[t * to_stride + L + e] = from[t * p.q_stride + P + e];
    }
  }
  __syncthreads();
  if (l >= L) return;
  const Io* const w = p.weight + static_cast<int64_t>(h) * P * L + l;
  float sum[kTokens] = {};
#pragma unroll 8
  for (int e = 0; e < P; ++e) {
    const float x = ToFloatDevice(w[static_cast<int64_t>(e) * L]);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) sum[t] += q[t * P + e] * x;
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    if (t < count) to[t * to_stride + l] = FromFloatDevice<Io>(sum[t]);
  }
}

// Grid: x = head, y = run of kTokens queries.
template <typename Io>
__global__ void __launch_bounds__(kThreads)
    ValuesKernel(LatentAttentionParams<Io> p, LatentWork<Io> work) {
  extern __shared__ float sums[];  // [kTokens, L]
  __shared__ float factors[kTokens];
  const int H = work.num_heads, L = work.rank, V = static_cast<int>(p.value_dim);
  const int h = static_cast<int>(blockIdx.x), first = static_cast<int>(blockIdx.y) * kTokens;
  const int count = min(kTokens, work.num_queries - first);
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  for (int t = 0; t < count; ++t) {
    const int row = (first + t) * H + h;
    const int num_splits = GetLatentDocument(work, first + t).num_splits;
    float top = -INFINITY;
    for (int s = 0; s < num_splits; ++s) {
      top = fmaxf(top, work.tops[static_cast<int64_t>(s) * work.num_rows + row]);
    }
    float total = 0;
    for (int s = 0; s < num_splits; ++s) {
      const int64_t at = static_cast<int64_t>(s) * work.num_rows + row;
      total += exp2f(work.tops[at] - top) * work.totals[at];
    }
    if (threadIdx.x == 0) factors[t] = 1 / total;
    for (int l = static_cast<int>(threadIdx.x); l < L; l += kThreads) {
      float sum = 0;
      for (int s = 0; s < num_splits; ++s) {
        const int64_t at = static_cast<int64_t>(s) * work.num_rows + row;
        sum += exp2f(work.tops[at] - top) * work.sums[at * L + l];
      }
      sums[t * L + l] = sum;
    }
  }
  __syncthreads();
  for (int v = warp; v < V; v += kWarps) {
    const Io* const w =
        p.weight + (static_cast<int64_t>(H) * p.own_dim + static_cast<int64_t>(h) * V + v) * L;
    float y[kTokens] = {};
    for (int l = lane; l < L; l += kWarpSize) {
      const float x = ToFloatDevice(w[l]);
#pragma unroll
      for (int t = 0; t < kTokens; ++t) {
        if (t < count) y[t] += x * sums[t * L + l];
      }
    }
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      if (t >= count) break;
      const float sum = WarpSum(y[t]);
      if (lane == 0) {
        p.o[(static_cast<int64_t>(first + t) * H + h) * V + v] =
            FromFloatDevice<Io>(sum * factors[t]);
      }
    }
  }
}

}  // namespace

template <typename Io>
void LatentAttentionFwd(CudaTag, const LatentAttentionParams<Io>& p) {
  const int64_t T = p.num_queries, H = p.num_heads, L = p.rank, rows = T * H;
  CHECK(L <= kMaxLatentRank && p.shared_dim <= kMaxLatentSharedDim, "rank ", L, " + ",
        p.shared_dim);
  if (rows == 0) return;
  LatentWork<Io> work;
  work.num_rows = static_cast<int>(rows);
  work.num_heads = static_cast<int>(H);
  work.num_queries = static_cast<int>(T);
  work.num_keys = static_cast<int>(p.num_keys);
  work.rank = static_cast<int>(L);
  work.width = static_cast<int>(L + p.shared_dim);
  work.scale = static_cast<float>(p.scale) * kLog2E;
  const bool ranges = p.key_begins != nullptr;
  work.key_begins = p.key_begins;
  work.key_ends = p.key_ends;
  const LatentAttentionPlan plan = ChooseLatentAttention({.num_rows = ranges ? H : rows,
                                                          .num_keys = p.num_keys,
                                                          .bf16 = std::is_same_v<Io, Bf16>,
                                                          .num_ranges = ranges ? T : 0},
                                                         CurrentGpu());
  NotePlan("latent_attention", plan);
  work.tiles_per_split = plan.tiles_per_split;
  work.num_splits = plan.num_splits;
  const cudaStream_t stream = ToStream(p.stream);
  const Buffer a(Device::kCuda, rows * work.width * sizeof(Io));
  const Buffer sums(Device::kCuda, work.num_splits * rows * L * sizeof(float));
  const Buffer tops(Device::kCuda, work.num_splits * rows * sizeof(float));
  const Buffer totals(Device::kCuda, work.num_splits * rows * sizeof(float));
  work.a = a.as<Io>();
  work.latent = p.latent;
  work.sums = sums.as<float>();
  work.tops = tops.as<float>();
  work.totals = totals.as<float>();
  work.vectors = work.width % kVecSize<Io> == 0 && Aligned16(work.a, work.latent);

  const auto heads = static_cast<unsigned>(H);
  const auto token_runs = static_cast<unsigned>(CeilDiv<int64_t>(T, kTokens));
  const dim3 absorb_grid(heads, static_cast<unsigned>(CeilDiv<int64_t>(L, kThreads)), token_runs);
  const size_t q_bytes = kTokens * p.own_dim * sizeof(float);
  AbsorbKernel<Io><<<absorb_grid, kThreads, q_bytes, stream>>>(p, a.as<Io>());
  CUDA_CHECK_LAUNCH();
  LatentAttend(work, stream);
  const size_t sum_bytes = kTokens * L * sizeof(float);
  ValuesKernel<Io><<<dim3(heads, token_runs), kThreads, sum_bytes, stream>>>(p, work);
  CUDA_CHECK_LAUNCH();
}

template void LatentAttentionFwd(CudaTag, const LatentAttentionParams<float>&);
template void LatentAttentionFwd(CudaTag, const LatentAttentionParams<Bf16>&);

}  // namespace wyvern