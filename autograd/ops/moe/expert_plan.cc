#include "autograd/ops/moe/expert_plan.h"

#include "kernels/moe/expert_plan.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {

ExpertPlan ExpertPlan::Of(const Tensor& indices, int64_t num_experts) {
  const Device device = indices.device();
  const int64_t R = indices.numel();
  CHECK(R <= 0x7fffffff, R, " pairs: rows are numbered in 31 bits; lower train.micro_batch");
  const ExpertPlan plan{.offsets = Tensor::Empty({num_experts + 1}, DType::kInt32, device),
                        .position = Tensor::Empty({R}, DType::kInt32, device),
                        .source = Tensor::Empty({R}, DType::kInt32, device)};
  Dispatch(device, DType::kFloat32, [&](auto tag, auto) {
    MakeExpertPlan(tag, ExpertPlanParams{.num_pairs = R,
                                         .num_experts = num_experts,
                                         .indices = indices.data<int32_t>(),
                                         .offsets = plan.offsets.data<int32_t>(),
                                         .position = plan.position.data<int32_t>(),
                                         .source = plan.source.data<int32_t>(),
                                         .stream = ComputeStream()});
  });
  return plan;
}

void AddExpertLoads(const Tensor& offsets, const Tensor& loads) {
  CHECK(offsets.numel() == loads.numel() + 1, "offsets ", ToString(offsets.shape()), ", loads ",
        ToString(loads.shape()));
  Dispatch(loads.device(), DType::kFloat32, [&](auto tag, auto) {
    AddExpertLoads(tag, ExpertLoadsParams{.num_experts = loads.numel(),
                                          .offsets = offsets.data<int32_t>(),
                                          .loads = loads.data<int64_t>(),
                                          .stream = ComputeStream()});
  });
}

}  // namespace wyvern
