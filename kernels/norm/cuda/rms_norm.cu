#include "kernels/common/reduce.cuh"
#include "kernels/common/vector.cuh"
#include "kernels/norm/norm_plan.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {
namespace {

// kRowThreads threads share a row: a warp where rows are short, the block where they are long.
// Thread j holds elements [(c kRowThreads + j) N, + N) of it in registers for c < kChunks, or, for
// kChunks = 0, reads any number of them twice.
constexpr int kThreads = kNormThreads;

template <int kRowThreads>
__device__ __forceinline__ float RowSum(float x, float* scratch) {
  if constexpr (kRowThreads == kWarpSize) {
    return WarpSum(x);
  } else {
    return BlockSum<kThreads>(x, scratch);
  }
}

// x + residual, rounded to Io, at N elements from `at`; also writes it to `sum`.
template <int N, typename Io>
__device__ __forceinline__ void LoadSum(const RmsNormFwdParams<Io>& p, int64_t at, float (&s)[N]) {
  LoadFloats(p.x + at, s);
  if (p.residual == nullptr) return;
  float residual[N];
  LoadFloats(p.residual + at, residual);
#pragma unroll
  for (int j = 0; j < N; ++j) s[j] = ToFloatDevice(FromFloatDevice<Io>(s[j] + residual[j]));
  StoreFloats(p.sum + at, s);
}

// w of N elements from i on; weight_offset 0 changes no bit that is read.
template <int N, typename Params>
__device__ __forceinline__ void LoadWeight(const Params& p, int64_t i, float (&w)[N]) {
  LoadFloats(p.weight + i, w);
#pragma unroll
  for (int j = 0; j < N; ++j) w[j] += static_cast<float>(p.weight_offset);
}

template <int N, typename Io>
__device__ __forceinline__ void StoreNormed(const RmsNormFwdParams<Io>& p, int64_t row, int64_t i,
                                            float r, float (&s)[N]) {
  float w[N];
  LoadWeight(p, i, w);
#pragma unroll
  for (int j = 0; j < N; ++j) s[j] *= r * w[j];
  StoreFloats(p.y + row * p.dim + i, s);
}

template <int N>
__device__ __forceinline__ float SquareSum(const float (&s)[N]) {
  float sum = 0;
#pragma unroll
  for (int j = 0; j < N; ++j) sum += s[j] * s[j];
  return sum;
}

template <int N, int kRowThreads, int kChunks, typename Io>
__global__ void __launch_bounds__(kThreads) FwdKernel(RmsNormFwdParams<Io> p) {
  __shared__ float scratch[kThreads / kWarpSize];
  constexpr int kRows = kThreads / kRowThreads;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kRowThreads;
  if (row >= p.num_rows) return;
  const int lane = threadIdx.x % kRowThreads;
  const auto rstd = [&](float square) {
    square = RowSum<kRowThreads>(square, scratch) / static_cast<float>(p.dim);
    const float r = rsqrtf(square + static_cast<float>(p.eps));
    if (lane == 0) p.rstd[row] = r;
    return r;
  };
  float square = 0;
  if constexpr (kChunks > 0) {
    float s[kChunks][N];
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const int64_t i = (c * kRowThreads + lane) * N;
      if (i >= p.dim) break;
      LoadSum(p, row * p.dim + i, s[c]);
      square += SquareSum(s[c]);
    }
    const float r = rstd(square);
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const int64_t i = (c * kRowThreads + lane) * N;
      if (i >= p.dim) break;
      StoreNormed(p, row, i, r, s[c]);
    }
  } else {
    for (int64_t i = lane * N; i < p.dim; i += kRowThreads * N) {
      float s[N];
      LoadSum(p, row * p.dim + i, s);
      square += SquareSum(s);
    }
    const float r = rstd(square);
    const Io* source = p.residual == nullptr ? p.x : p.sum;  // a thread's own writes
    for (int64_t i = lane * N; i < p.dim; i += kRowThreads * N) {
      float s[N];
      LoadFloats(source + row * p.dim + i, s);
      StoreNormed(p, row, i, r, s);
    }
  }
}

template <int N>
__device__ __forceinline__ float WeightedDot(const float (&dy)[N], const float (&w)[N],
                                             const float (&s)[N]) {
  float sum = 0;
#pragma unroll
  for (int j = 0; j < N; ++j) sum += dy[j] * w[j] * s[j];
  return sum;
}

