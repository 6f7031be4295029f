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
struct ParityLimits {
  double logits = 1e-5;
  double gradients = 1e-4;
  double loss = 2e-6;
  // Of loss and gradient norm before each of the six steps. Unset: `first_steps` before the first
  // two, later ones from the drift. A training trajectory amplifies rounding, and how much is
  // measured: it is run three times more with initial weights multiplied by 1 + `perturbation`
  // times a standard normal; a step may be wrong by ten times the largest spread up to it, and by
  // `least_drift` at least.
  std::optional<double> step_loss, step_norm;
  double first_steps = 1e-4;
  double perturbation = 1e-6;
  double least_drift = 1e-5;
};

// For the activations' type. In fp32 and fp64 they are strict: nothing but the order of fp32 sums
// is forgiven. In bf16 they are about twice what rounding matrices, activations and their gradients
// to bf16 does to the reference models (measured: logits 1.1e-2 to 2.7e-2, gradients 1.9e-2 to
// 1.1e-1, loss up to 4.2e-4, loss of a step 1.3e-3, norm 7.2e-2); a wrong gate moves the logits by
// 1.3, a norm's eps of 1e-5 for 1e-6 by 8e-2.
ParityLimits DefaultParityLimits(DType compute);

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

// Errors: a folder that cannot be read, a configuration that is not supported, a reference without
// the tensors above or of other shapes.
absl::StatusOr<ParityReport> RunParity(const std::string& dir, Device device, DType compute,
                                       const ParityLimits& limits);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_PARITY_H_
