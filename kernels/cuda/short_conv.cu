#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/ops/short_conv.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

// A thread walks a tile of tokens for N channels with the last taps in registers. Its loads run
// kBatch tokens ahead.
constexpr int kThreads = 128;
constexpr int kBatch = 4;
constexpr int64_t kFwdTile = 32;
constexpr int kBwdWidth = 4;  // N of the backward: 8 would leave too few threads per SM

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
        LoadFloats(p.x + (t - back) * p.dim + i, e[k]);
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

template <int N, int kTaps, typename Io>
__global__ void __launch_bounds__(kThreads) FwdKernel(ShortConvFwdParams<Io> p) {
  const int64_t i = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * N;
  if (i >= p.dim) return;
  const int64_t first = blockIdx.x * kFwdTile, last = min(p.num_tokens, first + kFwdTile);
  Window<N, kTaps, Io> window;
  window.LoadWeight(p, i);
  Cursor at(p, first);
  window.LoadHistory(p, at, first, i);
  for (int64_t t = first; t < last; t += kBatch) {
    float x[kBatch][N];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (t + b < last) LoadFloats(p.x + (t + b) * p.dim + i, x[b]);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      if (t + b >= last) break;
      if (at.MoveTo(t + b)) window.LoadHistory(p, at, t + b, i);
      window.Push(x[b]);
      float y[N];
#pragma unroll
      for (int c = 0; c < N; ++c) {
        const float u = window.Convolve(c);
        y[c] = p.silu ? u * SigmoidDevice(u) : u;
      }
      StoreFloats(p.y + (t + b) * p.dim + i, y);
    }
  }
}

