#ifndef WYVERN_AUTOGRAD_OPS_MOE_EXPERT_PLAN_H_
#define WYVERN_AUTOGRAD_OPS_MOE_EXPERT_PLAN_H_

#include "autograd/tensor.h"

namespace wyvern {

// The rows that pairs of a token and an expert become: sorted by expert, otherwise in the order of
// the pairs; see kernels/moe/expert_plan.h. On the device; the host does not wait for it.
struct ExpertPlan {
  Tensor offsets;   // [E + 1] int32: the rows of each expert
  Tensor position;  // [R] int32: the row of a pair
  Tensor source;    // [R] int32: the pair of a row

  // `indices`, int32, R in all, are the experts of the pairs, each in [0, num_experts).
  static ExpertPlan Of(const Tensor& indices, int64_t num_experts);
};

// The part of a plan that the ops between tokens and rows take.
struct PlanPosition {
  Tensor position;  // [R] int32; R = T k

  void MoveTo(Device device) { position = position.To(device); }
};

// loads[e] += rows of expert e, of a plan's offsets [E + 1]. loads: [E] int64.
void AddExpertLoads(const Tensor& offsets, const Tensor& loads);

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_OPS_MOE_EXPERT_PLAN_H_
