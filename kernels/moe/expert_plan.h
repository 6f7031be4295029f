// Which row of the experts' work each pair of a token and one of its experts becomes.
//
// Pairs are numbered t k + j: token t, slot j. Rows are the pairs sorted by expert, those of one
// expert in the order of their pairs (a stable counting sort, so there is one right answer):
//
//   offsets[e] = number of pairs whose expert is less than e     (offsets[E] = R = T k)
//   position[pair] = row of the pair          source[row] = pair of the row
//
// Nothing is read by the host: later kernels read the offsets on the device. T, and so R, may be 0;
// any distribution is right, an expert without rows and all rows on one expert included. An index
// outside [0, E) is a caller's fault: the CPU stops; on the GPU no foreign memory is touched.
#ifndef WYVERN_KERNELS_MOE_EXPERT_PLAN_H_
#define WYVERN_KERNELS_MOE_EXPERT_PLAN_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"

namespace wyvern {

struct ExpertPlanParams {
  int64_t num_pairs = 0;             // R < 2^31
  int64_t num_experts = 0;           // E <= 1024
  const int32_t* indices = nullptr;  // [R] expert of each pair
  int32_t* offsets = nullptr;        // [E + 1]
  int32_t* position = nullptr;       // [R]
  int32_t* source = nullptr;         // [R]
  StreamHandle stream = nullptr;
};

// loads[e] += offsets[e + 1] - offsets[e].
struct ExpertLoadsParams {
  int64_t num_experts = 0;
  const int32_t* offsets = nullptr;  // [E + 1]
  int64_t* loads = nullptr;          // [E]
  StreamHandle stream = nullptr;
};

void MakeExpertPlan(CpuTag, const ExpertPlanParams& p);
void AddExpertLoads(CpuTag, const ExpertLoadsParams& p);
void MakeExpertPlan(CudaTag, const ExpertPlanParams& p);
void AddExpertLoads(CudaTag, const ExpertLoadsParams& p);
void MakeExpertPlan(MetaTag, const ExpertPlanParams& p);
void AddExpertLoads(MetaTag, const ExpertLoadsParams& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_MOE_EXPERT_PLAN_H_
