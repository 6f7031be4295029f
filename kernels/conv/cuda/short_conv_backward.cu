#include "kernels/common/reduce.cuh"
#include "kernels/conv/cuda/short_conv.cuh"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace short_conv {
namespace {

constexpr int kWidth = kShortConvBackwardAccess;

// Walks kTaps - 1 tokens past its tile, because dx_s needs du up to s + W - 1. Leaves the tile's
// part of d_weight in partials[tile], [W, D].
template <int N, int kTaps, typename Io>
__global__ void __launch_bounds__(kThreads, MinShortConvBlocks(true, kTaps))
    BwdKernel(ShortConvBwdParams<Io> p, int tile, float* partials) {
  using V = Packed<Io, N>;
  __shared__ V shared[kStages][kBatch][2][kThreads];  // x and dy
  const int64_t i = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * N;
  if (i >= p.dim) return;
  const int num_tokens = static_cast<int>(p.num_tokens), width = static_cast<int>(p.width);
  const int first = blockIdx.x * tile, last = min(num_tokens, first + tile);
  const int limit = min(num_tokens, last + kTaps - 1);
  const Part<const Io> dy(p.dy, i);
  const Io* x_source = p.x + first * p.x_stride + i;
  const Io* dy_source = dy.data == nullptr ? x_source : dy.data + first * dy.stride;
  int fetched = first;
  const auto fetch = [&](int stage) {
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const bool valid = fetched + b < limit;
      CopyAsync(&shared[stage][b][0][threadIdx.x], x_source, valid);
      CopyAsync(&shared[stage][b][1][threadIdx.x], dy_source, valid && dy.data != nullptr);
      x_source += p.x_stride;
      dy_source += dy.stride;
    }
    fetched += kBatch;
    CommitCopies();
  };
#pragma unroll
  for (int stage = 0; stage + 1 < kStages; ++stage) fetch(stage);

  Window<N, kTaps, Io> window;
  window.LoadWeight(p, i);
  Cursor at(p, first);
  window.LoadHistory(p, at, first, i);
  float dx[kTaps][N] = {};  // what is known of tokens t, t - 1, ..., t - kTaps + 1
  float d_weight[kTaps][N] = {};
  // Tokens t of the tile whose window lies in their document, and t - kTaps + 1 in the tile.
  int plain_begin, plain_end;
  const auto find_plain = [&] {
    plain_begin = p.silu ? max(first, at.begin) + kTaps - 1 : last;
    plain_end = min(last, p.d_final_state == nullptr ? at.end : at.end - width + 1);
  };
  find_plain();
  int stage = 0, free = kStages - 1;
  Io* to = p.dx + (first - (kTaps - 1)) * p.dx_stride + i;  // of token t - kTaps + 1
  for (int begin = first; begin < limit; begin += kBatch) {
    WaitCopies<kStages - 2>();
    fetch(free);
    const auto step = [&](int b, auto plain) {
      const int t = begin + b;
      const V now_x = shared[stage][b][0][threadIdx.x], now_dy = shared[stage][b][1][threadIdx.x];
      float du[N];
      Unpack<Io>(now_x, du);
      window.Push(du);
      Unpack<Io>(now_dy, du);
#pragma unroll
      for (int c = 0; c < N; ++c) {
        if (plain() || p.silu) du[c] *= SiluSlopeDevice<Io>(window.Convolve(c));
        if (plain() || t < last) {
#pragma unroll
          for (int k = 0; k < kTaps; ++k) d_weight[k][c] += du[c] * window.e[k][c];
        }
#pragma unroll
        for (int k = kTaps - 1; k > 0; --k) dx[k][c] = dx[k - 1][c];
        dx[0][c] = 0;
      }
      if (!plain()) {
        const int from_final = t + width - 1 - at.end;  // the row of final_state that x_t is
        if (from_final >= 0 && p.d_final_state != nullptr) {
          const int64_t row = static_cast<int64_t>(at.n) * (width - 1) + from_final;
          LoadFloats(p.d_final_state + row * p.dim + i, dx[0]);
        }
      }
#pragma unroll
      for (int k = 0; k < kTaps; ++k) {
        if (!plain() && k > t - at.begin) break;  // another document
#pragma unroll
        for (int c = 0; c < N; ++c) dx[k][c] += window.weight[kTaps - 1 - k][c] * du[c];
      }
      const int s = t - (kTaps - 1);
      if (plain() || (s >= first && s < last)) StoreFloats(to, dx[kTaps - 1]);
      to += p.dx_stride;
    };
    if (begin >= plain_begin && begin + kBatch <= plain_end) {
#pragma unroll
      for (int b = 0; b < kBatch; ++b) step(b, std::true_type());
    } else {
#pragma unroll 1
      for (int b = 0; b < kBatch && begin + b < limit; ++b) {
        if (at.MoveTo(begin + b)) window.LoadHistory(p, at, begin + b, i);
        step(b, std::false_type());
      }
      find_plain();
    }
    free = stage;
    stage = stage + 1 == kStages ? 0 : stage + 1;
  }
  WaitCopies<0>();  // none may outlive the block's shared memory
#pragma unroll
  for (int k = kTaps - 2; k >= 0; --k) {  // where no more tokens follow
    const int s = limit - 1 - k;
    if (s >= first && s < last) StoreFloats(p.dx + s * p.dx_stride + i, dx[k]);
  }
#pragma unroll
  for (int k = 0; k < kTaps; ++k) {
    const int tap = k - (kTaps - width);
    if (tap < 0) continue;
    StoreFloats(partials + (static_cast<int64_t>(blockIdx.x) * width + tap) * p.dim + i,
                d_weight[k]);
  }
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
    du[t] = p.silu ? dy * SiluSlopeDevice<Io>(u) : dy;
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

}  // namespace
}  // namespace short_conv

template <typename Io>
void ShortConvBwd(CudaTag, const ShortConvBwdParams<Io>& p) {
  using namespace short_conv;
  const cudaStream_t stream = ToStream(p.stream);
  const bool vectorise =
      Vectorises(p, p.dy, p.x_stride | p.dx_stride, kWidth) && Aligned16(p.d_final_state, p.dx);
  VisitShape<kWidth>(p, vectorise, [&](auto n, auto taps) {
    constexpr int N = decltype(n)::value;
    const auto kernel = BwdKernel<N, decltype(taps)::value, Io>;
    static const int blocks_per_sm = BlocksPerSm(kernel);
    const ShortConvPlan plan = Choose({p.num_tokens, p.dim, N, blocks_per_sm});
    const Buffer partials(Device::kCuda, plan.num_tiles * p.width * p.dim * sizeof(float));
    if (p.num_tokens > 0 && p.dim > 0) {
      kernel<<<GridOf(plan), kThreads, 0, stream>>>(p, static_cast<int>(plan.tile),
                                                    partials.as<float>());
      CUDA_CHECK_LAUNCH();
    }
    SumPartialsTransposed(partials.as<float>(), plan.num_tiles, p.width, p.dim, p.d_weight,
                          p.add_d_weight, p.stream);
  });
  if (p.d_initial_state == nullptr || p.num_documents * p.dim == 0) return;
  InitialStateGradientKernel<<<Blocks(p.num_documents * p.dim), kThreads, 0, stream>>>(p);
  CUDA_CHECK_LAUNCH();
}

template void ShortConvBwd(CudaTag, const ShortConvBwdParams<float>&);
template void ShortConvBwd(CudaTag, const ShortConvBwdParams<Bf16>&);

}  // namespace wyvern
