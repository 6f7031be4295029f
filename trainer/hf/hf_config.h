// config.json of the model families that Wyvern exchanges with flash-linear-attention ("FLA") and
// Hugging Face transformers. trainer/hf/README.md lists what of each key is honoured.
#ifndef WYVERN_TRAINER_HF_HF_CONFIG_H_
#define WYVERN_TRAINER_HF_HF_CONFIG_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "layers/model_config.h"

namespace wyvern {

// The first four are FLA's; their hybrids hold attention layers too.
enum class HfFamily { kDeltaNet, kGatedDeltaNet, kKda, kTransformer, kLlama, kKimiLinear };

// config.json's model_type, "delta_net", "gated_deltanet", "kda", "transformer", "llama" or
// "kimi_linear".
const char* ModelType(HfFamily family);
std::optional<HfFamily> FamilyOfModelType(absl::string_view model_type);

struct HfConfig {
  HfFamily family = HfFamily::kDeltaNet;
  ModelConfig model;
  std::vector<std::string> warnings;  // keys that Wyvern does not know, one sentence each
  // What a later export writes again: unknown keys, token ids, max_position_embeddings, model_type.
  nlohmann::json kept;
};

// Reads a parsed config.json. InvalidArgument lists every fault by its key: what is mistyped or
// impossible, and what would change the mathematics in a way that Wyvern does not serve.
absl::StatusOr<HfConfig> ReadHfConfig(const nlohmann::json& config);

struct HfWriteOptions {
  // Unset: that of the delta-rule layers; without any, llama if it can hold the model, else
  // transformer.
  std::optional<HfFamily> family;
  std::string dtype = "float32";  // of the weights beside it: "float32" or "bfloat16"
  // Further keys, such as HfConfig::kept; they never replace one that describes the model.
  nlohmann::json keep;
};

struct HfConfigFile {
  HfFamily family = HfFamily::kDeltaNet;
  nlohmann::json config;
};

// The inverse. FailedPrecondition says what of the model no family can express.
absl::StatusOr<HfConfigFile> WriteHfConfig(const ModelConfig& model, const HfWriteOptions& options);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_HF_CONFIG_H_
