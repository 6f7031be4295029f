#include <algorithm>

#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/ops/short_conv.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

// A thread walks a tile of tokens for N channels with the last taps in registers. The loads of the
// next kBatch tokens are under way while it works on these.
constexpr int kThreads = 128;
constexpr int kBatch = 4;
constexpr int kBwdWidth = 4;  // N of the backward: 8 would leave too few threads per SM
// Blocks per SM that the registers must suffice for.
constexpr int MinBlocks(int taps) { return taps <= 4 ? 4 : 2; }

// The document of a token that moves forward.
struct Cursor {
  const int32_t* cu_seqlens;
  int64_t num_documents, n, begin, end;

  template <typename Params>
  __device__ Cursor(const Params& p, int64_t t)
      : cu_seqlens(p.cu_seqlens), num_documents(p.num_documents) {
    int64_t low = 0, high = num_documents - 1;  // the last document that starts at or before t
    while (low < high) {
      const int64_t middle = (low + high + 1) / 2;
      if (cu_seqlens[middle] <= t) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    n = low;
    begin = cu_seqlens[n];
    end = cu_seqlens[n + 1];
  }

  // Returns whether t lies in another document than the last one asked for.
  __device__ __forceinline__ bool MoveTo(int64_t t) {
    if (t < end || n + 1 >= num_documents) return false;
    do {
      ++n;
      end = cu_seqlens[n + 1];
    } while (t >= end && n + 1 < num_documents);
    begin = cu_seqlens[n];
    return true;
  }
};

// The kTaps >= W newest rows of e at N channels from channel i; taps beyond W have weight 0.
template <int N, int kTaps, typename Io>
struct Window {
  float e[kTaps][N];
  float weight[kTaps][N];

  template <typename Params>
  __device__ __forceinline__ void LoadWeight(const Params& p, int64_t i) {
    const int width = static_cast<int>(p.width);
#pragma unroll
    for (int k = 0; k < kTaps; ++k) {
      const int tap = k - (kTaps - width);
#pragma unroll
      for (int c = 0; c < N; ++c) weight[k][c] = tap < 0 ? 0.f : p.weight[(i + c) * width + tap];
    }
  }

  // Fills in the rows before token t, so that Push(x_t) completes the window.
  template <typename Params>
  __device__ __forceinline__ void LoadHistory(const Params& p, const Cursor& at, int64_t t,
                                              int64_t i) {
#pragma unroll
    for (int k = 1; k < kTaps; ++k) {
      const int64_t back = kTaps - k, position = t - at.begin - back;
#pragma unroll
      for (int c = 0; c < N; ++c) e[k][c] = 0;
      if (back >= p.width) continue;
      if (position >= 0) {
        LoadFloats(p.x + (t - back) * p.x_stride + i, e[k]);
      } else if (p.initial_state != nullptr) {
        const int64_t row = at.n * (p.width - 1) + p.width - 1 + position;
        LoadFloats(p.initial_state + row * p.dim + i, e[k]);
      }
    }
  }

  __device__ __forceinline__ void Push(const float (&x)[N]) {
#pragma unroll
    for (int c = 0; c < N; ++c) {
#pragma unroll
      for (int k = 0; k + 1 < kTaps; ++k) e[k][c] = e[k + 1][c];
      e[kTaps - 1][c] = x[c];
    }
  }

  __device__ __forceinline__ float Convolve(int c) const {
    float u = 0;
#pragma unroll
    for (int k = 0; k < kTaps; ++k) u += weight[k][c] * e[k][c];
    return u;
  }
};

// Channels of the part that holds channel i.
template <typename T>
struct Part {
  T* data;  // of its channel i and token 0, or null
  int64_t stride;

