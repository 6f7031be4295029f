#include "trainer/hf/parity.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"

namespace wyvern {
namespace {

struct Options {
  std::string dir, device = "cpu", dtype = "fp32";
  ParityLimits limits;
};

absl::Status Run(const Options& options) {
  const Device device = options.device == "cuda" ? Device::kCuda : Device::kCpu;
  std::string why;
  if (device == Device::kCuda && !CudaAvailable(&why)) {
    return absl::FailedPreconditionError(
        absl::StrCat("parity: --device cuda: ", why, "; use --device cpu"));
  }
  const DType dtype = options.dtype == "bf16"   ? DType::kBf16
                      : options.dtype == "fp64" ? DType::kFloat64
                                                : DType::kFloat32;
  if (device == Device::kCuda && dtype == DType::kFloat64) {
    return absl::InvalidArgumentError(
        "parity: --dtype fp64 does not run on cuda; CUDA has bf16 and fp32, the CPU fp32, fp64 and "
        "bf16 emulated");
  }
  if (OpenCheckpoint(options.dir).ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("parity: ", options.dir,
                     " is a checkpoint, and the reference is one of a Hugging Face folder; write "
                     "that folder by `wyvern export` and put its reference.safetensors there"));
  }
  ASSIGN_OR_RETURN(const ParityReport report,
                   RunParity(options.dir, device, dtype, options.limits));
  for (const std::string& warning : report.warnings) {
    SayError(absl::StrCat("wyvern: warning: ", warning));
  }
  std::printf("%s (%s) on %s in %s\n", options.dir.c_str(), report.model_type.c_str(), Name(device),
              Name(dtype));
  std::printf("%-56s %9s %9s\n", "quantity", "error", "limit");
  int num_failed = 0;
  for (const ParityRow& row : report.rows) {
    num_failed += row.passed() ? 0 : 1;
    std::printf("%-56s %9.2e %9.2e  %s\n", row.quantity.c_str(), row.error, row.limit,
                row.passed() ? "ok" : "FAIL");
  }
  if (num_failed > 0) {
    return absl::InternalError(absl::StrCat("parity: ", num_failed, " of ", report.rows.size(),
                                            " quantities of ", options.dir,
                                            " are beyond their limits"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddParityCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "parity", "Compare with the reference.safetensors of a Hugging Face folder, as a table");
  command->add_option("HF_DIR", options->dir, "Folder with config.json, weights and reference")
      ->required();
  command->add_option("--device", options->device, "cpu or cuda (default cpu)")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  command
      ->add_option("--dtype", options->dtype,
                   "fp32 (default), bf16 (emulated on the CPU) or fp64 (cpu)")
      ->check(CLI::IsMember({"fp32", "bf16", "fp64"}));
  command->add_option("--logits", options->limits.logits,
                      "Largest relative RMS error of the logits");
  command->add_option("--gradients", options->limits.gradients, "... of each parameter's gradient");
  command->add_option("--loss", options->limits.loss, "Largest relative error of the loss");
  command->add_option("--step-loss", options->limits.step_loss,
                      "... before each AdamW step (default: from the measured drift)");
  command->add_option("--step-norm", options->limits.step_norm,
                      "... of the gradient norm, likewise");
  command->callback([=] { *exit_code = ExitCode(Run(*options)); });
}

}  // namespace wyvern
