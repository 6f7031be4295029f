#include "kernels/attention/rope.h"

#include <cmath>
#include <vector>

namespace wyvern {

template <typename Io>
void RopeRotate(CpuTag, const RopeParams<Io>& p) {
  const int64_t H = p.num_heads, D = p.head_dim, B = p.rotary_begin, half = p.rotary_dim / 2;
  std::vector<double> frequency(half);
  for (int64_t i = 0; i < half; ++i) {
    frequency[i] = std::pow(p.theta, -2.0 * static_cast<double>(i) / p.rotary_dim);
  }
#pragma omp parallel if (p.num_tokens * H * D > 16384)
  {
    std::vector<Io> cosine(half), sine(half);
#pragma omp for schedule(static)
    for (int64_t t = 0; t < p.num_tokens; ++t) {
      for (int64_t i = 0; i < half; ++i) {
        const double angle = p.positions[t] * frequency[i];
        cosine[i] = static_cast<Io>(std::cos(angle));
        sine[i] = static_cast<Io>(p.inverse ? -std::sin(angle) : std::sin(angle));
      }
      for (int64_t h = 0; h < H; ++h) {
        const Io* x = p.x + t * p.x_stride + h * D;
        Io* y = p.y + t * p.y_stride + h * D;
        for (int64_t i = 0; i < half; ++i) {
          const Io a = x[B + i], b = x[B + i + half];
          y[B + i] = a * cosine[i] - b * sine[i];
          y[B + i + half] = b * cosine[i] + a * sine[i];
        }
        for (int64_t i = 0; i < B; ++i) y[i] = x[i];
        for (int64_t i = B + 2 * half; i < D; ++i) y[i] = x[i];
      }
    }
  }
}

template void RopeRotate(CpuTag, const RopeParams<float>&);
template void RopeRotate(CpuTag, const RopeParams<double>&);

}  // namespace wyvern
