#include "trainer/hf/hf_config.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/status.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/key_reader.h"

namespace wyvern {
namespace {

constexpr size_t kMaxShownFaults = 20;

// The mixer type that says which families may hold the model: mla wherever it stands, else the
// first that is not attention.
std::string TellingType(const ModelConfig& m) {
  std::string telling = "attention";
  for (int64_t i = 0; i < m.num_layers; ++i) {
    const std::string type = m.MixerOfLayer(i).type().name;
    if (type == "mla") return type;
    if (telling == "attention") telling = type;
  }
  return telling;
}

// The families of a mixer type, in the order in which they are tried.
std::vector<const HfFamily*> FamiliesOf(const std::string& mixer_type) {
  std::vector<const HfFamily*> families;
  for (const HfFamily* family : HfFamilies()) {
    if (family->mixer_type == mixer_type) families.insert(families.begin(), family);
  }
  return families;
}

// The language model of a configuration that also has a model of images: text_config, whose
// model_type ends in _text, with what the configuration itself says of the head and of quantized
// weights. Null of others.
absl::StatusOr<nlohmann::json> TextConfigOf(const nlohmann::json& config) {
  const auto type = config.find("model_type"), text = config.find("text_config");
  if (type == config.end() || !type->is_string()) return nlohmann::json();
  const std::string text_type = type->get<std::string>() + "_text";
  if (FindHfFamily(text_type) == nullptr) return nlohmann::json();
  if (text == config.end() || !text->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "config.json: text_config: expected an object, the keys of the language model of a ",
        type->dump(), text == config.end() ? "; it is missing" : ""));
  }
  nlohmann::json inner = *text;
  if (inner.contains("model_type") && inner["model_type"] != text_type) {
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: text_config.model_type: expected \"", text_type, "\" in a ",
                     type->dump(), ", got ", inner["model_type"].dump()));
  }
  inner["model_type"] = text_type;
  for (const char* key : {"tie_word_embeddings", "quantization_config"}) {
    if (config.contains(key)) inner[key] = config[key];
  }
  return inner;
}

absl::StatusOr<const HfFamily*> ChooseFamily(const ModelConfig& m, const HfFamily* wanted) {
  std::vector<const HfFamily*> candidates = {wanted};
  if (wanted == nullptr) candidates = FamiliesOf(TellingType(m));
  if (candidates.empty()) candidates = FamiliesOf("attention");  // which say what they cannot hold
  std::vector<std::string> refusals;
  for (const HfFamily* family : candidates) {
    const std::vector<std::string> why = WhyNotAs(*family, m);
    if (why.empty()) return family;
    refusals.push_back(absl::StrCat("a Hugging Face ", family->model_type,
                                    " folder cannot hold this model: ", absl::StrJoin(why, "; ")));
  }
  const HfFamily* own = FindHfFamily("wyvern");
  if (wanted != own && WhyNotAs(*own, m).empty()) {
    refusals.insert(refusals.begin(),
                    "take --family wyvern, which holds this model with a modeling_wyvern.py of its "
                    "own");
  }
  return absl::FailedPreconditionError(absl::StrJoin(refusals, "\n"));
}

}  // namespace

std::vector<std::string> WhyNotAs(const HfFamily& family, const ModelConfig& model) {
  std::vector<std::string> why = family.why_not(model);
  if (family.has_mlp.value_or(model.mlp) != model.mlp) {
    why.push_back(*family.has_mlp ? "needs layers with an MLP (mlp: true)"
                                  : "needs layers without an MLP (mlp: false)");
  }
  if (family.zero_centered_norms.value_or(model.zero_centered_norms) != model.zero_centered_norms) {
    why.push_back(*family.zero_centered_norms
                      ? "needs norms that scale by 1 + weight (zero_centered_norms: true)"
                      : "needs norms that scale by weight (zero_centered_norms: false)");
  }
  return why;
}