// Writes ds, and y if asked for, and adds dy n to d_weight; s and dy are used up.
template <int N, typename Io>
__device__ __forceinline__ void StoreGradient(const RmsNormBwdParams<Io>& p, int64_t at, float r,
                                              float c, const float (&w)[N], float (&s)[N],
                                              float (&dy)[N], const float (&d_sum)[N],
                                              float (&d_weight)[N]) {
  if (p.y != nullptr) {
    float y[N];
#pragma unroll
    for (int j = 0; j < N; ++j) y[j] = s[j] * (r * w[j]);
    StoreFloats(p.y + at, y);
  }
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const float n = s[j] * r;
    d_weight[j] += dy[j] * n;
    s[j] = r * (dy[j] * w[j] - n * c) + d_sum[j];
  }
  StoreFloats(p.ds + at, s);
}

// Each group of kRowThreads walks rows group, group + number of groups, ...; the next row is on its
// way while one is worked on. Leaves the group's part of d_weight in partials[group].
template <int N, int kRowThreads, int kChunks, typename Io>
__global__ void __launch_bounds__(kThreads, kChunks <= 1 ? kNormResidentBlocks : 1)
    BwdKernel(RmsNormBwdParams<Io> p, float* partials) {
  __shared__ float scratch[2][kThreads / kWarpSize];
  constexpr int kGroups = kThreads / kRowThreads;
  const int64_t group = static_cast<int64_t>(blockIdx.x) * kGroups + threadIdx.x / kRowThreads;
  const int64_t num_groups = static_cast<int64_t>(gridDim.x) * kGroups;
  const int lane = threadIdx.x % kRowThreads;
  float* partial = partials + group * p.dim;
  int turn = 0;
  // The same in every thread of the row; may be called again before all have left the last call.
  const auto row_sum = [&](float x) {
    x = WarpSum(x);
    if constexpr (kRowThreads == kWarpSize) return x;
    turn ^= 1;
    if (threadIdx.x % kWarpSize == 0) scratch[turn][threadIdx.x / kWarpSize] = x;
    __syncthreads();
    x = 0;
#pragma unroll
    for (int i = 0; i < kThreads / kWarpSize; ++i) x += scratch[turn][i];
    return x;
  };
  if constexpr (kChunks > 0) {
    using V = Packed<Io, N>;
    struct Row {
      V s[kChunks], dy[kChunks], d_sum[kChunks];
      float r;
    };
    const auto load = [&](int64_t row) {
      Row v = {};
      if (row >= p.num_rows) return v;
      v.r = p.rstd[row];
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const int64_t i = (c * kRowThreads + lane) * N, at = row * p.dim + i;
        if (i >= p.dim) break;
        v.s[c] = *reinterpret_cast<const V*>(p.s + at);
        v.dy[c] = *reinterpret_cast<const V*>(p.dy + at);
        if (p.d_sum != nullptr) v.d_sum[c] = *reinterpret_cast<const V*>(p.d_sum + at);
      }
      return v;
    };
    float w[kChunks][N] = {}, d_weight[kChunks][N] = {};
    Row next = load(group);
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const int64_t i = (c * kRowThreads + lane) * N;
      if (i < p.dim) LoadWeight(p, i, w[c]);
    }
    for (int64_t row = group; row < p.num_rows; row += num_groups) {
      const Row now = next;
      next = load(row + num_groups);
      float dot = 0;
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        float s[N], dy[N];
        Unpack<Io>(now.s[c], s);
        Unpack<Io>(now.dy[c], dy);
        dot += WeightedDot(dy, w[c], s);
      }
      dot = row_sum(dot) * now.r / static_cast<float>(p.dim);
#pragma unroll
      for (int c = 0; c < kChunks; ++c) {
        const int64_t i = (c * kRowThreads + lane) * N;
        if (i >= p.dim) break;
        float s[N], dy[N], d_sum[N];
        Unpack<Io>(now.s[c], s);
        Unpack<Io>(now.dy[c], dy);
        Unpack<Io>(now.d_sum[c], d_sum);
        StoreGradient(p, row * p.dim + i, now.r, dot, w[c], s, dy, d_sum, d_weight[c]);
      }
    }
