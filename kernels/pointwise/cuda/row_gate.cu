#include "kernels/common/vector.cuh"
#include "kernels/pointwise/row_gate.h"

namespace wyvern {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = kThreads / kWarpSize;  // of a block: a warp has a row

template <typename Io>
__device__ __forceinline__ float GateOf(const Io* gate, int64_t row) {
  float g[1];
  LoadFloats(gate + row, g);
  return SigmoidDevice<Io>(g[0]);
}

template <int N, typename Io>
__global__ void __launch_bounds__(kThreads) FwdKernel(RowGateFwdParams<Io> p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kWarpSize;
  if (row >= p.num_rows) return;
  const float s = GateOf(p.gate, row);
  for (int64_t i = (threadIdx.x % kWarpSize) * N; i < p.dim; i += kWarpSize * N) {
    float x[N];
    LoadFloats(p.x + row * p.dim + i, x);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] *= s;
    StoreFloats(p.y + row * p.dim + i, x);
  }
}

template <int N, typename Io>
__global__ void __launch_bounds__(kThreads) BwdKernel(RowGateBwdParams<Io> p) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRows + threadIdx.x / kWarpSize;
  if (row >= p.num_rows) return;
  const int lane = threadIdx.x % kWarpSize;
  const float s = GateOf(p.gate, row);
  float dot = 0;
  for (int64_t i = lane * N; i < p.dim; i += kWarpSize * N) {
    float x[N], dy[N];
    LoadFloats(p.x + row * p.dim + i, x);
    LoadFloats(p.dy + row * p.dim + i, dy);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      dot += dy[j] * x[j];
      dy[j] *= s;
    }
    StoreFloats(p.dx + row * p.dim + i, dy);
  }
  dot = WarpSum(dot);
  const float d_gate[1] = {dot * s * (1.f - s)};
  if (lane == 0) StoreFloats(p.d_gate + row, d_gate);
}

template <typename Params>
unsigned Blocks(const Params& p) {
  return static_cast<unsigned>(CeilDiv<int64_t>(p.num_rows, kRows));
}

}  // namespace

template <typename Io>
void RowGateFwd(CudaTag, const RowGateFwdParams<Io>& p) {
  if (p.num_rows == 0) return;
  VisitRowVec<Io>(p.dim, Aligned16(p.x, p.y), [&](auto n) {
    FwdKernel<decltype(n)::value><<<Blocks(p), kThreads, 0, ToStream(p.stream)>>>(p);
  });
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void RowGateBwd(CudaTag, const RowGateBwdParams<Io>& p) {
  if (p.num_rows == 0) return;
  VisitRowVec<Io>(p.dim, Aligned16(p.x, p.dy, p.dx), [&](auto n) {
    BwdKernel<decltype(n)::value><<<Blocks(p), kThreads, 0, ToStream(p.stream)>>>(p);
  });
  CUDA_CHECK_LAUNCH();
}

template void RowGateFwd(CudaTag, const RowGateFwdParams<float>&);
template void RowGateFwd(CudaTag, const RowGateFwdParams<Bf16>&);
template void RowGateBwd(CudaTag, const RowGateBwdParams<float>&);
template void RowGateBwd(CudaTag, const RowGateBwdParams<Bf16>&);

}  // namespace wyvern