  __device__ Part(const ShortConvParts<T>& parts, int64_t i) {
    int j = 0;
    while (j + 1 < parts.num && i >= parts.begin[j + 1]) ++j;
    stride = parts.begin[j + 1] - parts.begin[j];
    data = parts.data[j] == nullptr ? nullptr : parts.data[j] + (i - parts.begin[j]);
  }
};

// The approximations' errors, of some 1e-6, are lost in bf16's rounding.
template <typename Io>
__device__ __forceinline__ float Sigmoid(float x) {
  if constexpr (sizeof(Io) == 2) return __fdividef(1.f, 1.f + __expf(-x));
  return SigmoidDevice(x);
}

template <int N, typename Io>
__device__ __forceinline__ void ToFloats(const Vec<Io, N>& v, float (&x)[N]) {
#pragma unroll
  for (int c = 0; c < N; ++c) x[c] = ToFloatDevice(v.v[c]);
}

template <int N, int kTaps, typename Io>
__global__ void __launch_bounds__(kThreads, MinBlocks(kTaps))
    FwdKernel(ShortConvFwdParams<Io> p, int64_t tile) {
  using V = Vec<Io, N>;
  const int64_t i = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * N;
  if (i >= p.dim) return;
  const int64_t first = blockIdx.x * tile, last = min(p.num_tokens, first + tile);
  const Part<Io> y(p.y, i);
  V next[kBatch];
  const auto load = [&](int64_t t) {
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (t + b < last) next[b] = *reinterpret_cast<const V*>(p.x + (t + b) * p.x_stride + i);
    }
  };
  load(first);
  Window<N, kTaps, Io> window;
  window.LoadWeight(p, i);
  Cursor at(p, first);
  window.LoadHistory(p, at, first, i);
  for (int64_t t = first; t < last; t += kBatch) {
    V now[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) now[b] = next[b];
    load(t + kBatch);
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (t + b >= last) break;
      if (at.MoveTo(t + b)) window.LoadHistory(p, at, t + b, i);
      float x[N];
      ToFloats(now[b], x);
      window.Push(x);
#pragma unroll
      for (int c = 0; c < N; ++c) {
        const float u = window.Convolve(c);
        x[c] = p.silu ? u * Sigmoid<Io>(u) : u;
      }
      StoreFloats(y.data + (t + b) * y.stride, x);
    }
  }
}

// Walks kTaps - 1 tokens past its tile, because dx_s needs du up to s + W - 1. Leaves the tile's
// part of d_weight in partials[tile], [W, D].
template <int N, int kTaps, typename Io>
__global__ void __launch_bounds__(kThreads, MinBlocks(kTaps))
    BwdKernel(ShortConvBwdParams<Io> p, int64_t tile, float* partials) {
  using V = Vec<Io, N>;
  const int64_t i = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * N;
  if (i >= p.dim) return;
  const int64_t first = blockIdx.x * tile, last = min(p.num_tokens, first + tile);
  const int64_t limit = min(p.num_tokens, last + kTaps - 1);
  const Part<const Io> dy(p.dy, i);
  V next_x[kBatch], next_dy[kBatch] = {};
  const auto load = [&](int64_t t) {
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (t + b >= limit) continue;
      next_x[b] = *reinterpret_cast<const V*>(p.x + (t + b) * p.x_stride + i);
      if (dy.data != nullptr) {
        next_dy[b] = *reinterpret_cast<const V*>(dy.data + (t + b) * dy.stride);
      }
    }
  };
  load(first);
  Window<N, kTaps, Io> window;
  window.LoadWeight(p, i);
  Cursor at(p, first);
  window.LoadHistory(p, at, first, i);
  float dx[kTaps][N] = {};  // what is known of tokens t, t - 1, ..., t - kTaps + 1
  float d_weight[kTaps][N] = {};
  for (int64_t begin = first; begin < limit; begin += kBatch) {
    V x[kBatch], d[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      x[b] = next_x[b];
      d[b] = next_dy[b];
    }
    load(begin + kBatch);
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int64_t t = begin + b;
      if (t >= limit) break;
      if (at.MoveTo(t)) window.LoadHistory(p, at, t, i);
      float du[N];
      ToFloats(x[b], du);
      window.Push(du);
      ToFloats(d[b], du);
#pragma unroll
      for (int c = 0; c < N; ++c) {
        if (p.silu) {
          const float u = window.Convolve(c), s = Sigmoid<Io>(u);
          du[c] *= s * (1.f + u * (1.f - s));
        }
        if (t < last) {
#pragma unroll
          for (int k = 0; k < kTaps; ++k) d_weight[k][c] += du[c] * window.e[k][c];
        }
#pragma unroll
        for (int k = kTaps - 1; k > 0; --k) dx[k][c] = dx[k - 1][c];
        dx[0][c] = 0;
      }
      const int64_t from_final = t + p.width - 1 - at.end;  // the row of final_state that x_t is
      if (from_final >= 0 && p.d_final_state != nullptr) {
        LoadFloats(p.d_final_state + (at.n * (p.width - 1) + from_final) * p.dim + i, dx[0]);
      }
#pragma unroll
      for (int k = 0; k < kTaps; ++k) {
        if (k > t - at.begin) break;  // another document
#pragma unroll
        for (int c = 0; c < N; ++c) dx[k][c] += window.weight[kTaps - 1 - k][c] * du[c];
      }
      const int64_t s = t - (kTaps - 1);
      if (s >= first && s < last) StoreFloats(p.dx + s * p.dx_stride + i, dx[kTaps - 1]);
    }
  }
