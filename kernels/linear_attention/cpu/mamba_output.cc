#include "kernels/linear_attention/mamba_output.h"

#include <cmath>
#include <vector>

#include "kernels/common/cpu_math.h"

namespace wyvern {
namespace {

// o + skip x of channel i, and its gate.
template <typename T>
struct Element {
  T sum, gate;
};
template <typename T>
Element<T> ElementOf(const MambaOutputIn<T>& in, int64_t t, int64_t i) {
  const int64_t at = t * in.width() + i;
  return {.sum = in.o[at] + in.skip[i / in.head_dim] * in.x[at],
          .gate = in.gate[t * in.gate_stride + i]};
}

}  // namespace

template <typename Io>
void MambaOutputFwd(CpuTag, const MambaOutputFwdParams<Io>& p) {
  const MambaOutputIn<Io>& in = p.in;
  const int64_t HP = in.width(), G = in.num_groups, W = HP / G;
#pragma omp parallel for schedule(static) if (in.num_tokens * HP > 16384)
  for (int64_t t = 0; t < in.num_tokens; ++t) {
    Io* y = p.y + t * HP;
    for (int64_t g = 0; g < G; ++g) {
      Io square = 0;
      for (int64_t i = g * W; i < (g + 1) * W; ++i) {
        const Element<Io> e = ElementOf(in, t, i);
        y[i] = e.sum * e.gate * Sigmoid(e.gate);
        square += y[i] * y[i];
      }
      const Io r = 1 / std::sqrt(square / static_cast<Io>(W) + static_cast<Io>(in.eps));
      for (int64_t i = g * W; i < (g + 1) * W; ++i) y[i] *= r * in.weight[i];
      p.rstd[t * G + g] = r;
    }
  }
}

template <typename Io>
void MambaOutputBwd(CpuTag, const MambaOutputBwdParams<Io>& p) {
  const MambaOutputIn<Io>& in = p.in;
  const int64_t T = in.num_tokens, HP = in.width(), G = in.num_groups, W = HP / G;
  std::vector<Io> d_weight(T * HP), d_skip(T * HP);
#pragma omp parallel for schedule(static) if (T * HP > 16384)
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t g = 0; g < G; ++g) {
      const Io r = p.rstd[t * G + g];
      Io c = 0;
      for (int64_t i = g * W; i < (g + 1) * W; ++i) {
        const Element<Io> e = ElementOf(in, t, i);
        const Io n = r * e.sum * e.gate * Sigmoid(e.gate);
        d_weight[t * HP + i] = p.dy[t * HP + i] * n;
        c += d_weight[t * HP + i] * in.weight[i];
      }
      c /= static_cast<Io>(W);
      for (int64_t i = g * W; i < (g + 1) * W; ++i) {
        const int64_t at = t * HP + i;
        const Element<Io> e = ElementOf(in, t, i);
        const Io silu = e.gate * Sigmoid(e.gate);
        const Io dw = r * (p.dy[at] * in.weight[i] - r * e.sum * silu * c);
        p.d_gate[t * p.d_gate_stride + i] = dw * e.sum * SiluSlope(e.gate);
        p.d_o[at] = dw * silu;
        p.dx[at] = in.skip[i / in.head_dim] * p.d_o[at];
        d_skip[at] = p.d_o[at] * in.x[at];
      }
    }
  }
  std::vector<Io> by_channel(HP);
  const auto sum = [T, HP](const Io* rows, Io* out) {
    SumRows(T, HP, out, /*add=*/false,
            [=](int64_t t) { return [row = rows + t * HP](int64_t i) { return row[i]; }; });
  };
  sum(d_weight.data(), p.d_weight);
  sum(d_skip.data(), by_channel.data());
  for (int64_t h = 0; h < in.num_heads; ++h) {
    p.d_skip[h] = 0;
    for (int64_t i = 0; i < in.head_dim; ++i) p.d_skip[h] += by_channel[h * in.head_dim + i];
  }
}

template void MambaOutputFwd(CpuTag, const MambaOutputFwdParams<float>&);
template void MambaOutputFwd(CpuTag, const MambaOutputFwdParams<double>&);
template void MambaOutputBwd(CpuTag, const MambaOutputBwdParams<float>&);
template void MambaOutputBwd(CpuTag, const MambaOutputBwdParams<double>&);

}  // namespace wyvern
