#ifndef WYVERN_TRAINER_COMMANDS_COMPUTE_TARGET_H_
#define WYVERN_TRAINER_COMMANDS_COMPUTE_TARGET_H_

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "kernels/runtime/device.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// The options --device and --precision of commands that run a model.
struct ComputeTargetOptions {
  std::string device = "auto";
  std::string precision = "auto";

  void AddTo(CLI::App* command);
};

struct ComputeTarget {
  Device device = Device::kCpu;
  DType compute = DType::kFloat32;
};

// auto: the GPU if there is one; bf16 there, fp32 on the CPU. Errors: no GPU where one is asked
// for, bf16 on the CPU.
absl::StatusOr<ComputeTarget> ChooseComputeTarget(const ComputeTargetOptions& options);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_COMPUTE_TARGET_H_
