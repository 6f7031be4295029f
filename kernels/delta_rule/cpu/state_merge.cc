#include "kernels/delta_rule/state_merge.h"

#include <algorithm>

namespace wyvern {

template <typename Acc>
void StateMerge(CpuTag, const StateMergeParams<Acc>& p) {
  const int64_t K = p.key_dim, V = p.value_dim;
#pragma omp parallel for schedule(static)
  for (int64_t row = 0; row < p.num_heads * K; ++row) {
    const int64_t head = row / K, i = row % K;
    const Acc* map = p.map + head * K * K + (p.transpose ? i : i * K);
    const Acc* state = p.state + head * K * V;
    Acc* out = p.out + row * V;
    std::fill_n(out, V, Acc{0});
    for (int64_t j = 0; j < K; ++j) {
      const Acc m = map[p.transpose ? j * K : j];
      for (int64_t v = 0; v < V; ++v) out[v] += m * state[j * V + v];
    }
    for (int64_t v = 0; v < V; ++v) out[v] += p.add[row * V + v];
  }
}

template <typename Acc>
void StateIdentity(CpuTag, const StateIdentityParams<Acc>& p) {
  const int64_t K = p.key_dim;
  std::fill_n(p.out, p.num_heads * K * K, Acc{0});
  for (int64_t row = 0; row < p.num_heads * K; ++row) p.out[row * K + row % K] = 1;
}

template void StateMerge(CpuTag, const StateMergeParams<float>&);
template void StateMerge(CpuTag, const StateMergeParams<double>&);
template void StateIdentity(CpuTag, const StateIdentityParams<float>&);
template void StateIdentity(CpuTag, const StateIdentityParams<double>&);

}  // namespace wyvern
