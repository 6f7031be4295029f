#include <cmath>
#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/file.h"
#include "kernels/runtime/status.h"
#include "trainer/hf/hf_folder.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {
namespace {

absl::StatusOr<nlohmann::json> ReadJson(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::DataLossError(absl::StrCat(path, ": is not valid JSON"));
  return json;
}

float HalfToFloat(uint16_t half) {
  const int exponent = (half >> 10) & 31, mantissa = half & 1023;
  const float sign = (half & 0x8000) != 0 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa != 0 ? std::nanf("") : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

// Left over from readers' buffers; not weights.
bool IsBuffer(const std::string& name) { return absl::EndsWith(name, "rotary_emb.inv_freq"); }

constexpr absl::string_view kGate = ".mlp.gate_proj.weight", kUp = ".mlp.up_proj.weight";

// Checkpoints of FLA from before February 2025 hold gate and up, in this order, in one matrix under
// the name of the gate. Returns that name if `wanted` is one of the halves of such a matrix.
std::string PackedMlpName(const HfWeights& weights, const std::string& wanted) {
  const bool gate = absl::EndsWith(wanted, kGate);
  if (!gate && !absl::EndsWith(wanted, kUp)) return "";
  const std::string stem = wanted.substr(0, wanted.size() - (gate ? kGate.size() : kUp.size()));
  const std::string gate_name = absl::StrCat(stem, kGate);
  return weights.Has(gate_name) && !weights.Has(absl::StrCat(stem, kUp)) ? gate_name : "";
}

}  // namespace

absl::StatusOr<HfConfig> ReadHfConfigFile(const std::string& dir) {
  const std::string path = absl::StrCat(dir, "/config.json");
  ASSIGN_OR_RETURN(const nlohmann::json json, ReadJson(path));
  absl::StatusOr<HfConfig> config = ReadHfConfig(json);
  if (!config.ok()) {
    return absl::Status(config.status().code(), absl::StrCat(dir, ": ", config.status().message()));
  }
  return config;
}

absl::StatusOr<HfWeights> HfWeights::Open(const std::string& dir) {
  HfWeights weights;
  weights.dir_ = dir;
  const std::string single = absl::StrCat(dir, "/model.safetensors");
  const std::string index = absl::StrCat(dir, "/model.safetensors.index.json");
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored)) {
    ASSIGN_OR_RETURN(SafetensorsReader file, SafetensorsReader::Open(single));
    for (const auto& [name, entry] : file.tensors()) weights.file_of_[name] = 0;
    weights.files_.push_back(std::move(file));
    return weights;
  }
  if (!std::filesystem::exists(index, ignored)) {
    return absl::NotFoundError(absl::StrCat(
        dir, ": expected model.safetensors or model.safetensors.index.json, found neither"));
  }
  ASSIGN_OR_RETURN(const nlohmann::json json, ReadJson(index));
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (map == json.end() || !map->is_object()) {
    return absl::DataLossError(absl::StrCat(index, ": has no weight_map"));
  }
  std::map<std::string, size_t> opened;
  for (const auto& [name, file] : map->items()) {
    // Only names of files beside the index: a path could lead anywhere.
    if (!file.is_string() || file.get<std::string>().find('/') != std::string::npos) {
      return absl::DataLossError(
          absl::StrCat(index, ": weight_map: ", name, " does not name a file of the folder"));
    }
    const auto file_name = file.get<std::string>();
    const auto [it, is_new] = opened.emplace(file_name, weights.files_.size());
    if (is_new) {
      ASSIGN_OR_RETURN(SafetensorsReader reader,
                       SafetensorsReader::Open(absl::StrCat(dir, "/", file_name)));
      weights.files_.push_back(std::move(reader));
    }
    if (weights.files_[it->second].tensors().count(name) == 0) {
      return absl::DataLossError(
          absl::StrCat(index, ": ", name, " is not in ", file_name, " as the index says"));
    }
    weights.file_of_[name] = it->second;
  }
  return weights;
}

