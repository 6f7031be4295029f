#include "kernels/moe/grouped_matmul_plan.h"

namespace wyvern {

std::string GroupedMatmulPlan::ToString() const {
  return path == GroupedMatmulPath::kSm90 ? "sm90, pairs of blocks" : "tiles of 64 x 64";
}

GroupedMatmulPlan ChooseGroupedMatmul(const GroupedMatmulDesc& desc, const GpuInfo& gpu) {
  constexpr int64_t kTile = 64;
  constexpr int64_t kLimit = int64_t{1} << 31;  // of the copies' coordinates
  const GroupedMatmulShape& s = desc.shape;
  const bool sizes = s.dim_in > 0 && s.dim_out > 0 && s.dim_in % kTile == 0 &&
                     s.dim_out % kTile == 0 && s.num_rows < kLimit &&
                     s.num_matrices * s.num_experts * s.dim_out < kLimit;
  if (gpu.RunsSm90() && desc.bf16 && !desc.adds_to_bf16 && desc.aligned && sizes) {
    return {GroupedMatmulPath::kSm90};
  }
  return {GroupedMatmulPath::kTiles};
}

}  // namespace wyvern
