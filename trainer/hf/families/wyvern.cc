// Any model of Wyvern, with its own modeling_wyvern.py: config.json describes it under "wyvern" in
// the keys of a run's file, and tensors have Wyvern's names.
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "trainer/config/model_json.h"
#include "trainer/hf/families/registry.h"

namespace wyvern {
namespace {

constexpr char kSection[] = "wyvern";
constexpr char kModelingText[] =
#include "wyvern_modeling_text.h"
    ;

// Keys that stand outside of the section, in transformers' words.
const std::set<std::string>& KeysOutside() {
  static const auto* keys = new std::set<std::string>{
      "vocab_size",     "hidden_size",       "num_layers", "intermediate_size",
      "tie_embeddings", "initializer_range", "padding_id"};
  return *keys;
}

void Read(KeyReader* r, ModelConfig* m) {
  r->Count("hidden_size", &m->hidden_size);
  r->Count("num_hidden_layers", &m->num_layers);
  m->intermediate_size = m->IntermediateSize();
  r->Count("intermediate_size", &m->intermediate_size);
  const nlohmann::json& section = r->Json(kSection);
  if (!section.is_object()) {
    r->Fault(kSection, "expected an object, the keys of Wyvern's model");
    return;
  }
  nlohmann::json keys = ModelConfigToJson(*m);
  for (const auto& [key, value] : section.items()) {
    if (KeysOutside().count(key) > 0) {
      r->Fault(kSection, absl::StrCat(key, " stands outside of this section"));
      return;
    }
  }
  nlohmann::json whole = section;
  for (const std::string& key : KeysOutside()) whole[key] = keys[key];
  if (section.value("mlp", nlohmann::json(true)) == false) whole["intermediate_size"] = 0;
  absl::StatusOr<ModelConfig> model = ModelConfigFromJson(whole);
  if (!model.ok()) {
    r->Fault(kSection, std::string(model.status().message()));
    return;
  }
  *m = *std::move(model);
}

// The types of mixers that modeling_wyvern.py serves, all but those that are newer than it.
bool IsServed(const std::string& mixer_type) {
  static const auto* types = new std::set<std::string>{"delta_net", "gated_delta_net", "kda", "gla",
                                                       "mamba2",    "attention",       "mla"};
  return types->count(mixer_type) > 0;
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  std::set<std::string> not_served;
  for (int64_t i = 0; i < m.num_layers; ++i) {
    const std::string& type = m.MixerOfLayer(i).type().name;
    if (!IsServed(type)) not_served.insert(type);
  }
  std::vector<std::string> why;
  for (const std::string& type : not_served) {
    why.push_back(absl::StrCat("modeling_wyvern.py does not serve the mixer ", type));
  }
  return why;
}

void Write(const ModelConfig& m, nlohmann::json* config) {
  nlohmann::json section = ModelConfigToJson(m);
  for (const std::string& key : KeysOutside()) section.erase(key);
  (*config)[kSection] = std::move(section);
  (*config)["auto_map"] = {{"AutoConfig", "modeling_wyvern.WyvernConfig"},
                           {"AutoModel", "modeling_wyvern.WyvernModel"},
                           {"AutoModelForCausalLM", "modeling_wyvern.WyvernForCausalLM"}};
}

std::vector<HfTensor> LayerTensors(absl::string_view name, const Shape& shape, const MixerConfig&) {
  return {{.name = std::string(name), .shape = shape}};
}

std::map<std::string, std::string> Files(const nlohmann::json& config) {
  nlohmann::json generation = nlohmann::json::object();
  for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
    if (!config[key].is_null()) generation[key] = config[key];
  }
  return {{"modeling_wyvern.py", kModelingText},
          {"generation_config.json", JsonText(generation, 2) + "\n"}};
}

}  // namespace

const HfFamily kWyvernFamily = {.model_type = "wyvern",
                                .architecture = "WyvernForCausalLM",
                                .mixer_type = "",
                                .embedding_name = kHfEmbeddingName,
                                .has_mlp = std::nullopt,
                                .zero_centered_norms = std::nullopt,
                                .read = Read,
                                .why_not = WhyNot,
                                .write = Write,
                                .layer_tensors = LayerTensors,
                                .files = Files};

}  // namespace wyvern
