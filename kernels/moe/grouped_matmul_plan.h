// Which CUDA kernels multiply groups of rows, as a value that can be printed and tested without a
// GPU.
#ifndef WYVERN_KERNELS_MOE_GROUPED_MATMUL_PLAN_H_
#define WYVERN_KERNELS_MOE_GROUPED_MATMUL_PLAN_H_

#include <string>

#include "kernels/moe/grouped_matmul.h"
#include "kernels/runtime/gpu.h"

namespace wyvern {

struct GroupedMatmulDesc {
  GroupedMatmulShape shape;
  bool bf16 = true;           // the operands
  bool adds_to_bf16 = false;  // the result is added to what bf16 memory holds
  bool aligned = true;        // operands and result to 16 bytes
};

enum class GroupedMatmulPath {
  kTiles,  // kernels/moe/cuda: any size, type and GPU
  kSm90,   // kernels/moe/sm90
};

struct GroupedMatmulPlan {
  GroupedMatmulPath path = GroupedMatmulPath::kTiles;

  std::string ToString() const;
};

// Hopper's kernels serve bf16 with K and N multiples of 64.
GroupedMatmulPlan ChooseGroupedMatmul(const GroupedMatmulDesc& desc, const GpuInfo& gpu);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_MOE_GROUPED_MATMUL_PLAN_H_
