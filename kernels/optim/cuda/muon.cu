#include "kernels/common/multi_tensor.cuh"
#include "kernels/optim/muon.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;
constexpr int kWidth = 4;  // elements of an access of the multi-tensor kernels
constexpr int64_t kChunk = kThreads * kWidth * 8;

// Calls update<N>(i) for the elements of the block's chunk of a tensor.
template <typename Entry, typename Update>
__device__ __forceinline__ void ForChunk(const Entry& e, const Update& update) {
  const int64_t begin = (blockIdx.x - e.first_block) * kChunk;
  const int64_t end = min(e.num_elements, begin + kChunk);
  const int64_t vector_end = e.vectorise ? begin + (end - begin) / kWidth * kWidth : begin;
#pragma unroll 2
  for (int64_t i = begin + threadIdx.x * kWidth; i < vector_end; i += kThreads * kWidth) {
    update(std::integral_constant<int, kWidth>(), i);
  }
  for (int64_t i = vector_end + threadIdx.x; i < end; i += kThreads) {
    update(std::integral_constant<int, 1>(), i);
  }
}

struct MomentumEntry {
  const float* grad;
  float* m;
  Bf16* u;
  int64_t num_elements;
  unsigned first_block;
  bool vectorise;
};

__global__ void __launch_bounds__(kThreads)
    MomentumKernel(const __grid_constant__ TensorTable<MomentumEntry> table, float momentum,
                   const float* grad_scale, const int32_t* finite) {
  const bool update = finite == nullptr || *finite != 0;
  const float scale = grad_scale == nullptr ? 1.f : *grad_scale;
  const MomentumEntry& e = FindTensor(table, blockIdx.x);
  ForChunk(e, [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    float grad[N], m[N], u[N] = {};
    if (update) {
      LoadFloats(e.grad + i, grad);
      LoadFloats(e.m + i, m);
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float g = grad[j] * scale;
        m[j] = momentum * m[j] + g;
        u[j] = g + momentum * m[j];
      }
      StoreFloats(e.m + i, m);
    }
    StoreFloats(e.u + i, u);
  });
}

struct ApplyEntry {
  float* master;
  const Bf16* o;
  Bf16* copy;
  int64_t num_elements;
  float keep, rate;  // 1 - lr weight_decay; lr scale
  unsigned first_block;
  bool vectorise;
};

__global__ void __launch_bounds__(kThreads)
    ApplyKernel(const __grid_constant__ TensorTable<ApplyEntry> table, const int32_t* finite) {
  if (finite != nullptr && *finite == 0) return;
  const ApplyEntry& e = FindTensor(table, blockIdx.x);
  ForChunk(e, [&](auto width, int64_t i) {
    constexpr int N = decltype(width)::value;
    float master[N], o[N];
    LoadFloats(e.master + i, master);
    LoadFloats(e.o + i, o);
#pragma unroll
    for (int j = 0; j < N; ++j) master[j] = master[j] * e.keep - e.rate * o[j];
    StoreFloats(e.master + i, master);
    if (e.copy != nullptr) StoreFloats(e.copy + i, master);
  });
}

// A matrix is cut into slices; grid (slices, matrices of a launch).
constexpr int64_t kMaxSlices = 64;
constexpr int64_t kMaxMatrices = 65535;  // of the grid's second axis

// N elements at a time of the block's slice.
template <int N, typename Visit>
__device__ __forceinline__ void ForSlice(int64_t num_elements, int64_t per_slice,
                                         const Visit& visit) {
  const int64_t begin = blockIdx.x * per_slice;
  const int64_t end = min(num_elements, begin + per_slice);
#pragma unroll 4
  for (int64_t i = begin + threadIdx.x * N; i < end; i += kThreads * N) visit(i);
}

// partials[matrix, slice] = sum of the squares of the slice.
template <int N>
__global__ void __launch_bounds__(kThreads)
    MatrixSquaresKernel(const Bf16* x, int64_t num_elements, int64_t per_slice, float* partials) {
  __shared__ float scratch[kThreads / kWarpSize];
  x += blockIdx.y * num_elements;
  float sum = 0;
  ForSlice<N>(num_elements, per_slice, [&](int64_t i) {
    float v[N];
    LoadFloats(x + i, v);
#pragma unroll
    for (int j = 0; j < N; ++j) sum += v[j] * v[j];
  });
  sum = BlockSum<kThreads>(sum, scratch);
  if (threadIdx.x == 0) partials[blockIdx.y * gridDim.x + blockIdx.x] = sum;
}

