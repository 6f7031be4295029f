#include "kernels/linear_attention/mamba_inputs.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/common/cpu_math.h"

namespace wyvern {
namespace {

// log(1 + e^x): no exponential of a positive number is formed.
template <typename T>
T Softplus(T x) {
  return std::max<T>(x, 0) + std::log1p(std::exp(-std::abs(x)));
}

// The step of a token and head, and whether the limits let its gradient through.
template <typename T>
struct Step {
  T value, raw;  // d; dt + dt_bias
  bool free;
};
template <typename T>
Step<T> StepOf(const MambaInputsIn<T>& in, int64_t t, int64_t h) {
  const T raw = in.dt[t * in.dt_stride + h] + in.dt_bias[h], s = Softplus(raw);
  const T least = static_cast<T>(in.min_dt), most = static_cast<T>(in.max_dt);
  return {.value = std::min(std::max(s, least), most), .raw = raw, .free = s >= least && s <= most};
}

template <typename T>
T Raw(const MambaInputsIn<T>& in, int64_t t, int64_t i) {
  return in.conv[t * in.channels() + i] + (in.conv_bias == nullptr ? T(0) : in.conv_bias[i]);
}

template <typename T>
T Silu(T x) {
  return x * Sigmoid(x);
}

}  // namespace

template <typename Io>
void MambaInputsFwd(CpuTag, const MambaInputsFwdParams<Io>& p) {
  const MambaInputsIn<Io>& in = p.in;
  const int64_t H = in.num_heads, P = in.head_dim, HP = in.values(), GN = in.keys();
#pragma omp parallel for schedule(static) if (in.num_tokens * HP > 16384)
  for (int64_t t = 0; t < in.num_tokens; ++t) {
    for (int64_t h = 0; h < H; ++h) {
      const Io step = StepOf(in, t, h).value;
      p.g[t * H + h] = -std::exp(in.a_log[h]) * step;
      for (int64_t i = h * P; i < (h + 1) * P; ++i) {
        const Io x = Silu(Raw(in, t, i));
        p.x[t * HP + i] = x;
        p.v[t * HP + i] = step * x;
      }
    }
    for (int64_t i = 0; i < GN; ++i) {
      p.k[t * GN + i] = Silu(Raw(in, t, HP + i));
      p.q[t * GN + i] = Silu(Raw(in, t, HP + GN + i));
    }
  }
}

template <typename Io>
void MambaInputsBwd(CpuTag, const MambaInputsBwdParams<Io>& p) {
  const MambaInputsIn<Io>& in = p.in;
  const int64_t T = in.num_tokens, H = in.num_heads, P = in.head_dim;
  const int64_t HP = in.values(), GN = in.keys(), channels = in.channels();
  const auto at = [](const Io* x, int64_t i) { return x == nullptr ? Io(0) : x[i]; };
  std::vector<Io> d_raw(T * H), d_log(T * H);
#pragma omp parallel for schedule(static) if (T * HP > 16384)
  for (int64_t t = 0; t < T; ++t) {
    Io* to = p.d_conv + t * channels;
    for (int64_t h = 0; h < H; ++h) {
      const Step<Io> step = StepOf(in, t, h);
      const Io rate = std::exp(in.a_log[h]), dg = at(p.dg, t * H + h);
      Io ds = -rate * dg;
      for (int64_t i = h * P; i < (h + 1) * P; ++i) {
        const Io raw = Raw(in, t, i), dv = at(p.dv, t * HP + i);
        ds += dv * Silu(raw);
        to[i] = (at(p.dx, t * HP + i) + step.value * dv) * SiluSlope(raw);
      }
      const Io d_dt = step.free ? ds * Sigmoid(step.raw) : Io(0);
      p.d_dt[t * p.d_dt_stride + h] = d_raw[t * H + h] = d_dt;
      d_log[t * H + h] = -rate * step.value * dg;
    }
    for (int64_t i = 0; i < GN; ++i) {
      to[HP + i] = at(p.dk, t * GN + i) * SiluSlope(Raw(in, t, HP + i));
      to[HP + GN + i] = at(p.dq, t * GN + i) * SiluSlope(Raw(in, t, HP + GN + i));
    }
  }
  const auto sum = [T](const Io* rows, int64_t dim, Io* out) {
    SumRows(T, dim, out, /*add=*/false,
            [=](int64_t t) { return [row = rows + t * dim](int64_t i) { return row[i]; }; });
  };
  sum(d_raw.data(), H, p.d_dt_bias);
  sum(d_log.data(), H, p.d_a_log);
  if (p.d_conv_bias != nullptr) sum(p.d_conv, channels, p.d_conv_bias);
}

template void MambaInputsFwd(CpuTag, const MambaInputsFwdParams<float>&);
template void MambaInputsFwd(CpuTag, const MambaInputsFwdParams<double>&);
template void MambaInputsBwd(CpuTag, const MambaInputsBwdParams<float>&);
template void MambaInputsBwd(CpuTag, const MambaInputsBwdParams<double>&);

}  // namespace wyvern
