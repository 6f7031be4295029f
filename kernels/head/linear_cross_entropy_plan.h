// How the vocabulary's matmul and its loss divide the rows, as a value that can be printed.
#ifndef WYVERN_KERNELS_HEAD_LINEAR_CROSS_ENTROPY_PLAN_H_
#define WYVERN_KERNELS_HEAD_LINEAR_CROSS_ENTROPY_PLAN_H_

#include <cstdint>
#include <string>

#include "kernels/runtime/device.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

struct LinearCrossEntropyDesc {
  int64_t num_rows = 0, vocab = 0, width = 0;
  DType io = DType::kBf16;
  Device device = Device::kCuda;
  int64_t slice_rows = 0, group_rows = 0;  // as asked for; 0: to be chosen
};

// Rows whose logits, and rows whose d_logits exist at once: a group is of whole slices.
struct LinearCrossEntropyPlan {
  int64_t slice_rows = 0, group_rows = 0;

  std::string ToString() const;
};

// No GpuInfo: d_weight is a sum over groups, which has the same order on every GPU.
LinearCrossEntropyPlan ChooseLinearCrossEntropy(const LinearCrossEntropyDesc& desc);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_HEAD_LINEAR_CROSS_ENTROPY_PLAN_H_
