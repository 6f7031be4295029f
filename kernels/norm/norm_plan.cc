#include "kernels/norm/norm_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

constexpr int kWarp = 32;
// Blocks of the gated norm's backward where a warp takes a row.
constexpr int64_t kMaxWarpBlocks = 1024;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

std::string RmsNormPlan::ToString() const {
  return absl::StrCat(row_threads, " threads a row, ", access, " elements an access, ",
                      chunks > 0 ? absl::StrCat(chunks, " in registers") : "read twice",
                      ", blocks ", forward_blocks, "/", backward_blocks);
}

RmsNormPlan ChooseRmsNorm(const RmsNormDesc& desc) {
  RmsNormPlan plan;
  const int64_t warp_row = int64_t{kWarp} * desc.access, block_row = kNormThreads * desc.access;
  if (desc.aligned && desc.dim % desc.access == 0 && desc.dim <= 4 * block_row) {
    plan.access = desc.access;
    if (desc.dim <= 2 * warp_row) {
      plan.row_threads = kWarp;
      plan.chunks = desc.dim <= warp_row ? 1 : 2;
    } else {
      plan.chunks = desc.dim <= block_row ? 1 : desc.dim <= 2 * block_row ? 2 : 4;
    }
  }
  const int64_t rows = plan.rows_per_block();
  plan.forward_blocks = CeilDiv(desc.num_rows, rows);
  plan.backward_blocks = CeilDiv(std::min(kMaxNormBlocks * rows, desc.num_rows), rows);
  return plan;
}

std::string GatedRmsNormPlan::ToString() const {
  return absl::StrCat(
      lanes > 0 ? absl::StrCat(lanes, " lanes a row, in registers") : "a warp a row, read twice",
      ", blocks ", forward_blocks, "/", backward_blocks);
}

GatedRmsNormPlan ChooseGatedRmsNorm(const RmsNormDesc& desc) {
  GatedRmsNormPlan plan;
  for (const int lanes : {8, 16, 32}) {
    if (desc.aligned && desc.dim == int64_t{lanes} * desc.access) plan.lanes = lanes;
  }
  const int64_t warp_blocks = CeilDiv(desc.num_rows, kNormThreads / kWarp);
  plan.forward_blocks = warp_blocks;
  plan.backward_blocks = std::min(kMaxWarpBlocks, warp_blocks);
  if (plan.lanes > 0) {
    plan.forward_blocks = CeilDiv(desc.num_rows * plan.lanes, kNormThreads);
    plan.backward_blocks = std::min({plan.backward_blocks, kMaxNormBlocks, plan.forward_blocks});
  }
  return plan;
}

}  // namespace wyvern