// Walks kTaps - 1 tokens past its tile, because dx_s needs du up to s + W - 1. Leaves the tile's
// part of d_weight in partials[tile], [W, D].
template <int N, int kTaps, typename Io>
__global__ void __launch_bounds__(kThreads)
    BwdKernel(ShortConvBwdParams<Io> p, int64_t tile, float* partials) {
  const int64_t i = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * N;
  if (i >= p.dim) return;
  const int64_t first = blockIdx.x * tile, last = min(p.num_tokens, first + tile);
  Window<N, kTaps, Io> window;
  window.LoadWeight(p, i);
  Cursor at(p, first), out(p, first);
  window.LoadHistory(p, at, first, i);
  float du[kTaps][N] = {};  // of tokens s, ..., s + kTaps - 1
  float d_weight[kTaps][N] = {};
  for (int64_t t = first; t < last + kTaps - 1; t += kBatch) {
    float x[kBatch][N], dy[kBatch][N];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
#pragma unroll
      for (int c = 0; c < N; ++c) dy[b][c] = 0;
      if (t + b >= min(p.num_tokens, last + kTaps - 1)) continue;
      LoadFloats(p.x + (t + b) * p.dim + i, x[b]);
      if (p.dy != nullptr) LoadFloats(p.dy + (t + b) * p.dim + i, dy[b]);
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int64_t now = t + b, s = now - (kTaps - 1);
      if (s >= last) break;
      float du_now[N] = {};
      if (now < p.num_tokens) {
        if (at.MoveTo(now)) window.LoadHistory(p, at, now, i);
        window.Push(x[b]);
#pragma unroll
        for (int c = 0; c < N; ++c) {
          du_now[c] = p.silu ? dy[b][c] * SiluSlopeDevice(window.Convolve(c)) : dy[b][c];
          if (now >= last) continue;
#pragma unroll
          for (int k = 0; k < kTaps; ++k) d_weight[k][c] += du_now[c] * window.e[k][c];
        }
      }
#pragma unroll
      for (int c = 0; c < N; ++c) {
#pragma unroll
        for (int k = 0; k + 1 < kTaps; ++k) du[k][c] = du[k + 1][c];
        du[kTaps - 1][c] = du_now[c];
      }
      if (s < first) continue;
      out.MoveTo(s);
      float dx[N] = {};
      const int64_t from_final = s + p.width - 1 - out.end;  // the row of final_state that x_s is
      if (from_final >= 0 && p.d_final_state != nullptr) {
        LoadFloats(p.d_final_state + (out.n * (p.width - 1) + from_final) * p.dim + i, dx);
      }
#pragma unroll
      for (int k = 0; k < kTaps; ++k) {
        if (s + k >= out.end) break;
#pragma unroll
        for (int c = 0; c < N; ++c) dx[c] += window.weight[kTaps - 1 - k][c] * du[k][c];
      }
      StoreFloats(p.dx + s * p.dim + i, dx);
    }
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
  if (j >= history) return ToFloatDevice(p.x[(p.cu_seqlens[n] + j - history) * p.dim + i]);
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
  float du[kMaxShortConvWidth - 1] = {};
  for (int64_t t = 0; t < min(length, history) && p.dy != nullptr; ++t) {
    float u = 0;
    for (int64_t k = 0; k < p.width; ++k) {
      u += p.weight[i * p.width + k] * HistoryAt<Io>(p, n, t + k, i);
    }
    const float dy = ToFloatDevice(p.dy[(begin + t) * p.dim + i]);
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

// fn takes N and the number of taps as integral_constants.
template <int kWidth, typename Params, typename F>
void VisitShape(const Params& p, bool aligned, F&& fn) {
  const auto with_taps = [&](auto n) {
    if (p.width <= 4) return fn(n, std::integral_constant<int, 4>());
    fn(n, std::integral_constant<int, kMaxShortConvWidth>());
  };
  if (aligned && p.dim % kWidth == 0) return with_taps(std::integral_constant<int, kWidth>());
  with_taps(std::integral_constant<int, 1>());
}

dim3 Grid(int64_t tiles, int64_t dim, int width) {
  return dim3(static_cast<unsigned>(tiles),
              static_cast<unsigned>(CeilDiv<int64_t>(dim, kThreads * width)));
}

unsigned Blocks(int64_t num_elements) {
  return static_cast<unsigned>(CeilDiv<int64_t>(num_elements, kThreads));
}

}  // namespace

template <typename Io>
void ShortConvFwd(CudaTag, const ShortConvFwdParams<Io>& p) {
  const cudaStream_t stream = ToStream(p.stream);
  if (p.num_tokens > 0 && p.dim > 0) {
    const bool aligned = Aligned16(p.x, p.initial_state, p.y);
    VisitShape<kVecSize<Io>>(p, aligned, [&](auto n, auto taps) {
      constexpr int N = decltype(n)::value;
      FwdKernel<N, decltype(taps)::value>
          <<<Grid(CeilDiv(p.num_tokens, kFwdTile), p.dim, N), kThreads, 0, stream>>>(p);
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
  // Long tiles keep the partial sums small next to the activations; short ones fill the GPU.
  const int64_t tile = p.num_tokens >= 8192 ? 128 : 32;
  const int64_t tiles = CeilDiv(p.num_tokens, tile);
  const Buffer partials(Device::kCuda, tiles * p.width * p.dim * sizeof(float));
  if (tiles > 0 && p.dim > 0) {
    const bool aligned = Aligned16(p.x, p.initial_state, p.dy, p.d_final_state, p.dx);
    VisitShape<kBwdWidth>(p, aligned, [&](auto n, auto taps) {
      constexpr int N = decltype(n)::value;
      BwdKernel<N, decltype(taps)::value>
          <<<Grid(tiles, p.dim, N), kThreads, 0, stream>>>(p, tile, partials.as<float>());
    });
    CUDA_CHECK_LAUNCH();
  }
  SumPartialsTransposed(partials.as<float>(), tiles, p.width, p.dim, p.d_weight, p.stream);
  if (p.d_initial_state == nullptr || p.num_documents * p.dim == 0) return;
  InitialStateGradientKernel<<<Blocks(p.num_documents * p.dim), kThreads, 0, stream>>>(p);
  CUDA_CHECK_LAUNCH();
}

template void ShortConvFwd(CudaTag, const ShortConvFwdParams<float>&);
template void ShortConvFwd(CudaTag, const ShortConvFwdParams<Bf16>&);
template void ShortConvBwd(CudaTag, const ShortConvBwdParams<float>&);
template void ShortConvBwd(CudaTag, const ShortConvBwdParams<Bf16>&);

}  // namespace wyvern
