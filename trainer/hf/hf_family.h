// A family of Hugging Face models: how its config.json and its tensors' names describe a model.
// One family is one file in families/ and one row in families/registry.cc.
#ifndef WYVERN_TRAINER_HF_HF_FAMILY_H_
#define WYVERN_TRAINER_HF_HF_FAMILY_H_

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "layers/model_config.h"
#include "trainer/hf/key_reader.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {

struct HfFamily {
  const char* model_type;    // in config.json, and the name of the family
  const char* architecture;  // the class in config.json's `architectures`
  // The type of the mixer that makes a model one of this family: see WriteHfConfig. Empty: a family
  // that is written only where it is asked for.
  const char* mixer_type;
  const char* embedding_name;
  const char* final_norm_name = "model.norm.weight";
  const char* layers_prefix = "model.layers.";
  // False: the readers never tie the head to the embedding; a tied head is written as a copy.
  bool ties_head = true;
  std::optional<bool> has_mlp = true;  // as ModelConfig::mlp; unset: config.json says it
  // As ModelConfig's: the files hold weights around zero. Unset: config.json says whether they do.
  std::optional<bool> zero_centered_norms = false;
  // The key of config.json that counts layers behind the model's, which readers pass over; null:
  // there is none.
  const char* extra_layers_key = nullptr;
  // A key that RefuseAlterations refuses in others, and that this family's readers pass over.
  const char* passed_over = nullptr;

  // Reads the sizes, mixers and experts of the model. The vocabulary has been read.
  void (*read)(KeyReader* r, ModelConfig* m);
  // Why config.json cannot express the model, as WhyNotAs says it; ask that, which knows more.
  std::vector<std::string> (*why_not)(const ModelConfig& m);
  // Adds the keys that other families do not share. Requires an empty why_not.
  void (*write)(const ModelConfig& m, nlohmann::json* config);
  // The tensors that hold a layer's parameter or buffer, as HfTensorsOf gives them. `name` is what
  // follows "blocks.N." in Wyvern; the result's names are what follows layers_prefix and "N.".
  // `shape` is the parameter's as all families store it.
  std::vector<HfTensor> (*layer_tensors)(absl::string_view name, const Shape& shape,
                                         const MixerConfig& mixer);
  // Further files of a folder whose config.json is this, name -> content; null: none.
  std::map<std::string, std::string> (*files)(const nlohmann::json& config) = nullptr;
};

// All of them, in the order of families/registry.cc.
const std::vector<const HfFamily*>& HfFamilies();
// Null if there is none.
const HfFamily* FindHfFamily(absl::string_view model_type);
// "delta_net, ... or wyvern"
std::string HfFamilyNames();

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_HF_FAMILY_H_
