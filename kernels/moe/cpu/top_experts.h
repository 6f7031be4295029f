// The choice of experts, of the router and of its balance loss.
#ifndef WYVERN_KERNELS_MOE_CPU_TOP_EXPERTS_H_
#define WYVERN_KERNELS_MOE_CPU_TOP_EXPERTS_H_

#include <cmath>
#include <cstdint>

namespace wyvern {

// The `count` of `n` with the largest scores among those allowed (at least `count`), largest first,
// ties to the lower number; a NaN counts as less than every number.
template <typename T>
void TopExperts(const T* scores, const char* allowed, int64_t n, int64_t count, int32_t* chosen) {
  for (int64_t j = 0; j < count; ++j) {
    int64_t best = -1;
    for (int64_t e = 0; e < n; ++e) {
      bool taken = allowed[e] == 0;
      for (int64_t i = 0; i < j && !taken; ++i) taken = chosen[i] == e;
      if (taken) continue;
      if (best < 0 || scores[e] > scores[best] ||
          (std::isnan(scores[best]) && !std::isnan(scores[e]))) {
        best = e;
      }
    }
    chosen[j] = static_cast<int32_t>(best);
  }
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_MOE_CPU_TOP_EXPERTS_H_