#pragma unroll
  for (int k = kTaps - 2; k >= 0; --k) {  // where no more tokens follow
    const int64_t s = limit - 1 - k;
    if (s >= first && s < last) StoreFloats(p.dx + s * p.dx_stride + i, dx[k]);
  }
  const int width = static_cast<int>(p.width);
#pragma unroll
  for (int k = 0; k < kTaps; ++k) {
    const int tap = k - (kTaps - width);
    if (tap < 0) continue;
    StoreFloats(partials + (static_cast<int64_t>(blockIdx.x) * width + tap) * p.dim + i,
                d_weight[k]);
  }
}

// Element i of row j of e of document n.
template <typename Io, typename Params>
__device__ float HistoryAt(const Params& p, int64_t n, int64_t j, int64_t i) {
  const int64_t history = p.width - 1;
  if (j >= history) return ToFloatDevice(p.x[(p.cu_seqlens[n] + j - history) * p.x_stride + i]);
  return p.initial_state == nullptr ? 0.f
                                    : ToFloatDevice(p.initial_state[(n * history + j) * p.dim + i]);
}

// A thread per element of final_state.
template <typename Io>
__global__ void __launch_bounds__(kThreads) FinalStateKernel(ShortConvFwdParams<Io> p) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t history = p.width - 1;
  if (at >= p.num_documents * history * p.dim) return;
  const int64_t i = at % p.dim, r = at / p.dim % history, n = at / p.dim / history;
  const int64_t length = p.cu_seqlens[n + 1] - p.cu_seqlens[n];
  p.final_state[at] = FromFloatDevice<Io>(HistoryAt<Io>(p, n, length + r, i));
}

// A thread per document and channel.
template <typename Io>
__global__ void __launch_bounds__(kThreads) InitialStateGradientKernel(ShortConvBwdParams<Io> p) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= p.num_documents * p.dim) return;
  const int64_t i = at % p.dim, n = at / p.dim, history = p.width - 1;
  const int64_t begin = p.cu_seqlens[n], length = p.cu_seqlens[n + 1] - begin;
  const Part<const Io> from(p.dy, i);
  float du[kMaxShortConvWidth - 1] = {};
  for (int64_t t = 0; t < min(length, history) && from.data != nullptr; ++t) {
    float u = 0;
    for (int64_t k = 0; k < p.width; ++k) {
      u += p.weight[i * p.width + k] * HistoryAt<Io>(p, n, t + k, i);
    }
    const float dy = ToFloatDevice(from.data[(begin + t) * from.stride]);
    du[t] = p.silu ? dy * SiluSlopeDevice(u) : dy;
  }
  for (int64_t j = 0; j < history; ++j) {
    float sum = 0;
    if (j >= length && p.d_final_state != nullptr) {
      sum = ToFloatDevice(p.d_final_state[(n * history + j - length) * p.dim + i]);
    }
    for (int64_t k = 0; k <= j; ++k) sum += p.weight[i * p.width + k] * du[j - k];
    p.d_initial_state[(n * history + j) * p.dim + i] = FromFloatDevice<Io>(sum);
  }
}

// Whether accesses of `width` elements stay inside rows and parts and begin at aligned addresses.
template <typename Params, typename T>
bool Vectorises(const Params& p, const ShortConvParts<T>& parts, int64_t strides, int width) {
  int64_t all = p.dim | strides;
  bool aligned = Aligned16(p.x, p.initial_state);
  for (int j = 0; j < parts.num; ++j) {
    all |= parts.begin[j + 1];
    aligned = aligned && Aligned16(parts.data[j]);
  }
  return aligned && all % width == 0;
}

// fn takes N and the number of taps as integral_constants.
template <int kWidth, typename Params, typename F>
void VisitShape(const Params& p, bool vectorise, F&& fn) {
  const auto with_taps = [&](auto n) {
    if (p.width <= 4) return fn(n, std::integral_constant<int, 4>());
    fn(n, std::integral_constant<int, kMaxShortConvWidth>());
  };
  if (vectorise) return with_taps(std::integral_constant<int, kWidth>());
  with_taps(std::integral_constant<int, 1>());
}

