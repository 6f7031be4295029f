// Grouped GEMMs on Hopper: the op's entries, where kernels/moe/grouped_matmul_plan.h chooses
// them.
#pragma once

#include "kernels/moe/grouped_matmul.h"
#include "kernels/runtime/gpu.h"

namespace wyvern::sm90 {

void GroupedForward(const GroupedMatmulFwdParams<Bf16>& p, const GpuInfo& gpu);
void GroupedInputGrad(const GroupedMatmulInputGradParams<Bf16>& p, const GpuInfo& gpu);
// Out: fp32, or bf16 which is not added to.
template <typename Out>
void GroupedWeightGrad(const GroupedMatmulWeightGradParams<Bf16, Out>& p, const GpuInfo& gpu);

}  // namespace wyvern::sm90
