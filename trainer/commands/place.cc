#include "trainer/commands/place.h"

#include "absl/strings/str_cat.h"

namespace wyvern {

void PlaceOptions::AddTo(CLI::App* command) {
  command->add_option("--device", device, "auto (the GPU if there is one), cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  command->add_option("--precision", precision, "auto (bf16 on a GPU), fp32 or bf16")
      ->check(CLI::IsMember({"auto", "fp32", "bf16"}));
}

absl::StatusOr<Place> ChoosePlace(const PlaceOptions& options) {
  Place place;
  std::string why;
  const bool gpu = CudaAvailable(&why);
  if (options.device == "cuda" && !gpu) {
    return absl::FailedPreconditionError(
        absl::StrCat("--device cuda: ", why, "; use --device cpu"));
  }
  if (options.device != "cpu" && gpu) place.device = Device::kCuda;
  if (options.precision == "bf16" && place.device == Device::kCpu) {
    return absl::InvalidArgumentError(
        "--precision bf16: the CPU computes in fp32 only; use --precision fp32");
  }
  if (place.device == Device::kCuda && options.precision != "fp32") place.compute = DType::kBf16;
  return place;
}

}  // namespace wyvern