std::vector<std::string> HfWeights::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : file_of_) names.push_back(name);
  return names;
}

absl::StatusOr<Tensor> HfWeights::Read(const std::string& name) const {
  const auto it = file_of_.find(name);
  if (it == file_of_.end()) {
    return absl::NotFoundError(absl::StrCat(dir_, ": the weights lack the tensor ", name));
  }
  return ReadFloatTensor(files_[it->second], name);
}

absl::StatusOr<Tensor> ReadFloatTensor(const SafetensorsReader& file, const std::string& name) {
  ASSIGN_OR_RETURN(const SafetensorsEntry entry, file.Find(name));
  if (entry.dtype == "F16") {
    std::vector<uint16_t> halves(NumElements(entry.shape));
    RETURN_IF_ERROR(file.Read(name, halves.data(), entry.num_bytes()));
    Tensor tensor = Tensor::Empty(entry.shape, DType::kFloat32, Device::kCpu);
    for (size_t i = 0; i < halves.size(); ++i) tensor.data<float>()[i] = HalfToFloat(halves[i]);
    return tensor;
  }
  DType dtype = DType::kFloat32;
  if (entry.dtype == "BF16") {
    dtype = DType::kBf16;
  } else if (entry.dtype == "F64") {
    dtype = DType::kFloat64;
  } else if (entry.dtype != "F32") {
    return absl::InvalidArgumentError(absl::StrCat(file.path(), ": ", name, " has element type ",
                                                   entry.dtype,
                                                   "; expected F32, BF16, F16 or F64"));
  }
  Tensor tensor = Tensor::Empty(entry.shape, dtype, Device::kCpu);
  RETURN_IF_ERROR(file.Read(name, tensor.raw(), entry.num_bytes()));
  return tensor;
}

absl::Status LoadHfWeights(const std::string& dir, HfFamily family, Model* model) {
  ASSIGN_OR_RETURN(const HfWeights weights, HfWeights::Open(dir));
  std::set<std::string> used;
  for (const Parameter* parameter : model->parameters()) {
    const HfTensor wanted = HfTensorOf(*parameter, family);
    const std::string packed = PackedMlpName(weights, wanted.name);
    const std::string& name = packed.empty() ? wanted.name : packed;
    ASSIGN_OR_RETURN(Tensor tensor, weights.Read(name));
    used.insert(name);
    Shape expected = wanted.shape;
    if (!packed.empty()) expected[0] *= 2;
    if (tensor.shape() != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat(dir, ": ", name, " has shape ", ToString(tensor.shape()),
                       "; config.json makes it ", ToString(expected)));
    }
    if (!packed.empty()) {
      const int64_t half = wanted.shape[0];
      tensor =
          absl::EndsWith(wanted.name, kGate) ? tensor.Rows(0, half) : tensor.Rows(half, 2 * half);
    }
    parameter->Assign(tensor.Reshape(parameter->value.shape()));
  }
  for (const std::string& name : weights.names()) {
    const bool tied_head = name == "lm_head.weight" && model->config().tie_embeddings;
    if (used.count(name) > 0 || tied_head || IsBuffer(name)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(dir, ": the tensor ", name, " has no place in the model of config.json"));
  }
  return absl::OkStatus();
}

absl::StatusOr<HfModel> LoadHfFolder(const std::string& dir, Device device, DType compute,
                                     bool trainable) {
  ASSIGN_OR_RETURN(const HfConfig config, ReadHfConfigFile(dir));
  // A damaged file is found before memory for a whole model is taken.
  RETURN_IF_ERROR(HfWeights::Open(dir).status());
  HfModel result{.family = config.family,
                 .model = Model::Create(config.model, device, compute, trainable),
                 .warnings = config.warnings,
                 .kept = config.kept};
  RETURN_IF_ERROR(LoadHfWeights(dir, config.family, result.model.get()));
  return result;
}

}  // namespace wyvern