#pragma unroll
    for (int c = 0; c < kChunks; ++c) {
      const int64_t i = (c * kRowThreads + lane) * N;
      if (i < p.dim) StoreFloats(partial + i, d_weight[c]);
    }
  } else {
    for (int64_t i = lane * N; i < p.dim; i += kRowThreads * N) {
      const float zeros[N] = {};
      StoreFloats(partial + i, zeros);
    }
    for (int64_t row = group; row < p.num_rows; row += num_groups) {
      const float r = p.rstd[row];
      float dot = 0;
      for (int64_t i = lane * N; i < p.dim; i += kRowThreads * N) {
        float s[N], dy[N], w[N];
        LoadFloats(p.s + row * p.dim + i, s);
        LoadFloats(p.dy + row * p.dim + i, dy);
        LoadWeight(p, i, w);
        dot += WeightedDot(dy, w, s);
      }
      dot = row_sum(dot) * r / static_cast<float>(p.dim);
      for (int64_t i = lane * N; i < p.dim; i += kRowThreads * N) {
        float s[N], dy[N], w[N], d_sum[N] = {}, d_weight[N];
        LoadFloats(p.s + row * p.dim + i, s);
        LoadFloats(p.dy + row * p.dim + i, dy);
        LoadWeight(p, i, w);
        LoadFloats(partial + i, d_weight);
        if (p.d_sum != nullptr) LoadFloats(p.d_sum + row * p.dim + i, d_sum);
        StoreGradient(p, row * p.dim + i, r, dot, w, s, dy, d_sum, d_weight);
        StoreFloats(partial + i, d_weight);
      }
    }
  }
}

// fn takes the plan's access, row_threads and chunks as integral_constants.
template <typename Io, typename F>
void VisitPlan(const RmsNormPlan& plan, F&& fn) {
  using Wide = std::integral_constant<int, kVecSize<Io>>;
  using Warp = std::integral_constant<int, kWarpSize>;
  using Block = std::integral_constant<int, kThreads>;
  const auto one = std::integral_constant<int, 1>();
  const auto two = std::integral_constant<int, 2>();
  if (plan.chunks == 0) return fn(one, Block(), std::integral_constant<int, 0>());
  if (plan.row_threads == kWarpSize) {
    return plan.chunks == 1 ? fn(Wide(), Warp(), one) : fn(Wide(), Warp(), two);
  }
  if (plan.chunks == 1) return fn(Wide(), Block(), one);
  if (plan.chunks == 2) return fn(Wide(), Block(), two);
  fn(Wide(), Block(), std::integral_constant<int, 4>());
}

template <typename Io>
RmsNormPlan Choose(int64_t num_rows, int64_t dim, bool aligned) {
  const RmsNormPlan plan =
      ChooseRmsNorm({.num_rows = num_rows, .dim = dim, .access = kVecSize<Io>, .aligned = aligned});
  NotePlan("rms_norm", plan);
  return plan;
}

}  // namespace

template <typename Io>
void RmsNormFwd(CudaTag, const RmsNormFwdParams<Io>& p) {
  if (p.num_rows == 0) return;
  const bool aligned = Aligned16(p.x, p.residual, p.weight, p.y, p.sum);
  const RmsNormPlan plan = Choose<Io>(p.num_rows, p.dim, aligned);
  VisitPlan<Io>(plan, [&](auto n, auto row_threads, auto chunks) {
    FwdKernel<decltype(n)::value, decltype(row_threads)::value, decltype(chunks)::value>
        <<<static_cast<unsigned>(plan.forward_blocks), kThreads, 0, ToStream(p.stream)>>>(p);
  });
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void RmsNormBwd(CudaTag, const RmsNormBwdParams<Io>& p) {
  const bool aligned = Aligned16(p.s, p.weight, p.dy, p.d_sum, p.ds, p.y);
  const RmsNormPlan plan = Choose<Io>(p.num_rows, p.dim, aligned);
  const int64_t num_partials = plan.backward_blocks * plan.rows_per_block();
  const Buffer partials(Device::kCuda, num_partials * p.dim * sizeof(float));
  if (plan.backward_blocks > 0) {
    VisitPlan<Io>(plan, [&](auto n, auto row_threads, auto chunks) {
      BwdKernel<decltype(n)::value, decltype(row_threads)::value, decltype(chunks)::value>
          <<<static_cast<unsigned>(plan.backward_blocks), kThreads, 0, ToStream(p.stream)>>>(
              p, partials.as<float>());
    });
    CUDA_CHECK_LAUNCH();
  }
  SumPartials(partials.as<float>(), num_partials, p.dim, p.d_weight, p.add_d_weight, p.stream);
}

template void RmsNormFwd(CudaTag, const RmsNormFwdParams<float>&);
template void RmsNormFwd(CudaTag, const RmsNormFwdParams<Bf16>&);
template void RmsNormBwd(CudaTag, const RmsNormBwdParams<float>&);
template void RmsNormBwd(CudaTag, const RmsNormBwdParams<Bf16>&);

}  // namespace wyvern
