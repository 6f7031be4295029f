#include "kernels/attention/mla_keys.h"

#include <algorithm>

namespace wyvern {

template <typename Io>
void MlaKeysFwd(CpuTag, const MlaKeysFwdParams<Io>& p) {
  const MlaKeysShape& s = p.shape;
  const int64_t H = s.num_heads, P = s.own_dim, R = s.shared_dim;
#pragma omp parallel for schedule(static) if (s.num_tokens * H * (P + R) > 16384)
  for (int64_t t = 0; t < s.num_tokens; ++t) {
    for (int64_t h = 0; h < H; ++h) {
      Io* k = p.k + (t * H + h) * (P + R);
      std::copy_n(p.own + t * s.own_stride + h * P, P, k);
      std::copy_n(p.shared + t * s.shared_stride, R, k + P);
    }
  }
}

template <typename Io>
void MlaKeysBwd(CpuTag, const MlaKeysBwdParams<Io>& p) {
  const MlaKeysShape& s = p.shape;
  const int64_t H = s.num_heads, P = s.own_dim, R = s.shared_dim;
#pragma omp parallel for schedule(static) if (s.num_tokens * H * (P + R) > 16384)
  for (int64_t t = 0; t < s.num_tokens; ++t) {
    Io* d_shared = p.d_shared + t * s.shared_stride;
    std::fill_n(d_shared, R, Io(0));
    for (int64_t h = 0; h < H; ++h) {
      const Io* dk = p.dk + (t * H + h) * (P + R);
      std::copy_n(dk, P, p.d_own + t * s.own_stride + h * P);
      for (int64_t j = 0; j < R; ++j) d_shared[j] += dk[P + j];
    }
  }
}

template void MlaKeysFwd(CpuTag, const MlaKeysFwdParams<float>&);
template void MlaKeysFwd(CpuTag, const MlaKeysFwdParams<double>&);
template void MlaKeysBwd(CpuTag, const MlaKeysBwdParams<float>&);
template void MlaKeysBwd(CpuTag, const MlaKeysBwdParams<double>&);

}  // namespace wyvern
