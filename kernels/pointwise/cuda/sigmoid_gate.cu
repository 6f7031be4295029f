#include "kernels/common/vector.cuh"
#include "kernels/pointwise/sigmoid_gate.h"

namespace wyvern {
namespace {

template <typename Io>
struct Fwd {
  SigmoidGateFwdParams<Io> p;
  template <int N>
  __device__ void At(int64_t i) const {
    float x[N], gate[N];
    LoadFloats(p.x + i, x);
    LoadFloats(p.gate + i, gate);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] *= SigmoidDevice<Io>(gate[j]);
    StoreFloats(p.y + i, x);
  }
};

template <typename Io>
struct Bwd {
  SigmoidGateBwdParams<Io> p;
  template <int N>
  __device__ void At(int64_t i) const {
    float x[N], gate[N], dy[N];
    LoadFloats(p.x + i, x);
    LoadFloats(p.gate + i, gate);
    LoadFloats(p.dy + i, dy);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float s = SigmoidDevice<Io>(gate[j]);
      gate[j] = dy[j] * x[j] * s * (1.f - s);
      x[j] = dy[j] * s;
    }
    StoreFloats(p.dx + i, x);
    StoreFloats(p.d_gate + i, gate);
  }
};

}  // namespace

template <typename Io>
void SigmoidGateFwd(CudaTag, const SigmoidGateFwdParams<Io>& p) {
  LaunchMap<Io>(Fwd<Io>{p}, p.num_elements, Aligned16(p.x, p.gate, p.y), p.stream);
}

template <typename Io>
void SigmoidGateBwd(CudaTag, const SigmoidGateBwdParams<Io>& p) {
  LaunchMap<Io>(Bwd<Io>{p}, p.num_elements, Aligned16(p.x, p.gate, p.dy, p.dx, p.d_gate), p.stream);
}

template void SigmoidGateFwd(CudaTag, const SigmoidGateFwdParams<float>&);
template void SigmoidGateFwd(CudaTag, const SigmoidGateFwdParams<Bf16>&);
template void SigmoidGateBwd(CudaTag, const SigmoidGateBwdParams<float>&);
template void SigmoidGateBwd(CudaTag, const SigmoidGateBwdParams<Bf16>&);

}  // namespace wyvern
