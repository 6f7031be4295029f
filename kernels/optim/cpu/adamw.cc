#include "kernels/optim/adamw.h"

#include <cmath>

#include "kernels/common/cpu_math.h"

namespace wyvern {

template <typename Io>
void AdamW(CpuTag, const AdamWParams<Io>& p) {
  if (p.finite != nullptr && *p.finite == 0) return;
  const Io scale = p.grad_scale == nullptr ? 1 : *p.grad_scale;
  const Io beta1 = static_cast<Io>(p.beta1), beta2 = static_cast<Io>(p.beta2);
  const Io rest1 = static_cast<Io>(1 - p.beta1), rest2 = static_cast<Io>(1 - p.beta2);
  const Io eps = static_cast<Io>(p.eps);
  const double step = static_cast<double>(p.step);
  const Io rate = static_cast<Io>(p.lr / (1 - std::pow(p.beta1, step)));
  const Io correction2 = static_cast<Io>(1 / (1 - std::pow(p.beta2, step)));
  for (const AdamWTensor<Io>& tensor : p.tensors) {
    const Io keep = static_cast<Io>(1 - p.lr * tensor.weight_decay);
    ForEachBlock(tensor.num_elements, [&](int64_t begin, int64_t end) {
      Io *master = tensor.master, *m = tensor.m, *v = tensor.v;
      const Io* grad = tensor.grad;
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        const Io g = grad[i] * scale;
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * g * g;
        master[i] = master[i] * keep - rate * m[i] / (std::sqrt(v[i] * correction2) + eps);
      }
      if (tensor.copy == nullptr) return;
      for (int64_t i = begin; i < end; ++i) tensor.copy[i] = master[i];
    });
  }
}

template void AdamW(CpuTag, const AdamWParams<float>&);
template void AdamW(CpuTag, const AdamWParams<double>&);

}  // namespace wyvern
