#include "kernels/conv/cuda/short_conv.cuh"

namespace wyvern {
namespace short_conv {
namespace {

template <int N, int kTaps, typename Io>
__global__ void __launch_bounds__(kThreads, MinShortConvBlocks(false, kTaps))
    FwdKernel(ShortConvFwdParams<Io> p, int tile) {
  using V = Packed<Io, N>;
  __shared__ V shared[kStages][kBatch][kThreads];
  const int64_t i = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * N;
  if (i >= p.dim) return;
  const int first = blockIdx.x * tile, last = min(static_cast<int>(p.num_tokens), first + tile);
  const Part<Io> y(p.y, i);
  const Io* source = p.x + first * p.x_stride + i;
  int fetched = first;
  const auto fetch = [&](int stage) {
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      CopyAsync(&shared[stage][b][threadIdx.x], source, fetched + b < last);
      source += p.x_stride;
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
  int plain_end = p.silu ? min(last, at.end) : first;
  int stage = 0, free = kStages - 1;
  Io* to = y.data + first * y.stride;
  for (int begin = first; begin < last; begin += kBatch) {
    WaitCopies<kStages - 2>();
    fetch(free);
    const auto step = [&](int b, auto plain) {
      float x[N];
      const V now = shared[stage][b][threadIdx.x];
      Unpack<Io>(now, x);
      window.Push(x);
#pragma unroll
      for (int c = 0; c < N; ++c) {
        const float u = window.Convolve(c);
        x[c] = plain() || p.silu ? u * SigmoidDevice<Io>(u) : u;
      }
      StoreFloats(to, x);
      to += y.stride;
    };
    if (begin + kBatch <= plain_end) {
#pragma unroll
      for (int b = 0; b < kBatch; ++b) step(b, std::true_type());
    } else {
#pragma unroll 1
      for (int b = 0; b < kBatch && begin + b < last; ++b) {
        if (at.MoveTo(begin + b)) window.LoadHistory(p, at, begin + b, i);
        step(b, std::false_type());
      }
      if (p.silu) plain_end = min(last, at.end);
    }
    free = stage;
    stage = stage + 1 == kStages ? 0 : stage + 1;
  }
  WaitCopies<0>();  // none may outlive the block's shared memory
}

// A thread per document and channel, as a row takes the place of one that was read before.
template <typename Io>
__global__ void __launch_bounds__(kThreads) FinalStateKernel(ShortConvFwdParams<Io> p) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t history = p.width - 1;
  if (at >= p.num_documents * p.dim) return;
  const int64_t i = at % p.dim, n = at / p.dim;
  const int64_t length = p.cu_seqlens[n + 1] - p.cu_seqlens[n];
  for (int64_t r = 0; r < history; ++r) {
    p.final_state[(n * history + r) * p.dim + i] =
        FromFloatDevice<Io>(HistoryAt<Io>(p, n, length + r, i));
  }
}

}  // namespace
}  // namespace short_conv

template <typename Io>
void ShortConvFwd(CudaTag, const ShortConvFwdParams<Io>& p) {
  using namespace short_conv;
  const cudaStream_t stream = ToStream(p.stream);
  if (p.num_tokens > 0 && p.dim > 0) {
    constexpr int kWidth = kVecSize<Io>;
    const bool vectorise = Vectorises(p, p.y, p.x_stride, kWidth);
    VisitShape<kWidth>(p, vectorise, [&](auto n, auto taps) {
      constexpr int N = decltype(n)::value;
      const auto kernel = FwdKernel<N, decltype(taps)::value, Io>;
      static const int blocks_per_sm = BlocksPerSm(kernel);
      const ShortConvPlan plan = Choose({p.num_tokens, p.dim, N, blocks_per_sm});
      kernel<<<GridOf(plan), kThreads, 0, stream>>>(p, static_cast<int>(plan.tile));
    });
    CUDA_CHECK_LAUNCH();
  }
  const int64_t state_size = p.num_documents * (p.width - 1) * p.dim;
  if (p.final_state == nullptr || state_size == 0) return;
  FinalStateKernel<<<Blocks(p.num_documents * p.dim), kThreads, 0, stream>>>(p);
  CUDA_CHECK_LAUNCH();
}

template void ShortConvFwd(CudaTag, const ShortConvFwdParams<float>&);
template void ShortConvFwd(CudaTag, const ShortConvFwdParams<Bf16>&);

}  // namespace wyvern
