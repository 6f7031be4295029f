// config.json of the model families that Wyvern exchanges with flash-linear-attention ("FLA") and
// Hugging Face transformers. trainer/hf/README.md lists what of each key is honoured.
#ifndef WYVERN_TRAINER_HF_HF_CONFIG_H_
#define WYVERN_TRAINER_HF_HF_CONFIG_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "layers/model_config.h"
#include "trainer/hf/hf_family.h"

namespace wyvern {

struct HfConfig {
  const HfFamily* family = nullptr;
  ModelConfig model;
  // Layers behind the model's, for predicting several tokens, which are passed over.
  int64_t extra_layers = 0;
  std::vector<std::string> warnings;  // keys that Wyvern does not know, one sentence each
  // Keys that a later export writes again: unknown ones, token ids, max_position_embeddings,
  // model_type.
  nlohmann::json kept;
};

// Reads a parsed config.json. InvalidArgument lists every fault by its key: what is mistyped or
// impossible, and what would change the mathematics in a way that Wyvern does not serve. Of a model
// of images and text the language model is read (text_config), with a warning.
absl::StatusOr<HfConfig> ReadHfConfig(const nlohmann::json& file);

// Why a folder of the family cannot hold the model, one reason each; empty: it can. A reason is
// what the family "needs ...", with the model's key where that does not name it, or a fact of the
// model.
std::vector<std::string> WhyNotAs(const HfFamily& family, const ModelConfig& model);

struct HfWriteOptions {
  // Null: that of the layers that are not attention; without any, llama if it can hold the model,
  // else transformer.
  const HfFamily* family = nullptr;
  std::string dtype = "float32";  // of the weights beside it: "float32" or "bfloat16"
  // Further keys, such as HfConfig::kept; they never replace one that describes the model.
  nlohmann::json keep;
};

struct HfConfigFile {
  const HfFamily* family = nullptr;
  nlohmann::json config;
};

// The inverse. FailedPrecondition says what of the model no family can express.
absl::StatusOr<HfConfigFile> WriteHfConfig(const ModelConfig& model, const HfWriteOptions& options);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_HF_CONFIG_H_
