#include "kernels/pointwise/swiglu.h"

#include <algorithm>

#include "kernels/common/cpu_math.h"

namespace wyvern {

namespace {

// fn(row, begin, end) for ranges of columns of each row, by any number of threads.
template <typename Params, typename F>
void ForEachRange(const Params& p, const F& fn) {
  ForEachBlock(p.num_rows * p.dim, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t row = begin / p.dim, first = begin - row * p.dim;
      const int64_t last = std::min(p.dim, first + end - begin);
      fn(row, first, last);
      begin += last - first;
    }
  });
}

}  // namespace

template <typename Io>
void SwiGluFwd(CpuTag, const SwiGluFwdParams<Io>& p) {
  ForEachRange(p, [&](int64_t row, int64_t begin, int64_t end) {
    const Io *gate = p.gate + row * p.gate_stride, *up = p.up + row * p.up_stride;
    Io* y = p.y + row * p.dim;
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = gate[i] * Sigmoid(gate[i]) * up[i];
  });
}

template <typename Io>
void SwiGluBwd(CpuTag, const SwiGluBwdParams<Io>& p) {
  ForEachRange(p, [&](int64_t row, int64_t begin, int64_t end) {
    const Io *gate = p.gate + row * p.gate_stride, *up = p.up + row * p.up_stride;
    const Io* dy = p.dy + row * p.dim;
    Io *d_gate = p.d_gate + row * p.d_gate_stride, *d_up = p.d_up + row * p.d_up_stride;
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const Io z = gate[i], s = Sigmoid(z);
      d_gate[i] = dy[i] * up[i] * s * (1 + z * (1 - s));
      d_up[i] = dy[i] * z * s;
    }
    if (p.y == nullptr) return;
    Io* y = p.y + row * p.dim;
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] = gate[i] * Sigmoid(gate[i]) * up[i];
  });
}

template void SwiGluFwd(CpuTag, const SwiGluFwdParams<float>&);
template void SwiGluFwd(CpuTag, const SwiGluFwdParams<double>&);
template void SwiGluBwd(CpuTag, const SwiGluBwdParams<float>&);
template void SwiGluBwd(CpuTag, const SwiGluBwdParams<double>&);

}  // namespace wyvern
