#include "trainer/commands/compute_target.h"

#include "absl/strings/str_cat.h"

namespace wyvern {

void ComputeTargetOptions::AddTo(CLI::App* command) {
  command->add_option("--device", device, "auto (the GPU if there is one), cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  command->add_option("--precision", precision, "auto (bf16 on a GPU), fp32 or bf16")
      ->check(CLI::IsMember({"auto", "fp32", "bf16"}));
}

absl::StatusOr<ComputeTarget> ChooseComputeTarget(const ComputeTargetOptions& options) {
  ComputeTarget target;
  std::string why;
  const bool gpu = CudaAvailable(&why);
  if (options.device == "cuda" && !gpu) {
    return absl::FailedPreconditionError(
        absl::StrCat("--device cuda: ", why, "; use --device cpu"));
  }
  if (options.device != "cpu" && gpu) target.device = Device::kCuda;
  if (options.precision == "bf16" && target.device == Device::kCpu) {
    return absl::InvalidArgumentError(
        "--precision bf16: the CPU computes in fp32 only; use --precision fp32");
  }
  if (target.device == Device::kCuda && options.precision != "fp32") target.compute = DType::kBf16;
  return target;
}

}  // namespace wyvern
