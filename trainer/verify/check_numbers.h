#ifndef WYVERN_TRAINER_VERIFY_CHECK_NUMBERS_H_
#define WYVERN_TRAINER_VERIFY_CHECK_NUMBERS_H_

#include <string>

#include "absl/status/statusor.h"
#include "data/sampling/batch.h"
#include "kernels/runtime/device.h"
#include "kernels/runtime/dtype.h"
#include "trainer/verify/card.h"

namespace wyvern {

// Logits, loss and every parameter's gradient of the checkpoint's model over `batch`, on `device`
// in `compute`, beside the ops of the CPU. The limits follow the rule of trainer/hf/parity.h: in
// fp32, beside fp64, logits 1e-5, loss 2e-6, gradients 1e-4; in bf16, beside fp32, twice the
// largest of eight deviations that random rounding of what bf16 stores brings about.
//
// Some gradients are small differences of large numbers, as those of queries and keys before
// attention has learnt anything. Where bf16's rounding moves one by half of it, it is compared in
// fp32 on the same device instead, and its row ends with ", in fp32". It may be wrong by 1e-4, or
// by 2^-12 of the limit in bf16: 16 times the smaller rounding. On the CPU, bf16 is emulated.
absl::StatusOr<NumbersCheck> CheckNumbers(const std::string& checkpoint, Device device,
                                          DType compute, const Batch& batch);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_VERIFY_CHECK_NUMBERS_H_
