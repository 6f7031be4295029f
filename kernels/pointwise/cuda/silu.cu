#include "kernels/common/vector.cuh"
#include "kernels/pointwise/silu.h"

namespace wyvern {
namespace {

template <typename Io>
struct Fwd {
  SiluFwdParams<Io> p;
  template <int N>
  __device__ void At(int64_t i) const {
    float x[N];
    LoadFloats(p.x + i, x);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] *= SigmoidDevice<Io>(x[j]);
    StoreFloats(p.y + i, x);
  }
};

template <typename Io>
struct Bwd {
  SiluBwdParams<Io> p;
  template <int N>
  __device__ void At(int64_t i) const {
    float x[N], dy[N];
    LoadFloats(p.x + i, x);
    LoadFloats(p.dy + i, dy);
#pragma unroll
    for (int j = 0; j < N; ++j) dy[j] *= SiluSlopeDevice<Io>(x[j]);
    StoreFloats(p.dx + i, dy);
  }
};

}  // namespace

template <typename Io>
void SiluFwd(CudaTag, const SiluFwdParams<Io>& p) {
  LaunchMap<Io>(Fwd<Io>{p}, p.num_elements, Aligned16(p.x, p.y), p.stream);
}

template <typename Io>
void SiluBwd(CudaTag, const SiluBwdParams<Io>& p) {
  LaunchMap<Io>(Bwd<Io>{p}, p.num_elements, Aligned16(p.x, p.dy, p.dx), p.stream);
}

template void SiluFwd(CudaTag, const SiluFwdParams<float>&);
template void SiluFwd(CudaTag, const SiluFwdParams<Bf16>&);
template void SiluBwd(CudaTag, const SiluBwdParams<float>&);
template void SiluBwd(CudaTag, const SiluBwdParams<Bf16>&);

}  // namespace wyvern
