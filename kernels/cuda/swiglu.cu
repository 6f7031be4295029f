#include "kernels/cuda/vector.cuh"
#include "kernels/ops/swiglu.h"

namespace wyvern {
namespace {

template <typename Io>
struct Fwd {
  SwiGluFwdParams<Io> p;
  template <int N>
  __device__ void At(int64_t i) const {
    float gate[N], up[N];
    LoadFloats(p.gate + i, gate);
    LoadFloats(p.up + i, up);
#pragma unroll
    for (int j = 0; j < N; ++j) up[j] *= gate[j] * SigmoidDevice(gate[j]);
    StoreFloats(p.y + i, up);
  }
};

template <typename Io>
struct Bwd {
  SwiGluBwdParams<Io> p;
  template <int N>
  __device__ void At(int64_t i) const {
    float gate[N], up[N], dy[N];
    LoadFloats(p.gate + i, gate);
    LoadFloats(p.up + i, up);
    LoadFloats(p.dy + i, dy);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const float s = SigmoidDevice(gate[j]), z = gate[j];
      gate[j] = dy[j] * up[j] * s * (1.f + z * (1.f - s));
      up[j] = dy[j] * z * s;
    }
    StoreFloats(p.d_gate + i, gate);
    StoreFloats(p.d_up + i, up);
  }
};

}  // namespace

template <typename Io>
void SwiGluFwd(CudaTag, const SwiGluFwdParams<Io>& p) {
  LaunchMap<Io>(Fwd<Io>{p}, p.num_elements, Aligned16(p.gate, p.up, p.y), p.stream);
}

template <typename Io>
void SwiGluBwd(CudaTag, const SwiGluBwdParams<Io>& p) {
  LaunchMap<Io>(Bwd<Io>{p}, p.num_elements, Aligned16(p.gate, p.up, p.dy, p.d_gate, p.d_up),
                p.stream);
}

template void SwiGluFwd(CudaTag, const SwiGluFwdParams<float>&);
template void SwiGluFwd(CudaTag, const SwiGluFwdParams<Bf16>&);
template void SwiGluBwd(CudaTag, const SwiGluBwdParams<float>&);
template void SwiGluBwd(CudaTag, const SwiGluBwdParams<Bf16>&);

}  // namespace wyvern
