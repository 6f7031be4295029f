#include "kernels/common/reduce.cuh"
#include "kernels/common/vector.cuh"
#include "kernels/norm/gated_rms_norm.h"
#include "kernels/norm/norm_plan.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {
namespace {

constexpr int kThreads = kNormThreads;
constexpr int kRowsPerBlock = kThreads / kWarpSize;  // a warp per row

enum class Gate { kNone, kSilu, kSigmoid };

template <Gate kGate, typename Io>
__device__ __forceinline__ float GateValue(float z) {
  if (kGate == Gate::kNone) return 1.f;
  return kGate == Gate::kSilu ? z * SigmoidDevice<Io>(z) : SigmoidDevice<Io>(z);
}
template <Gate kGate, typename Io>
__device__ __forceinline__ float GateSlope(float z) {
  if (kGate == Gate::kNone) return 0.f;
  if (kGate == Gate::kSilu) return SiluSlopeDevice<Io>(z);
  const float s = SigmoidDevice<Io>(z);
  return s * (1.f - s);
}

// Where the gates of a row begin, in elements.
template <typename Params>
__device__ __forceinline__ int64_t GateOffset(const Params& p, int64_t row, int64_t stride) {
  const unsigned heads = static_cast<unsigned>(p.heads), r = static_cast<unsigned>(row);
  const unsigned token = r / heads;
  return token * stride + (r - token * heads) * p.dim;
}

// Sum over kLanes neighbouring lanes, the same in each.
template <int kLanes>
__device__ __forceinline__ float LaneSum(float x) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    x += __shfl_xor_sync(0xffffffffu, x, offset);
  }
  return x;
}

// kLanes lanes hold a row of kLanes N elements in registers.
template <int N, int kLanes, Gate kGate, typename Io>
__global__ void __launch_bounds__(kThreads) RowFwdKernel(GatedRmsNormFwdParams<Io> p) {
  const int64_t row = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kLanes;
  const int i = threadIdx.x % kLanes * N;
  const bool valid = row < p.num_rows;
  float x[N] = {}, z[N] = {}, w[N], square = 0;
  if (valid) {
    LoadFloats(p.x + row * p.dim + i, x);
    if constexpr (kGate != Gate::kNone)
      LoadFloats(p.gate + GateOffset(p, row, p.gate_stride) + i, z);
  }
  LoadFloats(p.weight + i, w);
#pragma unroll
  for (int j = 0; j < N; ++j) square += x[j] * x[j];
  square = LaneSum<kLanes>(square) / static_cast<float>(kLanes * N);
  if (!valid) return;
  const float r = rsqrtf(square + static_cast<float>(p.eps));
#pragma unroll
  for (int j = 0; j < N; ++j) x[j] *= r * w[j] * GateValue<kGate, Io>(z[j]);
  StoreFloats(p.y + row * p.dim + i, x);
  if (i == 0) p.rstd[row] = r;
}

// The backward of such a group of lanes, over rows group, group + number of groups, ...; the next
// row is on its way while one is worked on. Leaves the block's part of d_weight in
// partials[blockIdx.x].
template <int N, int kLanes, Gate kGate, typename Io>
__global__ void __launch_bounds__(kThreads, kNormResidentBlocks)
    RowBwdKernel(GatedRmsNormBwdParams<Io> p, float* partials) {
  constexpr int kGroups = kThreads / kLanes, kDim = kLanes * N;
  __shared__ __align__(16) float shared[kGroups][kDim];
  using V = Packed<Io, N>;
  struct Row {
    V x, z, dy;
    float r;
  };
  const int i = threadIdx.x % kLanes * N, group = threadIdx.x / kLanes;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kGroups;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kGroups;
  const auto load = [&](int64_t row) {
    Row v = {};
    if (row >= p.num_rows) return v;
    v.x = *reinterpret_cast<const V*>(p.x + row * kDim + i);
    v.dy = *reinterpret_cast<const V*>(p.dy + row * kDim + i);
    if constexpr (kGate != Gate::kNone) {
      v.z = *reinterpret_cast<const V*>(p.gate + GateOffset(p, row, p.gate_stride) + i);
    }
    v.r = p.rstd[row];
    return v;
  };
  float w[N], d_weight[N] = {};
  LoadFloats(p.weight + i, w);
  Row next = load(first + group);
  for (int64_t begin = first; begin < p.num_rows; begin += stride) {  // the same in all lanes
    const int64_t row = begin + group;
    const Row now = next;
    next = load(row + stride);
    const float r = now.r;
    float x[N], z[N], dy[N], value[N], c = 0;
    Unpack<Io>(now.x, x);
    Unpack<Io>(now.z, z);
    Unpack<Io>(now.dy, dy);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      value[j] = GateValue<kGate, Io>(z[j]);
      const float product = dy[j] * value[j] * (x[j] * r);
      c += product * w[j];
      d_weight[j] += product;
    }
    c = LaneSum<kLanes>(c) / static_cast<float>(kDim);
    if (row >= p.num_rows) continue;
    float dx[N], dz[N], y[N];
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float dyw = dy[j] * w[j], n = x[j] * r;
      dx[j] = r * (dyw * value[j] - n * c);
      dz[j] = dyw * n * GateSlope<kGate, Io>(z[j]);
      y[j] = x[j] * (r * w[j] * value[j]);
    }
    StoreFloats(p.dx + row * kDim + i, dx);
    if constexpr (kGate != Gate::kNone) {
      StoreFloats(p.d_gate + GateOffset(p, row, p.d_gate_stride) + i, dz);
    }
    if (p.y != nullptr) StoreFloats(p.y + row * kDim + i, y);
  }
  StoreFloats(&shared[group][i], d_weight);
  __syncthreads();
  for (int k = threadIdx.x; k < kDim; k += kThreads) {
    float sum = 0;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) sum += shared[g][k];
    partials[static_cast<int64_t>(blockIdx.x) * kDim + k] = sum;
  }
}

