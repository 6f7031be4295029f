// Comparison with a folder whose reference.safetensors another library computed: input_ids [B, T],
// logits, loss, grad.<tensor>, and train.loss and train.grad_norm of six AdamW steps.
#ifndef WYVERN_TRAINER_HF_PARITY_H_
#define WYVERN_TRAINER_HF_PARITY_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/runtime/device.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// Largest errors that pass. Logits and gradients (each tensor on its own): relative RMS error
// ||x - reference|| / ||reference||. Losses and norms: relative.
//
// In fp32 and fp64 nothing but the order of sums is forgiven: logits 1e-5, gradients 1e-4, loss
// 2e-6. Of the six steps, loss and gradient norm before the first 1e-4. A training trajectory
// amplifies rounding, the reference's own too, and how much is measured: it is run three times more
// with initial weights multiplied by 1 + 1e-6 times a standard normal. A later step may be wrong by
// ten times the largest spread up to it, and by 1e-5 at least, the second by 1e-4.
//
// In bf16 every limit is measured, for each folder and quantity: the model runs in fp32 on the CPU,
// once as it is and 16 times with everything that bf16 stores rounded up or down at random
// (Bf16Storage); a quantity may be wrong by twice the largest of the 16 deviations, a step by twice
// the largest up to it. None of it sees the kernels or the reference that are compared. Twice: what
// GPU kernels round inside an op is not drawn, and one more draw of a single number, a loss say,
// exceeds the largest of 16 one time in 17, but twice that less than one time in a thousand.
// Whatever is set here replaces the rule.
struct ParityLimits {
  std::optional<double> logits, gradients, loss, step_loss, step_norm;
};

struct ParityRow {
  std::string quantity;  // "logits", "grad model.norm.weight", "step 3 loss"
  double error = 0;      // NaN never passes
  double limit = 0;
  bool passed() const { return error <= limit; }
};

struct ParityReport {
  std::string model_type;
  std::vector<std::string> warnings;  // of config.json
  std::vector<ParityRow> rows;
  bool passed() const;
};

// On the CPU, bf16 is emulated: fp32 with Bf16Storage, rounded to nearest.
//
// Errors: a folder that cannot be read, a configuration that is not supported, a reference without
// the tensors above or of other shapes.
absl::StatusOr<ParityReport> RunParity(const std::string& dir, Device device, DType compute,
                                       const ParityLimits& limits);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_PARITY_H_
