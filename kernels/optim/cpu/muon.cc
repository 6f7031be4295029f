#include "kernels/optim/muon.h"

#include <cmath>

#include "kernels/common/cpu_math.h"

namespace wyvern {

template <typename T>
void MuonMomentum(CpuTag, const MuonMomentumParams<T>& p) {
  const bool finite = p.finite == nullptr || *p.finite != 0;
  const T scale = p.grad_scale == nullptr ? 1 : *p.grad_scale;
  const T momentum = static_cast<T>(p.momentum);
  for (const MuonMomentumTensor<T>& tensor : p.tensors) {
    ForEachBlock(tensor.num_elements, [&](int64_t begin, int64_t end) {
      T *m = tensor.m, *u = tensor.u;
      const T* grad = tensor.grad;
      if (!finite) {
        std::fill(u + begin, u + end, T{0});
        return;
      }
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        const T g = grad[i] * scale;
        m[i] = momentum * m[i] + g;
        u[i] = g + momentum * m[i];
      }
    });
  }
}

template <typename T>
void NormalizeMatrices(CpuTag, const NormalizeMatricesParams<T>& p) {
#pragma omp parallel for schedule(static) if (p.batch > 1)
  for (int64_t b = 0; b < p.batch; ++b) {
    const T* x = p.x + b * p.num_elements;
    T* y = p.y + b * p.num_elements;
    double squares = 0;
    for (int64_t i = 0; i < p.num_elements; ++i) squares += static_cast<double>(x[i]) * x[i];
    const T factor = static_cast<T>(1 / (std::sqrt(squares) + p.eps));
    for (int64_t i = 0; i < p.num_elements; ++i) y[i] = x[i] * factor;
  }
}

template <typename T>
void MuonApply(CpuTag, const MuonApplyParams<T>& p) {
  if (p.finite != nullptr && *p.finite == 0) return;
  for (const MuonApplyTensor<T>& tensor : p.tensors) {
    const T keep = static_cast<T>(1 - p.lr * tensor.weight_decay);
    const T rate = static_cast<T>(p.lr * tensor.scale);
    ForEachBlock(tensor.num_elements, [&](int64_t begin, int64_t end) {
      T* master = tensor.master;
      const T* o = tensor.o;
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) master[i] = master[i] * keep - rate * o[i];
      if (tensor.copy == nullptr) return;
      for (int64_t i = begin; i < end; ++i) tensor.copy[i] = master[i];
    });
  }
}

template void MuonMomentum(CpuTag, const MuonMomentumParams<float>&);
template void MuonMomentum(CpuTag, const MuonMomentumParams<double>&);
template void NormalizeMatrices(CpuTag, const NormalizeMatricesParams<float>&);
template void NormalizeMatrices(CpuTag, const NormalizeMatricesParams<double>&);
template void MuonApply(CpuTag, const MuonApplyParams<float>&);
template void MuonApply(CpuTag, const MuonApplyParams<double>&);

}  // namespace wyvern