// For rows of any length. Later passes over a row find it in the L1 cache.
template <int N, Gate kGate, typename Io>
__global__ void __launch_bounds__(kThreads) FwdKernel(GatedRmsNormFwdParams<Io> p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarpSize;
  if (row >= p.num_rows) return;
  const int lane = threadIdx.x % kWarpSize;
  const int64_t begin = row * p.dim;
  const Io* gate = p.gate + GateOffset(p, row, p.gate_stride);
  float square = 0;
  for (int64_t i = lane * N; i < p.dim; i += kWarpSize * N) {
    float x[N];
    LoadFloats(p.x + begin + i, x);
#pragma unroll
    for (int j = 0; j < N; ++j) square += x[j] * x[j];
  }
  const float r = rsqrtf(WarpSum(square) / static_cast<float>(p.dim) + static_cast<float>(p.eps));
  for (int64_t i = lane * N; i < p.dim; i += kWarpSize * N) {
    float x[N], z[N] = {}, w[N];
    LoadFloats(p.x + begin + i, x);
    if constexpr (kGate != Gate::kNone) LoadFloats(gate + i, z);
    LoadFloats(p.weight + i, w);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] *= r * w[j] * GateValue<kGate, Io>(z[j]);
    StoreFloats(p.y + begin + i, x);
  }
  if (lane == 0) p.rstd[row] = r;
}

// Warps walk the rows; each keeps its part of d_weight in its row of shared memory, where a lane
// owns columns, and the block leaves their sum in partials[blockIdx.x].
template <int N, Gate kGate, typename Io>
__global__ void __launch_bounds__(kThreads)
    BwdKernel(GatedRmsNormBwdParams<Io> p, float* partials) {
  extern __shared__ __align__(16) float shared[];  // [kRowsPerBlock, V]
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  float* d_weight = shared + warp * p.dim;
  for (int64_t i = lane * N; i < p.dim; i += kWarpSize * N) {
    const float zeros[N] = {};
    StoreFloats(d_weight + i, zeros);
  }
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kRowsPerBlock;
  for (int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + warp; row < p.num_rows;
       row += stride) {
    const int64_t begin = row * p.dim;
    const Io* gate = p.gate + GateOffset(p, row, p.gate_stride);
    Io* d_gate = p.d_gate + GateOffset(p, row, p.d_gate_stride);
    const float r = p.rstd[row];
    float c = 0;
    for (int64_t i = lane * N; i < p.dim; i += kWarpSize * N) {
      float x[N], z[N] = {}, w[N], dy[N], sum[N];
      LoadFloats(p.x + begin + i, x);
      if constexpr (kGate != Gate::kNone) LoadFloats(gate + i, z);
      LoadFloats(p.weight + i, w);
      LoadFloats(p.dy + begin + i, dy);
      LoadFloats(d_weight + i, sum);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float product = dy[j] * GateValue<kGate, Io>(z[j]) * x[j] * r;
        c += product * w[j];
        sum[j] += product;
      }
      StoreFloats(d_weight + i, sum);
    }
    c = WarpSum(c) / static_cast<float>(p.dim);
    for (int64_t i = lane * N; i < p.dim; i += kWarpSize * N) {
      float x[N], z[N] = {}, w[N], dy[N], y[N];
      LoadFloats(p.x + begin + i, x);
      if constexpr (kGate != Gate::kNone) LoadFloats(gate + i, z);
      LoadFloats(p.weight + i, w);
      LoadFloats(p.dy + begin + i, dy);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float n = x[j] * r, dyw = dy[j] * w[j], value = GateValue<kGate, Io>(z[j]);
        y[j] = x[j] * (r * w[j] * value);
        x[j] = r * (dyw * value - n * c);
        z[j] = dyw * n * GateSlope<kGate, Io>(z[j]);
      }
      StoreFloats(p.dx + begin + i, x);
      if constexpr (kGate != Gate::kNone) StoreFloats(d_gate + i, z);
      if (p.y != nullptr) StoreFloats(p.y + begin + i, y);
    }
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < p.dim; i += kThreads) {
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kRowsPerBlock; ++j) sum += shared[j * p.dim + i];
    partials[blockIdx.x * p.dim + i] = sum;
  }
}

