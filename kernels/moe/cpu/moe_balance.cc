#include "kernels/moe/moe_balance.h"

#include <algorithm>
#include <vector>

#include "kernels/moe/cpu/top_experts.h"

namespace wyvern {

template <typename Acc>
void MoeBalanceFwd(CpuTag, const MoeBalanceFwdParams<Acc>& p) {
  const int64_t E = p.num_experts, k = p.experts_per_token;
  const std::vector<char> all(E, 1);
  std::vector<Acc> terms(p.num_tokens);
#pragma omp parallel for schedule(dynamic) if (p.num_tokens * E > 16384)
  for (int64_t n = 0; n < p.num_documents; ++n) {
    Acc* f = p.fractions + n * E;
    std::fill_n(f, E, Acc{0});
    const int64_t begin = p.cu_seqlens[n], end = p.cu_seqlens[n + 1];
    std::vector<int32_t> chosen(k);
    for (int64_t t = begin; t < end; ++t) {
      TopExperts(p.scores + t * E, all.data(), E, k, chosen.data());
      for (const int32_t e : chosen) f[e] += 1;
    }
    const Acc unit = static_cast<Acc>(E) / static_cast<Acc>(k * std::max<int64_t>(1, end - begin));
    for (int64_t e = 0; e < E; ++e) f[e] *= unit;
    for (int64_t t = begin; t < end; ++t) {
      const Acc* s = p.scores + t * E;
      Acc sum = 0, term = 0;
      for (int64_t e = 0; e < E; ++e) sum += s[e];
      for (int64_t e = 0; e < E; ++e) term += f[e] * s[e];
      terms[t] = term / sum;
    }
  }
  Acc total = 0;
  for (int64_t t = 0; t < p.num_tokens; ++t) total += terms[t];
  *p.loss = static_cast<Acc>(p.factor) * total;
}

template <typename Acc>
void MoeBalanceBwd(CpuTag, const MoeBalanceBwdParams<Acc>& p) {
  const int64_t E = p.num_experts;
  const Acc factor = static_cast<Acc>(p.factor) * *p.d_loss;
#pragma omp parallel for schedule(dynamic) if (p.num_tokens * E > 16384)
  for (int64_t n = 0; n < p.num_documents; ++n) {
    const Acc* f = p.fractions + n * E;
    for (int64_t t = p.cu_seqlens[n]; t < p.cu_seqlens[n + 1]; ++t) {
      const Acc* s = p.scores + t * E;
      Acc sum = 0, mean = 0;
      for (int64_t e = 0; e < E; ++e) sum += s[e];
      for (int64_t e = 0; e < E; ++e) mean += f[e] * s[e];
      mean /= sum;
      for (int64_t e = 0; e < E; ++e) p.d_scores[t * E + e] = factor * (f[e] - mean) / sum;
    }
  }
}

template void MoeBalanceFwd(CpuTag, const MoeBalanceFwdParams<float>&);
template void MoeBalanceFwd(CpuTag, const MoeBalanceFwdParams<double>&);
template void MoeBalanceBwd(CpuTag, const MoeBalanceBwdParams<float>&);
template void MoeBalanceBwd(CpuTag, const MoeBalanceBwdParams<double>&);

}  // namespace wyvern