// Blocks of `kernel` that run at the same time.
template <typename Kernel>
int64_t ResidentBlocks(Kernel kernel) {
  int processors = 0, blocks = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0));
  CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kThreads, 0));
  return static_cast<int64_t>(processors) * blocks;
}

// Tiles of tokens and blocks of channels that fill the GPU `waves` times without a rest.
struct Plan {
  int64_t tile, num_tiles, across;
  dim3 grid() const {
    return dim3(static_cast<unsigned>(num_tiles), static_cast<unsigned>(across));
  }
};
Plan MakePlan(int64_t num_tokens, int64_t dim, int width, int64_t resident, int64_t waves) {
  constexpr int64_t kMinTile = 32;
  Plan plan;
  plan.across = std::max<int64_t>(1, CeilDiv<int64_t>(dim, kThreads * width));
  const int64_t tiles = std::max<int64_t>(1, waves * resident / plan.across);
  plan.tile = std::max(kMinTile, CeilDiv(CeilDiv(num_tokens, tiles), int64_t{kBatch}) * kBatch);
  plan.num_tiles = CeilDiv(num_tokens, plan.tile);
  return plan;
}

unsigned Blocks(int64_t num_elements) {
  return static_cast<unsigned>(CeilDiv<int64_t>(num_elements, kThreads));
}

}  // namespace

template <typename Io>
void ShortConvFwd(CudaTag, const ShortConvFwdParams<Io>& p) {
  const cudaStream_t stream = ToStream(p.stream);
  if (p.num_tokens > 0 && p.dim > 0) {
    constexpr int kWidth = kVecSize<Io>;
    const bool vectorise = Vectorises(p, p.y, p.x_stride, kWidth);
    VisitShape<kWidth>(p, vectorise, [&](auto n, auto taps) {
      constexpr int N = decltype(n)::value;
      const auto kernel = FwdKernel<N, decltype(taps)::value, Io>;
      static const int64_t resident = ResidentBlocks(kernel);
      const Plan plan = MakePlan(p.num_tokens, p.dim, N, resident, /*waves=*/2);
      kernel<<<plan.grid(), kThreads, 0, stream>>>(p, plan.tile);
    });
    CUDA_CHECK_LAUNCH();
  }
  const int64_t state_size = p.num_documents * (p.width - 1) * p.dim;
  if (p.final_state == nullptr || state_size == 0) return;
  FinalStateKernel<<<Blocks(state_size), kThreads, 0, stream>>>(p);
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void ShortConvBwd(CudaTag, const ShortConvBwdParams<Io>& p) {
  const cudaStream_t stream = ToStream(p.stream);
  const bool vectorise =
      Vectorises(p, p.dy, p.x_stride | p.dx_stride, kBwdWidth) && Aligned16(p.d_final_state, p.dx);
  VisitShape<kBwdWidth>(p, vectorise, [&](auto n, auto taps) {
    constexpr int N = decltype(n)::value;
    const auto kernel = BwdKernel<N, decltype(taps)::value, Io>;
    static const int64_t resident = ResidentBlocks(kernel);
    const Plan plan = MakePlan(p.num_tokens, p.dim, N, resident, /*waves=*/1);
    const Buffer partials(Device::kCuda, plan.num_tiles * p.width * p.dim * sizeof(float));
    if (p.num_tokens > 0 && p.dim > 0) {
      kernel<<<plan.grid(), kThreads, 0, stream>>>(p, plan.tile, partials.as<float>());
      CUDA_CHECK_LAUNCH();
    }
    SumPartialsTransposed(partials.as<float>(), plan.num_tiles, p.width, p.dim, p.d_weight,
                          p.stream);
  });
  if (p.d_initial_state == nullptr || p.num_documents * p.dim == 0) return;
  InitialStateGradientKernel<<<Blocks(p.num_documents * p.dim), kThreads, 0, stream>>>(p);
  CUDA_CHECK_LAUNCH();
}

template void ShortConvFwd(CudaTag, const ShortConvFwdParams<float>&);
template void ShortConvFwd(CudaTag, const ShortConvFwdParams<Bf16>&);
template void ShortConvBwd(CudaTag, const ShortConvBwdParams<float>&);
template void ShortConvBwd(CudaTag, const ShortConvBwdParams<Bf16>&);

}  // namespace wyvern
