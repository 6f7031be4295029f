#include "kernels/common/vector.cuh"
#include "kernels/norm/l2_norm.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;
constexpr int kRowsPerBlock = kThreads / kWarpSize;  // a warp per row

// The second pass over a row finds it in the L1 cache.
template <int N, typename Io>
__global__ void __launch_bounds__(kThreads) FwdKernel(L2NormFwdParams<Io> p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarpSize;
  if (row >= p.num_rows) return;
  const int lane = threadIdx.x % kWarpSize;
  const Io* x = p.x + row * p.dim;
  float square = 0;
  for (int64_t i = lane * N; i < p.dim; i += kWarpSize * N) {
    float v[N];
    LoadFloats(x + i, v);
#pragma unroll
    for (int j = 0; j < N; ++j) square += v[j] * v[j];
  }
  const float r = rsqrtf(WarpSum(square) + static_cast<float>(p.eps));
  for (int64_t i = lane * N; i < p.dim; i += kWarpSize * N) {
    float v[N];
    LoadFloats(x + i, v);
#pragma unroll
    for (int j = 0; j < N; ++j) v[j] *= r;
    StoreFloats(p.y + row * p.dim + i, v);
  }
  if (lane == 0) p.rstd[row] = r;
}

template <int N, typename Io>
__global__ void __launch_bounds__(kThreads) BwdKernel(L2NormBwdParams<Io> p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.x / kWarpSize;
  if (row >= p.num_rows) return;
  const int lane = threadIdx.x % kWarpSize;
  const Io *y = p.y + row * p.dim, *dy = p.dy + row * p.dim;
  const float r = p.rstd[row];
  float dot = 0;
  for (int64_t i = lane * N; i < p.dim; i += kWarpSize * N) {
    float v[N], d[N];
    LoadFloats(y + i, v);
    LoadFloats(dy + i, d);
#pragma unroll
    for (int j = 0; j < N; ++j) dot += v[j] * d[j];
  }
  dot = WarpSum(dot);
  for (int64_t i = lane * N; i < p.dim; i += kWarpSize * N) {
    float v[N], d[N];
    LoadFloats(y + i, v);
    LoadFloats(dy + i, d);
#pragma unroll
    for (int j = 0; j < N; ++j) d[j] = r * (d[j] - v[j] * dot);
    StoreFloats(p.dx + row * p.dim + i, d);
  }
}

unsigned Blocks(int64_t num_rows) {
  return static_cast<unsigned>(CeilDiv<int64_t>(num_rows, kRowsPerBlock));
}

}  // namespace

template <typename Io>
void L2NormFwd(CudaTag, const L2NormFwdParams<Io>& p) {
  if (p.num_rows == 0) return;
  VisitRowVec<Io>(p.dim, Aligned16(p.x, p.y), [&](auto n) {
    FwdKernel<decltype(n)::value><<<Blocks(p.num_rows), kThreads, 0, ToStream(p.stream)>>>(p);
  });
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void L2NormBwd(CudaTag, const L2NormBwdParams<Io>& p) {
  if (p.num_rows == 0) return;
  VisitRowVec<Io>(p.dim, Aligned16(p.y, p.dy, p.dx), [&](auto n) {
    BwdKernel<decltype(n)::value><<<Blocks(p.num_rows), kThreads, 0, ToStream(p.stream)>>>(p);
  });
  CUDA_CHECK_LAUNCH();
}

template void L2NormFwd(CudaTag, const L2NormFwdParams<float>&);
template void L2NormFwd(CudaTag, const L2NormFwdParams<Bf16>&);
template void L2NormBwd(CudaTag, const L2NormBwdParams<float>&);
template void L2NormBwd(CudaTag, const L2NormBwdParams<Bf16>&);

}  // namespace wyvern