template <typename Params, typename F>
void VisitGate(const Params& p, F&& fn) {
  if (p.gate == nullptr) return fn(std::integral_constant<Gate, Gate::kNone>());
  if (p.activation == GateActivation::kSilu) {
    return fn(std::integral_constant<Gate, Gate::kSilu>());
  }
  fn(std::integral_constant<Gate, Gate::kSigmoid>());
}

// fn takes the plan's lanes, which are not 0, as an integral_constant.
template <typename F>
void VisitLanes(const GatedRmsNormPlan& plan, F&& fn) {
  if (plan.lanes == 8) return fn(std::integral_constant<int, 8>());
  if (plan.lanes == 16) return fn(std::integral_constant<int, 16>());
  fn(std::integral_constant<int, 32>());
}

template <typename Io>
GatedRmsNormPlan Choose(int64_t num_rows, int64_t dim, bool aligned) {
  const GatedRmsNormPlan plan = ChooseGatedRmsNorm(
      {.num_rows = num_rows, .dim = dim, .access = kVecSize<Io>, .aligned = aligned});
  NotePlan("gated_rms_norm", plan);
  return plan;
}

}  // namespace

template <typename Io>
void GatedRmsNormFwd(CudaTag, const GatedRmsNormFwdParams<Io>& p) {
  if (p.num_rows == 0) return;
  const cudaStream_t stream = ToStream(p.stream);
  const bool aligned = Aligned16(p.x, p.gate, p.weight, p.y) && p.gate_stride % kVecSize<Io> == 0;
  const GatedRmsNormPlan plan = Choose<Io>(p.num_rows, p.dim, aligned);
  const auto blocks = static_cast<unsigned>(plan.forward_blocks);
  VisitGate(p, [&](auto gate) {
    constexpr Gate kGate = decltype(gate)::value;
    if (plan.lanes > 0) {
      VisitLanes(plan, [&](auto lanes) {
        RowFwdKernel<kVecSize<Io>, decltype(lanes)::value, kGate>
            <<<blocks, kThreads, 0, stream>>>(p);
      });
    } else {
      VisitRowVec<Io>(p.dim, aligned, [&](auto n) {
        FwdKernel<decltype(n)::value, kGate><<<blocks, kThreads, 0, stream>>>(p);
      });
    }
  });
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void GatedRmsNormBwd(CudaTag, const GatedRmsNormBwdParams<Io>& p) {
  CHECK(p.dim <= kMaxGatedNormDim, "gated RMS norm over ", p.dim, " elements; at most ",
        kMaxGatedNormDim);
  const cudaStream_t stream = ToStream(p.stream);
  const bool aligned = Aligned16(p.x, p.gate, p.weight, p.dy, p.dx, p.d_gate, p.y) &&
                       (p.gate_stride | p.d_gate_stride) % kVecSize<Io> == 0;
  const GatedRmsNormPlan plan = Choose<Io>(p.num_rows, p.dim, aligned);
  const Buffer partials(Device::kCuda, plan.backward_blocks * p.dim * sizeof(float));
  const auto blocks = static_cast<unsigned>(plan.backward_blocks);
  if (blocks > 0) {
    VisitGate(p, [&](auto gate) {
      constexpr Gate kGate = decltype(gate)::value;
      if (plan.lanes > 0) {
        VisitLanes(plan, [&](auto lanes) {
          RowBwdKernel<kVecSize<Io>, decltype(lanes)::value, kGate>
              <<<blocks, kThreads, 0, stream>>>(p, partials.as<float>());
        });
      } else {
        const size_t shared_bytes = kRowsPerBlock * p.dim * sizeof(float);
        VisitRowVec<Io>(p.dim, aligned, [&](auto n) {
          BwdKernel<decltype(n)::value, kGate>
              <<<blocks, kThreads, shared_bytes, stream>>>(p, partials.as<float>());
        });
      }
    });
    CUDA_CHECK_LAUNCH();
  }
  SumPartials(partials.as<float>(), plan.backward_blocks, p.dim, p.d_weight, p.add_d_weight,
              p.stream);
}

template void GatedRmsNormFwd(CudaTag, const GatedRmsNormFwdParams<float>&);
template void GatedRmsNormFwd(CudaTag, const GatedRmsNormFwdParams<Bf16>&);
template void GatedRmsNormBwd(CudaTag, const GatedRmsNormBwdParams<float>&);
template void GatedRmsNormBwd(CudaTag, const GatedRmsNormBwdParams<Bf16>&);

}  // namespace wyvern
