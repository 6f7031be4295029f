#include "kernels/common/vector.cuh"
#include "kernels/pointwise/swiglu.h"

namespace wyvern {
namespace {

// The row and column of element i, a multiple of N, of rows of dim elements.
struct Position {
  int64_t row, column;
};
template <int N>
__device__ __forceinline__ Position PositionOf(int64_t i, int64_t num_rows, int64_t dim) {
  if (num_rows == 1) return {0, i};
  if constexpr (N == 1) return {i / dim, i % dim};
  const unsigned v = static_cast<unsigned>(i / N), per_row = static_cast<unsigned>(dim / N);
  const unsigned row = v / per_row;
  return {row, static_cast<int64_t>(v - row * per_row) * N};
}

template <typename Io>
struct Fwd {
  SwiGluFwdParams<Io> p;
  template <int N>
  __device__ void At(int64_t i) const {
    const auto [row, column] = PositionOf<N>(i, p.num_rows, p.dim);
    float gate[N], up[N];
    LoadFloats(p.gate + row * p.gate_stride + column, gate);
    LoadFloats(p.up + row * p.up_stride + column, up);
#pragma unroll
    for (int j = 0; j < N; ++j) up[j] *= gate[j] * SigmoidDevice<Io>(gate[j]);
    StoreFloats(p.y + i, up);
  }
};

template <typename Io>
struct Bwd {
  SwiGluBwdParams<Io> p;
  template <int N>
  __device__ void At(int64_t i) const {
    const auto [row, column] = PositionOf<N>(i, p.num_rows, p.dim);
    float gate[N], up[N], dy[N], y[N];
    LoadFloats(p.gate + row * p.gate_stride + column, gate);
    LoadFloats(p.up + row * p.up_stride + column, up);
    LoadFloats(p.dy + i, dy);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float s = SigmoidDevice<Io>(gate[j]), z = gate[j];
      y[j] = up[j] * (z * s);
      gate[j] = dy[j] * up[j] * s * (1.f + z * (1.f - s));
      up[j] = dy[j] * z * s;
    }
    StoreFloats(p.d_gate + row * p.d_gate_stride + column, gate);
    StoreFloats(p.d_up + row * p.d_up_stride + column, up);
    if (p.y != nullptr) StoreFloats(p.y + i, y);
  }
};

template <typename Io, typename... Strides>
bool Vectorises(int64_t dim, Strides... strides) {
  return ((dim | ... | strides) % kVecSize<Io>) == 0;
}

}  // namespace

template <typename Io>
void SwiGluFwd(CudaTag, const SwiGluFwdParams<Io>& p) {
  const bool vectorise = Aligned16(p.gate, p.up, p.y) &&
                         (p.num_rows == 1 || Vectorises<Io>(p.dim, p.gate_stride, p.up_stride));
  LaunchMap<Io>(Fwd<Io>{p}, p.num_rows * p.dim, vectorise, p.stream);
}

template <typename Io>
void SwiGluBwd(CudaTag, const SwiGluBwdParams<Io>& p) {
  const bool vectorise = Aligned16(p.gate, p.up, p.dy, p.d_gate, p.d_up, p.y) &&
                         (p.num_rows == 1 || Vectorises<Io>(p.dim, p.gate_stride, p.up_stride,
                                                            p.d_gate_stride, p.d_up_stride));
  LaunchMap<Io>(Bwd<Io>{p}, p.num_rows * p.dim, vectorise, p.stream);
}

template void SwiGluFwd(CudaTag, const SwiGluFwdParams<float>&);
template void SwiGluFwd(CudaTag, const SwiGluFwdParams<Bf16>&);
template void SwiGluBwd(CudaTag, const SwiGluBwdParams<float>&);
template void SwiGluBwd(CudaTag, const SwiGluBwdParams<Bf16>&);

}  // namespace wyvern
