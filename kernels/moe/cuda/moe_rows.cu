// A warp to a token: it gathers its slots' rows, or scatters to them.
#include "kernels/common/vector.cuh"
#include "kernels/moe/moe_rows.h"

namespace wyvern {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * kWarpSize;
// Slots whose rows are under way at once.
constexpr int kBatch = 8;

// Each slot's needs, slot j in lane j.
struct Slot {
  int position = 0;
  float weight = 1;
};
__device__ __forceinline__ Slot LoadSlot(const int32_t* position, const float* weights, int64_t t,
                                         int slots) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  Slot slot;
  if (lane >= slots) return slot;
  slot.position = position[t * slots + lane];
  if (weights != nullptr) slot.weight = weights[t * slots + lane];
  return slot;
}
__device__ __forceinline__ int64_t PositionOf(const Slot& slot, int j) {
  return __shfl_sync(0xffffffffu, slot.position, j);
}
__device__ __forceinline__ float WeightOf(const Slot& slot, int j) {
  return __shfl_sync(0xffffffffu, slot.weight, j);
}

// Loads the elements from i on, a `Part` of each, of the rows of slots first .. first + kBatch - 1,
// as far as rows and slots go.
template <typename Part, typename Io>
__device__ __forceinline__ void LoadRows(const Io* from, int64_t dim, int64_t i, const Slot& slot,
                                         int first, int slots, Part (&rows)[kBatch]) {
#pragma unroll
  for (int u = 0; u < kBatch; ++u) {
    const int64_t row = PositionOf(slot, min(first + u, slots - 1));
    if (i < dim && first + u < slots)
      rows[u] = *reinterpret_cast<const Part*>(from + row * dim + i);
  }
}

template <int N, typename Io>
__global__ void __launch_bounds__(kThreads) GatherKernel(MoeGatherParams<Io> p) {
  const int64_t t = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpSize;
  if (t >= p.num_tokens) return;
  const int slots = static_cast<int>(p.experts_per_token);
  const int64_t lane = threadIdx.x % kWarpSize;
  const Slot slot = LoadSlot(p.position, p.weights, t, slots);
  for (int64_t begin = 0; begin < p.dim; begin += kWarpSize * N) {
    const int64_t i = begin + lane * N;
    const bool inside = i < p.dim;
    float sum[N] = {};
    if (inside && p.shared != nullptr) LoadFloats(p.shared + t * p.dim + i, sum);
    for (int first = 0; first < slots; first += kBatch) {
      Packed<Io, N> rows[kBatch];
      LoadRows(p.rows, p.dim, i, slot, first, slots, rows);
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        const float weight = WeightOf(slot, min(first + u, slots - 1));
        if (first + u >= slots) continue;
        float x[N];
        Unpack<Io>(rows[u], x);
#pragma unroll
        for (int c = 0; c < N; ++c) sum[c] = fmaf(weight, x[c], sum[c]);
      }
    }
    if (inside) StoreFloats(p.y + t * p.dim + i, sum);
  }
}

template <int N, bool kDots, typename Io>
__global__ void __launch_bounds__(kThreads) ScatterKernel(MoeScatterParams<Io> p) {
  const int64_t t = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpSize;
  if (t >= p.num_tokens) return;
  const int slots = static_cast<int>(p.experts_per_token);
  const int64_t lane = threadIdx.x % kWarpSize;
  const Slot slot = LoadSlot(p.position, p.weights, t, slots);
  for (int first = 0; first < slots; first += kBatch) {
    float dots[kBatch] = {};
    for (int64_t begin = 0; begin < p.dim; begin += kWarpSize * N) {
      const int64_t i = begin + lane * N;
      const bool inside = i < p.dim;
      Packed<Io, N> packed;
      float x[N] = {};
      if (inside) {
        packed = *reinterpret_cast<const Packed<Io, N>*>(p.x + t * p.dim + i);
        Unpack<Io>(packed, x);
      }
      Packed<Io, N> rows[kBatch];
      if constexpr (kDots) LoadRows(p.rows, p.dim, i, slot, first, slots, rows);
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        const int64_t row = PositionOf(slot, min(first + u, slots - 1));
        const float weight = WeightOf(slot, min(first + u, slots - 1));
        if (!inside || first + u >= slots) continue;
        if constexpr (kDots) {
          float from[N];
          Unpack<Io>(rows[u], from);
#pragma unroll
          for (int c = 0; c < N; ++c) dots[u] = fmaf(x[c], from[c], dots[u]);
        }
        if (p.to == nullptr) continue;
        Io* const to = p.to + row * p.dim + i;
        if (p.weights == nullptr) {
          *reinterpret_cast<Packed<Io, N>*>(to) = packed;
        } else {
          float scaled[N];
#pragma unroll
          for (int c = 0; c < N; ++c) scaled[c] = weight * x[c];
          StoreFloats(to, scaled);
        }
      }
    }
    if constexpr (kDots) {
#pragma unroll
      for (int u = 0; u < kBatch; ++u) {
        const float dot = WarpSum(dots[u]);
        if (lane == 0 && first + u < slots) p.dots[t * slots + first + u] = dot;
      }
    }
  }
}

// fn takes the number of elements of an access as an integral_constant.
template <typename Io, typename F>
void VisitVec(int64_t dim, bool aligned, F&& fn) {
  if (aligned && dim % kVecSize<Io> == 0) return fn(std::integral_constant<int, kVecSize<Io>>());
  fn(std::integral_constant<int, 1>());
}

unsigned Blocks(int64_t tokens) { return static_cast<unsigned>(CeilDiv<int64_t>(tokens, kWarps)); }

void CheckSlots(int64_t slots) {
  CHECK(slots >= 1 && slots <= kWarpSize, slots, " experts a token, of at most ", kWarpSize);
}

}  // namespace

template <typename Io>
void MoeGather(CudaTag, const MoeGatherParams<Io>& p) {
  CheckSlots(p.experts_per_token);
  if (p.num_tokens == 0 || p.dim == 0) return;
  VisitVec<Io>(p.dim, Aligned16(p.rows, p.shared, p.y), [&](auto n) {
    GatherKernel<decltype(n)::value><<<Blocks(p.num_tokens), kThreads, 0, ToStream(p.stream)>>>(p);
  });
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void MoeScatter(CudaTag, const MoeScatterParams<Io>& p) {
  CheckSlots(p.experts_per_token);
  if (p.num_tokens == 0) return;
  VisitVec<Io>(p.dim, Aligned16(p.rows, p.x, p.to), [&](auto n) {
    constexpr int N = decltype(n)::value;
    if (p.dots != nullptr) {
      ScatterKernel<N, true><<<Blocks(p.num_tokens), kThreads, 0, ToStream(p.stream)>>>(p);
    } else {
      ScatterKernel<N, false><<<Blocks(p.num_tokens), kThreads, 0, ToStream(p.stream)>>>(p);
    }
  });
  CUDA_CHECK_LAUNCH();
}

template void MoeGather(CudaTag, const MoeGatherParams<float>&);
template void MoeGather(CudaTag, const MoeGatherParams<Bf16>&);
template void MoeScatter(CudaTag, const MoeScatterParams<float>&);
template void MoeScatter(CudaTag, const MoeScatterParams<Bf16>&);

}  // namespace wyvern
