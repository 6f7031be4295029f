#include "trainer/plan/parts.h"

#include <algorithm>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "layers/model.h"
#include "trainer/plan/flops.h"

namespace wyvern {
namespace {

// The part that a parameter belongs to, from its name: "blocks.3.mixer.q_proj.weight".
std::string PartOf(const std::string& name, const ModelConfig& config) {
  if (!absl::StartsWith(name, "blocks.")) return name.substr(0, name.find('.'));
  const std::vector<std::string> parts = absl::StrSplit(name, '.');
  int64_t layer = 0;
  if (parts.size() < 3 || !absl::SimpleAtoi(parts[1], &layer)) return "other";
  if (parts[2] == "mixer") return absl::StrCat(config.MixerOfLayer(layer).type().name, " mixers");
  if (parts[2] == "mlp") return "MLPs";
  if (parts[2] == "moe") {
    return parts[3] == "experts" ? "experts" : parts[3] == "shared" ? "shared experts" : "routers";
  }
  return "norms";
}

// Elements of it that multiply a token's activations.
bool IsProduct(const Parameter& p, const ModelConfig& config) {
  if (p.kind == ParameterKind::kEmbedding) {
    return config.tie_embeddings || absl::StartsWith(p.name, "head");
  }
  return p.kind == ParameterKind::kMatrix || p.kind == ParameterKind::kExperts ||
         p.kind == ParameterKind::kRouter;
}

std::string GFlops(double flops) { return absl::StrFormat("%.4f", flops / 1e9); }

}  // namespace

std::vector<ModelPart> PartsOf(const ModelConfig& config) {
  const std::unique_ptr<Model> model =
      Model::Create(config, Device::kMeta, DType::kBf16, /*trainable=*/false);
  std::vector<ModelPart> parts;
  for (const Parameter* p : model->parameters()) {
    std::string name = PartOf(p->name, config);
    if (name == "final_norm") name = "norms";
    auto part = std::find_if(parts.begin(), parts.end(),
                             [&](const ModelPart& other) { return other.name == name; });
    if (part == parts.end()) part = parts.insert(parts.end(), ModelPart{.name = name});
    const int64_t size = NumElements(p->shape);
    int64_t active = size;
    if (p->kind == ParameterKind::kExperts) {
      active = size / config.moe->num_experts * config.moe->experts_per_token;
    }
    part->parameters += size;
    part->active_parameters += active;
    if (IsProduct(*p, config)) part->product_flops += 2 * static_cast<double>(active);
  }
  return parts;
}

std::string DescribeParts(const ModelConfig& config, int64_t seq_len) {
  std::string text =
      absl::StrFormat("%-18s %15s %15s %14s\n", "part", "parameters", "active", "GFLOP/token");
  ModelPart sum{.name = "all"};
  for (const ModelPart& part : PartsOf(config)) {
    absl::StrAppendFormat(&text, "  %-16s %15d %15d %14s\n", part.name, part.parameters,
                          part.active_parameters, GFlops(part.product_flops));
    sum.parameters += part.parameters;
    sum.active_parameters += part.active_parameters;
    sum.product_flops += part.product_flops;
  }
  const TokenFlops flops = FlopsPerToken(config, seq_len);
  absl::StrAppendFormat(&text, "  %-16s %15s %15s %14s\n", "mixers' cores", "", "",
                        GFlops(flops.forward - sum.product_flops));
  absl::StrAppendFormat(&text, "  %-16s %15d %15d %14s forward, %s training\n", sum.name,
                        sum.parameters, sum.active_parameters, GFlops(flops.forward),
                        GFlops(flops.training));
  return text;
}

}  // namespace wyvern
