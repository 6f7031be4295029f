#include "kernels/optim/grad_norm.h"

#include <algorithm>
#include <cmath>

namespace wyvern {

template <typename Acc>
void GradNorm(CpuTag, const GradNormParams<Acc>& p) {
  constexpr int64_t kChunk = 32768;
  double total = 0;
  for (const GradNormTensor<Acc>& tensor : p.tensors) {
    const int64_t num_chunks = (tensor.num_elements + kChunk - 1) / kChunk;
    std::vector<double> sums(num_chunks);
#pragma omp parallel for schedule(static) if (num_chunks > 1)
    for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
      const int64_t end = std::min(tensor.num_elements, (chunk + 1) * kChunk);
      Acc sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = chunk * kChunk; i < end; ++i) sum += tensor.grad[i] * tensor.grad[i];
      sums[chunk] = sum;
    }
    for (const double sum : sums) total += sum;
  }
  if (p.squares != nullptr) {
    *p.squares = total;
    return;
  }
  FinishGradNorm(CpuTag{}, FinishGradNormParams<Acc>{.squares = &total,
                                                     .max_norm = p.max_norm,
                                                     .loss = p.loss,
                                                     .norm = p.norm,
                                                     .clip = p.clip,
                                                     .finite = p.finite});
}

template <typename Acc>
void FinishGradNorm(CpuTag, const FinishGradNormParams<Acc>& p) {
  double squares = 0;
  for (int64_t i = 0; i < p.num_squares; ++i) squares += p.squares[i];
  const double norm = std::sqrt(squares);
  *p.norm = static_cast<Acc>(norm);
  *p.clip = static_cast<Acc>(p.max_norm == 0 ? 1 : std::min(1.0, p.max_norm / (norm + 1e-6)));
  *p.finite = std::isfinite(*p.norm) && (p.loss == nullptr || std::isfinite(*p.loss)) ? 1 : 0;
}

template void GradNorm(CpuTag, const GradNormParams<float>&);
template void GradNorm(CpuTag, const GradNormParams<double>&);
template void FinishGradNorm(CpuTag, const FinishGradNormParams<float>&);
template void FinishGradNorm(CpuTag, const FinishGradNormParams<double>&);

}  // namespace wyvern
