#include "kernels/attention/latent_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace wyvern {

template <typename Io>
void LatentAttentionFwd(CpuTag, const LatentAttentionParams<Io>& p) {
  const int64_t T = p.num_queries, H = p.num_heads, P = p.own_dim, R = p.shared_dim;
  const int64_t V = p.value_dim, L = p.rank, D = L + R;
  const auto scale = static_cast<Io>(p.scale);
#pragma omp parallel if (T * H * p.num_keys * D > 16384)
  {
    std::vector<Io> a(D), s(p.num_keys), sum(L);
#pragma omp for schedule(static)
    for (int64_t row = 0; row < T * H; ++row) {
      const int64_t i = row / H, h = row % H;
      const int64_t first = p.key_begins == nullptr ? 0 : p.key_begins[i];
      const int64_t num_seen =
          p.key_begins == nullptr ? p.num_keys - T + i + 1 : p.key_ends[i] - first;
      const Io* latent = p.latent + first * D;
      const Io* q = p.q + i * p.q_stride + h * (P + R);
      std::fill(a.begin(), a.end(), Io(0));
      for (int64_t e = 0; e < P; ++e) {
        const Io* w = p.weight + (h * P + e) * L;
        for (int64_t l = 0; l < L; ++l) a[l] += q[e] * w[l];
      }
      std::copy_n(q + P, R, a.begin() + L);
      for (int64_t j = 0; j < num_seen; ++j) {
        const Io* x = latent + j * D;
        Io score = 0;
#pragma omp simd reduction(+ : score)
        for (int64_t d = 0; d < D; ++d) score += a[d] * x[d];
        s[j] = score * scale;
      }
      const Io top = *std::max_element(s.begin(), s.begin() + num_seen);
      Io total = 0;
      std::fill(sum.begin(), sum.end(), Io(0));
      for (int64_t j = 0; j < num_seen; ++j) {
        const Io weight = std::exp(s[j] - top);
        total += weight;
        const Io* c = latent + j * D;
        for (int64_t l = 0; l < L; ++l) sum[l] += weight * c[l];
      }
      Io* o = p.o + row * V;
      for (int64_t v = 0; v < V; ++v) {
        const Io* w = p.weight + (H * P + h * V + v) * L;
        Io y = 0;
#pragma omp simd reduction(+ : y)
        for (int64_t l = 0; l < L; ++l) y += w[l] * sum[l];
        o[v] = y / total;
      }
    }
  }
}

template void LatentAttentionFwd(CpuTag, const LatentAttentionParams<float>&);
template void LatentAttentionFwd(CpuTag, const LatentAttentionParams<double>&);

}  // namespace wyvern
