#include "kernels/moe/moe_route.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/common/cpu_math.h"
#include "kernels/matmul/matmul.h"
#include "kernels/moe/cpu/top_experts.h"

namespace wyvern {
namespace {

// Logits to scores, in place.
template <typename T>
void Score(RouterScore score, int64_t E, T* z) {
  if (score == RouterScore::kSigmoid) {
    for (int64_t e = 0; e < E; ++e) z[e] = Sigmoid(z[e]);
    return;
  }
  T largest = z[0], sum = 0;
  for (int64_t e = 1; e < E; ++e) largest = std::max(largest, z[e]);
  for (int64_t e = 0; e < E; ++e) sum += z[e] = Exp(z[e] - largest);
  for (int64_t e = 0; e < E; ++e) z[e] /= sum;
}

// Makes the biased scores of experts outside the best groups unselectable.
template <typename T>
void KeepTopGroups(const MoeRouteShape& s, T* biased, std::vector<char>* allowed) {
  const int64_t size = s.num_experts / s.num_groups;
  std::vector<T> best(s.num_groups);
  std::vector<char> all(std::max(size, s.num_groups), 1);
  std::vector<int32_t> chosen(std::max<int64_t>(2, s.top_groups));
  for (int64_t g = 0; g < s.num_groups; ++g) {
    const T* group = biased + g * size;
    const int64_t count = std::min<int64_t>(2, size);
    TopExperts(group, all.data(), size, count, chosen.data());
    best[g] = group[chosen[0]];
    if (count == 2) best[g] += group[chosen[1]];
  }
  TopExperts(best.data(), all.data(), s.num_groups, s.top_groups, chosen.data());
  std::fill(allowed->begin(), allowed->end(), 0);
  for (int64_t m = 0; m < s.top_groups; ++m) {
    std::fill_n(allowed->begin() + chosen[m] * size, size, 1);
  }
}

}  // namespace

template <typename Io>
void MoeRouteFwd(CpuTag tag, const MoeRouteFwdParams<Io>& p) {
  const MoeRouteShape& s = p.shape;
  const int64_t T = s.num_tokens, E = s.num_experts, k = s.experts_per_token;
  Gemm(
      tag,
      GemmParams<Io, Io>{
          .m = T, .n = E, .k = s.dim, .transpose_b = true, .a = p.x, .b = p.weight, .c = p.scores});
#pragma omp parallel if (T * E > 16384)
  {
    std::vector<Io> biased(E);
    std::vector<char> allowed(E, 1);
#pragma omp for schedule(static)
    for (int64_t t = 0; t < T; ++t) {
      Io* scores = p.scores + t * E;
      Score(s.score, E, scores);
      for (int64_t e = 0; e < E; ++e) biased[e] = scores[e] + (p.bias == nullptr ? 0 : p.bias[e]);
      if (s.top_groups < s.num_groups) KeepTopGroups(s, biased.data(), &allowed);
      int32_t* indices = p.indices + t * k;
      TopExperts(biased.data(), allowed.data(), E, k, indices);
      Io sum = 0;
      for (int64_t j = 0; j < k; ++j) sum += scores[indices[j]];
      const Io scale = static_cast<Io>(s.scale);
      const Io factor = s.renormalize ? scale / (sum + static_cast<Io>(1e-20)) : scale;
      for (int64_t j = 0; j < k; ++j) p.weights[t * k + j] = factor * scores[indices[j]];
    }
  }
}

template <typename Io>
void MoeRouteBwd(CpuTag tag, const MoeRouteBwdParams<Io>& p) {
  const MoeRouteShape& s = p.shape;
  const int64_t T = s.num_tokens, E = s.num_experts, k = s.experts_per_token;
  const Io scale = static_cast<Io>(s.scale);
#pragma omp parallel for schedule(static) if (T * E > 16384)
  for (int64_t t = 0; t < T; ++t) {
    const Io* scores = p.scores + t * E;
    Io* d = p.d_logits + t * E;
    for (int64_t e = 0; e < E; ++e) d[e] = p.d_scores == nullptr ? 0 : p.d_scores[t * E + e];
    if (p.d_weights != nullptr) {
      const int32_t* indices = p.indices + t * k;
      const Io *w = p.weights + t * k, *d_w = p.d_weights + t * k;
      Io factor = scale, mean = 0;
      if (s.renormalize) {
        Io sum = 0;
        for (int64_t j = 0; j < k; ++j) sum += scores[indices[j]];
        for (int64_t j = 0; j < k; ++j) mean += d_w[j] * w[j];
        factor = scale / (sum + static_cast<Io>(1e-20));
        mean /= scale;
      }
      for (int64_t j = 0; j < k; ++j) d[indices[j]] += factor * (d_w[j] - mean);
    }
    if (s.score == RouterScore::kSigmoid) {
      for (int64_t e = 0; e < E; ++e) d[e] *= scores[e] * (1 - scores[e]);
    } else {
      Io mean = 0;
      for (int64_t e = 0; e < E; ++e) mean += d[e] * scores[e];
      for (int64_t e = 0; e < E; ++e) d[e] = scores[e] * (d[e] - mean);
    }
  }
  if (p.d_x != nullptr) {
    Gemm(tag, GemmParams<Io, Io>{
                  .m = T, .n = s.dim, .k = E, .a = p.d_logits, .b = p.weight, .c = p.d_x});
  }
  if (p.d_weight != nullptr) {
    Gemm(tag, GemmParams<Io, Io>{.m = E,
                                 .n = s.dim,
                                 .k = T,
                                 .transpose_a = true,
                                 .beta = p.add_d_weight ? 1.0 : 0.0,
                                 .a = p.d_logits,
                                 .b = p.x,
                                 .c = p.d_weight});
  }
}

template void MoeRouteFwd(CpuTag, const MoeRouteFwdParams<float>&);
template void MoeRouteFwd(CpuTag, const MoeRouteFwdParams<double>&);
template void MoeRouteBwd(CpuTag, const MoeRouteBwdParams<float>&);
template void MoeRouteBwd(CpuTag, const MoeRouteBwdParams<double>&);

}  // namespace wyvern
