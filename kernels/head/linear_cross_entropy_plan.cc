#include "kernels/head/linear_cross_entropy_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

// Past so many rows a group gains little: reading and writing d_weight costs a seventh of its
// product then (H200), and d_x [4608, 2304] is near four full waves of tiles on 132 SMs. Last
// slices and groups are short: equal ones would cut tiles.
constexpr int64_t kGroupRows = 4608;

}  // namespace

std::string LinearCrossEntropyPlan::ToString() const {
  return absl::StrCat("slices of ", slice_rows, " rows, groups of ", group_rows);
}

LinearCrossEntropyPlan ChooseLinearCrossEntropy(const LinearCrossEntropyDesc& d) {
  const int64_t acc_bytes = SizeOf(AccDType(d.io)), io_bytes = SizeOf(d.io);
  int64_t slice = d.slice_rows, group = d.group_rows;
  if (slice == 0) {
    // On the CPU a slice should stay near the caches; on the GPU it should fill the machine.
    const int64_t budget_bytes = d.device == Device::kCpu ? int64_t{16} << 20 : int64_t{512} << 20;
    const int64_t rows = budget_bytes / (std::max<int64_t>(1, d.vocab) * acc_bytes);
    slice = std::max<int64_t>(1, rows < 128 ? rows : rows / 128 * 128);
  }
  if (group == 0) group = std::min(kGroupRows, d.width * acc_bytes / io_bytes) / slice * slice;
  return {std::min(d.num_rows, slice), std::min(d.num_rows, std::max(slice, group))};
}

}  // namespace wyvern