// Every block adds the partial sums of its matrix, in the same order.
template <int N>
__global__ void __launch_bounds__(kThreads)
    DivideByNormKernel(const Bf16* x, int64_t num_elements, int64_t per_slice,
                       const float* partials, float eps, Bf16* y) {
  x += blockIdx.y * num_elements;
  y += blockIdx.y * num_elements;
  partials += blockIdx.y * gridDim.x;
  float squares = 0;
  for (int slice = 0; slice < gridDim.x; ++slice) squares += partials[slice];
  const float factor = 1.f / (sqrtf(squares) + eps);
  ForSlice<N>(num_elements, per_slice, [&](int64_t i) {
    float v[N];
    LoadFloats(x + i, v);
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] *= factor;
    StoreFloats(y + i, v);
  });
}

}  // namespace

template <>
void MuonMomentum(CudaTag, const MuonMomentumParams<Bf16>& p) {
  const auto make = [&](int64_t i) {
    const MuonMomentumTensor<Bf16>& t = p.tensors[i];
    return MomentumEntry{t.grad, t.m, t.u, t.num_elements, 0, Aligned16(t.grad, t.m, t.u)};
  };
  ForEachTable<MomentumEntry>(static_cast<int64_t>(p.tensors.size()), kChunk, make,
                              [&](const TensorTable<MomentumEntry>& table, unsigned num_blocks) {
                                MomentumKernel<<<num_blocks, kThreads, 0, ToStream(p.stream)>>>(
                                    table, static_cast<float>(p.momentum), p.grad_scale, p.finite);
                                CUDA_CHECK_LAUNCH();
                              });
}

template <>
void NormalizeMatrices(CudaTag, const NormalizeMatricesParams<Bf16>& p) {
  if (p.batch == 0 || p.num_elements == 0) return;
  const bool vectorise = p.num_elements % kVecSize<Bf16> == 0 && Aligned16(p.x, p.y);
  const int64_t width = vectorise ? kVecSize<Bf16> : 1;
  const int64_t per_pass = kThreads * width;
  const int64_t passes = CeilDiv(p.num_elements, per_pass);
  const int64_t per_slice = CeilDiv(passes, kMaxSlices) * per_pass;
  const int64_t slices = CeilDiv(p.num_elements, per_slice);
  const Buffer partials(Device::kCuda, std::min(p.batch, kMaxMatrices) * slices * sizeof(float));
  for (int64_t first = 0; first < p.batch; first += kMaxMatrices) {
    const int64_t matrices = std::min(kMaxMatrices, p.batch - first);
    const dim3 grid(static_cast<unsigned>(slices), static_cast<unsigned>(matrices));
    const Bf16* x = p.x + first * p.num_elements;
    const auto launch = [&](auto n) {
      constexpr int N = decltype(n)::value;
      MatrixSquaresKernel<N><<<grid, kThreads, 0, ToStream(p.stream)>>>(
          x, p.num_elements, per_slice, partials.as<float>());
      CUDA_CHECK_LAUNCH();
      DivideByNormKernel<N><<<grid, kThreads, 0, ToStream(p.stream)>>>(
          x, p.num_elements, per_slice, partials.as<float>(), static_cast<float>(p.eps),
          p.y + first * p.num_elements);
      CUDA_CHECK_LAUNCH();
    };
    if (vectorise) {
      launch(std::integral_constant<int, kVecSize<Bf16>>());
    } else {
      launch(std::integral_constant<int, 1>());
    }
  }
}

template <>
void MuonApply(CudaTag, const MuonApplyParams<Bf16>& p) {
  const auto make = [&](int64_t i) {
    const MuonApplyTensor<Bf16>& t = p.tensors[i];
    return ApplyEntry{t.master,
                      t.o,
                      t.copy,
                      t.num_elements,
                      static_cast<float>(1 - p.lr * t.weight_decay),
                      static_cast<float>(p.lr * t.scale),
                      0,
                      Aligned16(t.master, t.o, t.copy)};
  };
  ForEachTable<ApplyEntry>(static_cast<int64_t>(p.tensors.size()), kChunk, make,
                           [&](const TensorTable<ApplyEntry>& table, unsigned num_blocks) {
                             ApplyKernel<<<num_blocks, kThreads, 0, ToStream(p.stream)>>>(table,
                                                                                          p.finite);
                             CUDA_CHECK_LAUNCH();
                           });
}

}  // namespace wyvern
