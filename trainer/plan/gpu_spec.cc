#include "trainer/plan/gpu_spec.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/check.h"

namespace wyvern {
namespace {

struct Share {
  WorkClass work_class;
  double forward, backward;
  double backward_fused;  // where norms and gates write their outputs again in backward
};

constexpr Share kShares[] = {
    {WorkClass::kMatmul, 0.785, 0.735, 0.735},
    {WorkClass::kAttention, 0.56, 0.28, 0.28},
    {WorkClass::kConvolution, 0.85, 0.80, 0.80},
    {WorkClass::kNorm, 0.98, 0.895, 0.745},
    {WorkClass::kPointwise, 1.0, 0.965, 0.80},
    {WorkClass::kEmbedding, 0.94, 0.76, 0.76},
    {WorkClass::kAdamW, 0.97, 0.97, 0.97},
    {WorkClass::kCopies, 1.0, 1.0, 1.0},
    {WorkClass::kExperts, 0.61, 0.46, 0.46},
    {WorkClass::kRouting, 0.66, 0.66, 0.66},
    {WorkClass::kNewtonSchulz, 0.61, 0.61, 0.61},
    {WorkClass::kMuon, 0.935, 0.935, 0.935},
    {WorkClass::kLinearAttention, 0.11, 0.074, 0.074},
    {WorkClass::kOther, 1.0, 1.0, 1.0},
};

// The delta rule's, by the type of the mixer.
struct DeltaRuleShare {
  const char* type;
  double forward, backward;
};

constexpr DeltaRuleShare kDeltaShares[] = {
    {"delta_net", 0.40, 0.53},
    {"gated_delta_net", 0.38, 0.46},
    {"kda", 0.27, 0.33},
};

// The head's forward makes its gradients too, the backward scales them. Measured with 32,000 and
// 163,840 classes, between them in proportion.
constexpr double kHeadForward = 0.663, kLargeHeadForward = 0.62, kHeadBackward = 0.985;
constexpr double kClasses = 32000, kManyClasses = 163840;

double HeadShare(Pass pass, const ModelConfig& model) {
  if (pass == Pass::kBackward) return kHeadBackward;
  const double more =
      (static_cast<double>(model.vocab_size) - kClasses) / (kManyClasses - kClasses);
  return std::lerp(kHeadForward, kLargeHeadForward, std::clamp(more, 0.0, 1.0));
}

// The delta rule's share of a model with several types of it is that of their mean time.
double DeltaShare(Pass pass, const ModelConfig& model) {
  double layers = 0, inverse = 0;
  for (int64_t i = 0; i < model.num_layers; ++i) {
    const std::string& type = model.MixerOfLayer(i).type().name;
    for (const DeltaRuleShare& share : kDeltaShares) {
      if (type != share.type) continue;
      inverse += 1 / (pass == Pass::kBackward ? share.backward : share.forward);
      ++layers;
    }
  }
  return layers == 0 ? 1 : layers / inverse;
}

}  // namespace

const std::vector<GpuSpec>& KnownGpus() {
  // Links: NCCL's rate over NVLink without multicast, and 400 Gbit/s of network per GPU.
  static const std::vector<GpuSpec> gpus = {
      {"h100-80g", 85.0e9, 989e12, 3.01e12, 330e9, 45e9, true},
      {"h200-141g", 150.1e9, 989e12, 4.24e12, 330e9, 45e9, true},
      {"h100-pcie-80g", 85.0e9, 756e12, 1.8e12, 50e9, 22e9, false},
      {"a100-80g", 85.0e9, 312e12, 1.75e12, 220e9, 22e9, false},
      {"a100-40g", 42.4e9, 312e12, 1.35e12, 220e9, 22e9, false},
  };
  return gpus;
}

absl::StatusOr<GpuSpec> FindGpu(const std::string& name) {
  std::vector<std::string> names;
  for (const GpuSpec& gpu : KnownGpus()) {
    if (gpu.name == name) return gpu;
    names.push_back(gpu.name);
  }
  return absl::NotFoundError(
      absl::StrCat("GPU '", name, "' is not known; known are ", absl::StrJoin(names, ", ")));
}

double ShareOfBound(WorkClass work_class, Pass pass, const ModelConfig& model,
                    RecomputePolicy recompute) {
  if (work_class == WorkClass::kHead) return HeadShare(pass, model);
  if (work_class == WorkClass::kDeltaRule) return DeltaShare(pass, model);
  for (const Share& share : kShares) {
    if (work_class != share.work_class) continue;
    const bool fused = recompute >= RecomputePolicy::kFused;
    const double backward = fused ? share.backward_fused : share.backward;
    return pass == Pass::kBackward ? backward : share.forward;
  }
  CHECK(false, "no share of the bound for the class '", Name(work_class), "'");
  return 1;
}

}  // namespace wyvern