absl::StatusOr<HfConfig> ReadHfConfig(const nlohmann::json& file) {
  if (!file.is_object()) return absl::InvalidArgumentError("config.json: expected an object");
  ASSIGN_OR_RETURN(const nlohmann::json text, TextConfigOf(file));
  const nlohmann::json& config = text.is_null() ? file : text;
  KeyFindings findings;
  KeyReader r(config, text.is_null() ? "" : "text_config.", &findings);
  std::string model_type;
  r.String("model_type", &model_type);
  const HfFamily* family = FindHfFamily(model_type);
  if (family == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("config.json: model_type: \"", model_type,
                                                   "\" is not supported; expected ",
                                                   HfFamilyNames()));
  }
  HfConfig result{.family = family};
  ModelConfig& m = result.model;
  m.mlp = family->has_mlp.value_or(true);
  m.zero_centered_norms = family->zero_centered_norms.value_or(false);
  IgnoreCommonKeys(&r);
  RefuseAlterations(&r, family->passed_over);
  ReadVocabulary(&r, &m);
  family->read(&r, &m);
  if (family->extra_layers_key != nullptr) r.Int(family->extra_layers_key, &result.extra_layers);
  std::vector<std::string>& faults = findings.faults;
  if (faults.empty()) faults = m.Validate();
  if (!faults.empty()) {
    const size_t num_faults = faults.size();
    if (num_faults > kMaxShownFaults) {
      faults.resize(kMaxShownFaults);
      faults.push_back(absl::StrCat("and ", num_faults - kMaxShownFaults, " errors more"));
    }
    return absl::InvalidArgumentError(
        absl::StrCat("config.json: ", absl::StrJoin(faults, "\nconfig.json: ")));
  }
  if (!text.is_null()) {
    result.warnings.push_back(absl::StrCat("config.json: of this ", file["model_type"].dump(),
                                           " the language model alone is read, not the model of "
                                           "images"));
  }
  result.kept = nlohmann::json::object();
  for (const char* key : {"model_type", "bos_token_id", "eos_token_id", "max_position_embeddings",
                          "model_max_length"}) {
    if (r.Has(key)) result.kept[key] = config[key];
  }
  // A padding token that no row of the embedding stands for.
  if (m.padding_id < 0 && r.Has("pad_token_id")) {
    result.kept["pad_token_id"] = config["pad_token_id"];
  }
  for (const std::string& key : r.NoteUnknown()) result.kept[key] = config[key];
  for (const std::string& key : findings.unknown) {
    result.warnings.push_back(absl::StrCat("config.json: ", key, ": unknown key, ignored"));
  }
  return result;
}

absl::StatusOr<HfConfigFile> WriteHfConfig(const ModelConfig& model,
                                           const HfWriteOptions& options) {
  ASSIGN_OR_RETURN(const HfFamily* family, ChooseFamily(model, options.family));
  HfConfigFile file{.family = family};
  nlohmann::json& c = file.config;
  c["architectures"] = nlohmann::json::array({family->architecture});
  c["model_type"] = family->model_type;
  c["dtype"] = options.dtype;
  c["torch_dtype"] = options.dtype;  // the same for transformers 4
  c["vocab_size"] = model.vocab_size;
  c["hidden_size"] = model.hidden_size;
  c["num_hidden_layers"] = model.num_layers;
  c["intermediate_size"] = model.IntermediateSize();
  c["initializer_range"] = model.initializer_range;
  c["tie_word_embeddings"] = model.tie_embeddings && family->ties_head;
  c["max_position_embeddings"] = 2048;  // size of the readers' RoPE tables, no limit of ours
  c["pad_token_id"] =
      model.padding_id < 0 ? nlohmann::json(nullptr) : nlohmann::json(model.padding_id);
  c["bos_token_id"] = nullptr;
  c["eos_token_id"] = nullptr;
  c["use_cache"] = true;
  family->write(model, &c);
  const std::set<std::string> free_keys = {"bos_token_id", "eos_token_id",
                                           "max_position_embeddings", "model_max_length"};
  for (const auto& [key, value] : options.keep.items()) {
    if (!c.contains(key) || free_keys.count(key) > 0) c[key] = value;
  }
  return file;
}

}  // namespace wyvern
