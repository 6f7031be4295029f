#include "kernels/head/linear_cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/cpu_math.h"
#include "kernels/runtime/check.h"

namespace wyvern {

namespace {

// d_logits of one row whose upstream gradient is d.
template <typename Io>
void RowGradient(int64_t V, int64_t target, Io lse, Io d, const Io* logits, Io* d_logits) {
  if (target < 0) {
    std::fill_n(d_logits, V, Io{0});
    return;
  }
#pragma omp simd
  for (int64_t v = 0; v < V; ++v) d_logits[v] = Exp(logits[v] - lse) * d;
  d_logits[target] -= d;
}

}  // namespace

template <typename Io>
void CrossEntropyFwd(CpuTag, const CrossEntropyFwdParams<Io>& p) {
  const int64_t V = p.vocab;
#pragma omp parallel for schedule(static) if (p.num_rows * V > 16384)
  for (int64_t t = 0; t < p.num_rows; ++t) {
    const int64_t target = p.targets[t];
    CHECK(target < V, "target ", target, " in a vocabulary of ", V);
    const Io* logits = p.logits + t * V;
    Io largest = logits[0];
#pragma omp simd reduction(max : largest)
    for (int64_t v = 0; v < V; ++v) largest = std::max(largest, logits[v]);
    Io sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t v = 0; v < V; ++v) sum += Exp(logits[v] - largest);
    p.lse[t] = largest + std::log(sum);
    p.token_loss[t] = target < 0 ? 0 : p.lse[t] - logits[target];
    if (p.d_logits == nullptr) continue;
    RowGradient(V, target, p.lse[t], static_cast<Io>(1 / p.denominator), logits,
                p.d_logits + t * V);
  }
}

template <typename Io>
void CrossEntropyBwd(CpuTag, const CrossEntropyBwdParams<Io>& p) {
  const int64_t V = p.vocab;
  const Io d_mean =
      p.d_loss == nullptr ? 0 : static_cast<Io>(static_cast<double>(*p.d_loss) / p.denominator);
#pragma omp parallel for schedule(static) if (p.num_rows * V > 16384)
  for (int64_t t = 0; t < p.num_rows; ++t) {
    const Io d = d_mean + (p.d_token_loss == nullptr ? 0 : p.d_token_loss[t]);
    RowGradient(V, p.targets[t], p.lse[t], d, p.logits + t * V, p.d_logits + t * V);
  }
}

template <typename Io>
void MeanLoss(CpuTag, const MeanLossParams<Io>& p) {
  double sum = 0;
  for (int64_t t = 0; t < p.num_rows; ++t) sum += p.token_loss[t];
  *p.loss = static_cast<Io>(sum / p.denominator);
}

template void CrossEntropyFwd(CpuTag, const CrossEntropyFwdParams<float>&);
template void CrossEntropyFwd(CpuTag, const CrossEntropyFwdParams<double>&);
template void CrossEntropyBwd(CpuTag, const CrossEntropyBwdParams<float>&);
template void CrossEntropyBwd(CpuTag, const CrossEntropyBwdParams<double>&);
template void MeanLoss(CpuTag, const MeanLossParams<float>&);
template void MeanLoss(CpuTag, const MeanLossParams<double>&);

}  // namespace wyvern
