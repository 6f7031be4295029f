#include "trainer/run/run_model.h"

#include "absl/strings/str_cat.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/status.h"

namespace wyvern {

absl::StatusOr<Device> RunDevice(const RunConfig& config) {
  if (config.run.device != DeviceChoice::kCuda) return Device::kCpu;
  std::string why;
  if (!CudaAvailable(&why)) {
    return absl::FailedPreconditionError(
        absl::StrCat("run.device: cuda: ", why, "; set run.device: cpu or auto"));
  }
  return Device::kCuda;
}

absl::StatusOr<std::unique_ptr<Model>> CreateRunModel(const RunConfig& config,
                                                      const Division& division) {
  ASSIGN_OR_RETURN(const Device device, RunDevice(config));
  SetOutOfMemoryAdvice(absl::StrCat(
      "lower train.micro_batch (now ", config.train.micro_batch, ") or data.seq_len (now ",
      config.data.seq_len, "), set train.recompute or raise train.recompute_blocks (now ",
      config.train.recompute_blocks, " of ", config.model.num_layers,
      "), or take a smaller model; `wyvern config show` estimates the memory beforehand"));
  const DType compute =
      config.run.precision == PrecisionChoice::kBf16 ? DType::kBf16 : DType::kFloat32;
  std::unique_ptr<Model> model =
      Model::Create(config.model, device, compute, /*trainable=*/true, division);
  model->RecomputeBlocks(config.train.recompute_blocks);
  model->SetRecompute(config.train.recompute);
  model->SetBalanceLoss(config.train.balance_loss);
  return model;
}

}  // namespace wyvern
