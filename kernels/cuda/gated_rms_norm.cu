#include <algorithm>

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/ops/gated_rms_norm.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;
constexpr int kRowsPerBlock = kThreads / kWarpSize;  // a warp per row
constexpr int64_t kMaxBlocks = 1024;                 // that share the sum over rows of d_weight
constexpr int64_t kMaxDim = 1024;                    // kRowsPerBlock rows of it in shared memory

enum class Gate { kNone, kSilu, kSigmoid };

template <Gate kGate>
__device__ __forceinline__ float GateValue(float z) {
  if (kGate == Gate::kNone) return 1.f;
  return kGate == Gate::kSilu ? z * SigmoidDevice(z) : SigmoidDevice(z);
}
template <Gate kGate>
__device__ __forceinline__ float GateSlope(float z) {
  if (kGate == Gate::kNone) return 0.f;
  if (kGate == Gate::kSilu) return SiluSlopeDevice(z);
  const float s = SigmoidDevice(z);
  return s * (1.f - s);
}

// Later passes over a row find it in the L1 cache.
template <int N, Gate kGate, typename Io>
__global__ void __launch_bounds__(kThreads) FwdKernel(GatedRmsNormFwdParams<Io> p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarpSize;
  if (row >= p.num_rows) return;
  const int lane = threadIdx.x % kWarpSize;
  const int64_t begin = row * p.dim;
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
    if constexpr (kGate != Gate::kNone) LoadFloats(p.gate + begin + i, z);
    LoadFloats(p.weight + i, w);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] *= r * w[j] * GateValue<kGate>(z[j]);
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
    const float r = p.rstd[row];
    float c = 0;
    for (int64_t i = lane * N; i < p.dim; i += kWarpSize * N) {
      float x[N], z[N] = {}, w[N], dy[N], sum[N];
      LoadFloats(p.x + begin + i, x);
      if constexpr (kGate != Gate::kNone) LoadFloats(p.gate + begin + i, z);
      LoadFloats(p.weight + i, w);
      LoadFloats(p.dy + begin + i, dy);
      LoadFloats(d_weight + i, sum);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float product = dy[j] * GateValue<kGate>(z[j]) * x[j] * r;
        c += product * w[j];
        sum[j] += product;
      }
      StoreFloats(d_weight + i, sum);
    }
    c = WarpSum(c) / static_cast<float>(p.dim);
    for (int64_t i = lane * N; i < p.dim; i += kWarpSize * N) {
      float x[N], z[N] = {}, w[N], dy[N];
      LoadFloats(p.x + begin + i, x);
      if constexpr (kGate != Gate::kNone) LoadFloats(p.gate + begin + i, z);
      LoadFloats(p.weight + i, w);
      LoadFloats(p.dy + begin + i, dy);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float n = x[j] * r, dyw = dy[j] * w[j];
        x[j] = r * (dyw * GateValue<kGate>(z[j]) - n * c);
        z[j] = dyw * n * GateSlope<kGate>(z[j]);
      }
      StoreFloats(p.dx + begin + i, x);
      if constexpr (kGate != Gate::kNone) StoreFloats(p.d_gate + begin + i, z);
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

}  // namespace

template <typename Io>
void GatedRmsNormFwd(CudaTag, const GatedRmsNormFwdParams<Io>& p) {
  if (p.num_rows == 0) return;
  const unsigned blocks = static_cast<unsigned>(CeilDiv<int64_t>(p.num_rows, kRowsPerBlock));
  VisitRowVec<Io>(p.dim, Aligned16(p.x, p.gate, p.weight, p.y), [&](auto n) {
    VisitGate(p, [&](auto gate) {
      FwdKernel<decltype(n)::value, decltype(gate)::value>
          <<<blocks, kThreads, 0, ToStream(p.stream)>>>(p);
    });
  });
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void GatedRmsNormBwd(CudaTag, const GatedRmsNormBwdParams<Io>& p) {
  CHECK(p.dim <= kMaxDim, "gated RMS norm over ", p.dim, " elements; at most ", kMaxDim);
  const int64_t blocks = std::min(kMaxBlocks, CeilDiv<int64_t>(p.num_rows, kRowsPerBlock));
  const Buffer partials(Device::kCuda, blocks * p.dim * sizeof(float));
  const size_t shared_bytes = kRowsPerBlock * p.dim * sizeof(float);
  const bool aligned = Aligned16(p.x, p.gate, p.weight, p.dy, p.dx, p.d_gate);
  if (blocks > 0) {
    VisitRowVec<Io>(p.dim, aligned, [&](auto n) {
      VisitGate(p, [&](auto gate) {
        BwdKernel<decltype(n)::value, decltype(gate)::value>
            <<<static_cast<unsigned>(blocks), kThreads, shared_bytes, ToStream(p.stream)>>>(
                p, partials.as<float>());
      });
    });
    CUDA_CHECK_LAUNCH();
  }
  SumPartials(partials.as<float>(), blocks, p.dim, p.d_weight, p.stream);
}

template void GatedRmsNormFwd(CudaTag, const GatedRmsNormFwdParams<float>&);
template void GatedRmsNormFwd(CudaTag, const GatedRmsNormFwdParams<Bf16>&);
template void GatedRmsNormBwd(CudaTag, const GatedRmsNormBwdParams<float>&);
template void GatedRmsNormBwd(CudaTag, const GatedRmsNormBwdParams<Bf16>&);

}  // namespace wyvern
