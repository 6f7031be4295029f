// Grouped products on Hopper: the op's entries.
#pragma once

#include "kernels/moe/grouped_matmul.h"

namespace wyvern::sm90 {

// Whether this GPU and the kernels here take these sizes, and operands and results at these
// addresses: K and N multiples of 64, 16-byte aligned.
bool Serves(const GroupedMatmulShape& shape, const void* a, const void* b, const void* c);

void GroupedForward(const GroupedMatmulFwdParams<Bf16>& p);
void GroupedInputGrad(const GroupedMatmulInputGradParams<Bf16>& p);
// Out: fp32, or bf16 which is not added to.
template <typename Out>
void GroupedWeightGrad(const GroupedMatmulWeightGradParams<Bf16, Out>& p);

}  // namespace wyvern::sm90
