#include "kernels/norm/gated_rms_norm.h"

#include <cmath>

#include "kernels/common/cpu_math.h"

namespace wyvern {
namespace {

template <typename T>
struct SiluGate {
  static T Value(T z) { return z * Sigmoid(z); }
  static T Slope(T z) { return SiluSlope(z); }
};
template <typename T>
struct SigmoidGate {
  static T Value(T z) { return Sigmoid(z); }
  static T Slope(T z) {
    const T s = Sigmoid(z);
    return s * (1 - s);
  }
};
template <typename T>
struct NoGate {
  static T Value(T) { return 1; }
  static T Slope(T) { return 0; }
};

template <typename Params, typename F>
void VisitGate(const Params& p, F&& fn) {
  using T = typename Params::Acc;
  if (p.gate == nullptr) return fn(NoGate<T>());
  if (p.activation == GateActivation::kSilu) return fn(SiluGate<T>());
  fn(SigmoidGate<T>());
}

// Where the gates of a row begin, in elements.
template <typename Params>
int64_t GateOffset(const Params& p, int64_t row, int64_t stride) {
  return p.gate == nullptr ? row * p.dim : row / p.heads * stride + row % p.heads * p.dim;
}

}  // namespace

template <typename Io>
void GatedRmsNormFwd(CpuTag, const GatedRmsNormFwdParams<Io>& p) {
  const int64_t V = p.dim;
  VisitGate(p, [&](auto act) {
    const Io* gate = p.gate == nullptr ? p.x : p.gate;  // without a gate any values do
#pragma omp parallel for schedule(static) if (p.num_rows * V > 16384)
    for (int64_t row = 0; row < p.num_rows; ++row) {
      const Io *x = p.x + row * V, *z = gate + GateOffset(p, row, p.gate_stride);
      Io square = 0;
#pragma omp simd reduction(+ : square)
      for (int64_t i = 0; i < V; ++i) square += x[i] * x[i];
      const Io r = 1 / std::sqrt(square / static_cast<Io>(V) + static_cast<Io>(p.eps));
#pragma omp simd
      for (int64_t i = 0; i < V; ++i) {
        p.y[row * V + i] = x[i] * r * p.weight[i] * decltype(act)::Value(z[i]);
      }
      p.rstd[row] = r;
    }
  });
}

template <typename Io>
void GatedRmsNormBwd(CpuTag, const GatedRmsNormBwdParams<Io>& p) {
  const int64_t V = p.dim;
  VisitGate(p, [&](auto act) {
    using Act = decltype(act);
    const Io* gate = p.gate == nullptr ? p.x : p.gate;
#pragma omp parallel for schedule(static) if (p.num_rows * V > 16384)
    for (int64_t row = 0; row < p.num_rows; ++row) {
      const Io *x = p.x + row * V, *dy = p.dy + row * V;
      const Io* z = gate + GateOffset(p, row, p.gate_stride);
      Io* dx = p.dx + row * V;
      const Io r = p.rstd[row];
      Io c = 0;
#pragma omp simd reduction(+ : c)
      for (int64_t i = 0; i < V; ++i) {
        dx[i] = dy[i] * Act::Value(z[i]) * p.weight[i];
        c += dx[i] * x[i];
      }
      c *= r / static_cast<Io>(V);
      for (int64_t i = 0; i < V; ++i) dx[i] = r * (dx[i] - x[i] * r * c);
      if (p.d_gate != nullptr) {
        Io* d_gate = p.d_gate + GateOffset(p, row, p.d_gate_stride);
#pragma omp simd
        for (int64_t i = 0; i < V; ++i) {
          d_gate[i] = dy[i] * x[i] * r * p.weight[i] * Act::Slope(z[i]);
        }
      }
      if (p.y == nullptr) continue;
#pragma omp simd
      for (int64_t i = 0; i < V; ++i) p.y[row * V + i] = x[i] * r * p.weight[i] * Act::Value(z[i]);
    }
    SumRows(p.num_rows, V, p.d_weight, p.add_d_weight, [&](int64_t row) {
      const Io *x = p.x + row * V, *dy = p.dy + row * V;
      const Io* z = gate + GateOffset(p, row, p.gate_stride);
      return [=, r = p.rstd[row]](int64_t i) { return dy[i] * Act::Value(z[i]) * x[i] * r; };
    });
  });
}

template void GatedRmsNormFwd(CpuTag, const GatedRmsNormFwdParams<float>&);
template void GatedRmsNormFwd(CpuTag, const GatedRmsNormFwdParams<double>&);
template void GatedRmsNormBwd(CpuTag, const GatedRmsNormBwdParams<float>&);
template void GatedRmsNormBwd(CpuTag, const GatedRmsNormBwdParams<double>&);

}  // namespace wyvern
