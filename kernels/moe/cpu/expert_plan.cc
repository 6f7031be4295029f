#include "kernels/moe/expert_plan.h"

#include <algorithm>
#include <vector>

#include "kernels/runtime/check.h"

namespace wyvern {

void MakeExpertPlan(CpuTag, const ExpertPlanParams& p) {
  const int64_t E = p.num_experts;
  std::fill_n(p.offsets, E + 1, 0);
  for (int64_t pair = 0; pair < p.num_pairs; ++pair) {
    const int32_t e = p.indices[pair];
    CHECK(e >= 0 && e < E, "expert ", e, " of ", E);
    ++p.offsets[e + 1];
  }
  for (int64_t e = 0; e < E; ++e) p.offsets[e + 1] += p.offsets[e];
  std::vector<int32_t> next(p.offsets, p.offsets + E);
  for (int64_t pair = 0; pair < p.num_pairs; ++pair) {
    const int32_t row = next[p.indices[pair]]++;
    p.position[pair] = row;
    p.source[row] = static_cast<int32_t>(pair);
  }
}

void AddExpertLoads(CpuTag, const ExpertLoadsParams& p) {
  for (int64_t e = 0; e < p.num_experts; ++e) p.loads[e] += p.offsets[e + 1] - p.offsets[e];
}

}  // namespace wyvern
