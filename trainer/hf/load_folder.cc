#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "data/io/plain_name.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/status.h"
#include "trainer/hf/hf_folder.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {
namespace {

float HalfToFloat(uint16_t half) {
  const int exponent = (half >> 10) & 31, mantissa = half & 1023;
  const float sign = (half & 0x8000) != 0 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa != 0 ? std::nanf("") : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

// The type in which ReadFloats gives the elements.
absl::StatusOr<DType> FloatTypeOf(const std::string& path, const std::string& name,
                                  const SafetensorsEntry& entry) {
  if (entry.dtype == "F32" || entry.dtype == "F16") return DType::kFloat32;
  if (entry.dtype == "BF16") return DType::kBf16;
  if (entry.dtype == "F64") return DType::kFloat64;
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", name, " has element type ",
                                                 entry.dtype, "; expected F32, BF16, F16 or F64"));
}

// Elements [begin, end) of a tensor.
absl::StatusOr<Tensor> ReadFloats(const SafetensorsReader& file, const std::string& name,
                                  int64_t begin, int64_t end) {
  ASSIGN_OR_RETURN(const SafetensorsEntry entry, file.Find(name));
  ASSIGN_OR_RETURN(const DType dtype, FloatTypeOf(file.path(), name, entry));
  const Tensor tensor = Tensor::Empty({end - begin}, dtype, Device::kCpu);
  const int64_t size = SafetensorsDTypeSize(entry.dtype);
  const auto first = static_cast<uint64_t>(begin * size);
  const auto num_bytes = static_cast<size_t>((end - begin) * size);
  if (entry.dtype != "F16") {
    RETURN_IF_ERROR(file.ReadRange(name, first, tensor.raw(), num_bytes));
    return tensor;
  }
  std::vector<uint16_t> halves(end - begin);
  RETURN_IF_ERROR(file.ReadRange(name, first, halves.data(), num_bytes));
  for (size_t i = 0; i < halves.size(); ++i) tensor.data<float>()[i] = HalfToFloat(halves[i]);
  return tensor;
}

// Left over from readers' buffers; not weights.
bool IsLeftOver(const std::string& name) { return absl::EndsWith(name, "rotary_emb.inv_freq"); }

// Whether two tensors of one shape hold the same numbers.
absl::StatusOr<bool> Equal(const HfWeights& weights, const std::string& a, const std::string& b) {
  constexpr int64_t kPiece = int64_t{1} << 22;
  ASSIGN_OR_RETURN(const SafetensorsEntry entry_a, weights.Find(a));
  ASSIGN_OR_RETURN(const SafetensorsEntry entry_b, weights.Find(b));
  if (entry_a.shape != entry_b.shape) return false;
  const int64_t size = NumElements(entry_a.shape);
  for (int64_t begin = 0; begin < size; begin += kPiece) {
    const int64_t end = std::min(size, begin + kPiece);
    ASSIGN_OR_RETURN(const Tensor piece_a, weights.Read(a, begin, end));
    ASSIGN_OR_RETURN(const Tensor piece_b, weights.Read(b, begin, end));
    if (piece_a.To(DType::kFloat64).ToVector<double>() !=
        piece_b.To(DType::kFloat64).ToVector<double>()) {
      return false;
    }
  }
  return true;
}

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
  const Operation reading(absl::StrCat("reading ", dir, "/config.json"));
  const std::string path = absl::StrCat(dir, "/config.json");
  ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(path));
  absl::StatusOr<HfConfig> config = ReadHfConfig(json);
  if (!config.ok()) {
    return absl::Status(config.status().code(), absl::StrCat(dir, ": ", config.status().message()));
  }
  return config;
}

absl::Status SettleTiedHead(const HfWeights& weights, HfConfig* config) {
  if (!config->model.tie_embeddings) return absl::OkStatus();
  if (!config->family->ties_head) {
    if (!weights.Has(kHfHeadName)) return absl::OkStatus();
    config->model.tie_embeddings = false;
    config->warnings.push_back(absl::StrCat(
        "config.json says tie_word_embeddings, but transformers 5 does not tie the head of ",
        config->family->model_type, ": ", kHfHeadName, " is the head"));
    return absl::OkStatus();
  }
  const std::string embedding = config->family->embedding_name;
  if (!weights.Has(kHfHeadName) || !weights.Has(embedding)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const bool equal, Equal(weights, embedding, kHfHeadName));
  if (equal) return absl::OkStatus();
  config->model.tie_embeddings = false;
  config->warnings.push_back(absl::StrCat("config.json says tie_word_embeddings, but ", kHfHeadName,
                                          " differs from ", embedding,
                                          ": the head is not tied, as in transformers 5"));
  return absl::OkStatus();
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
  ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(index));
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (map == json.end() || !map->is_object()) {
    return absl::DataLossError(absl::StrCat(index, ": has no weight_map"));
  }
  std::map<std::string, size_t> opened;
  for (const auto& [name, file] : map->items()) {
    // Only names of files beside the index: a path could lead anywhere.
    if (!file.is_string() || !IsPlainName(file.get_ref<const std::string&>())) {
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

const std::string& HfWeights::PathOf(const std::string& name) const {
  return files_[file_of_.at(name)].path();
}

absl::StatusOr<SafetensorsEntry> HfWeights::Find(const std::string& name) const {
  const auto it = file_of_.find(name);
  if (it == file_of_.end()) {
    return absl::NotFoundError(absl::StrCat(dir_, ": the weights lack the tensor ", name));
  }
  return files_[it->second].Find(name);
}

absl::StatusOr<Tensor> HfWeights::Read(const std::string& name) const {
  RETURN_IF_ERROR(Find(name).status());
  return ReadFloatTensor(files_[file_of_.at(name)], name);
}

absl::StatusOr<Tensor> HfWeights::Read(const std::string& name, int64_t begin, int64_t end) const {
  RETURN_IF_ERROR(Find(name).status());
  return ReadFloats(files_[file_of_.at(name)], name, begin, end);
}

absl::StatusOr<Tensor> ReadFloatTensor(const SafetensorsReader& file, const std::string& name) {
  ASSIGN_OR_RETURN(const SafetensorsEntry entry, file.Find(name));
  ASSIGN_OR_RETURN(const Tensor all, ReadFloats(file, name, 0, NumElements(entry.shape)));
  return all.Reshape(entry.shape);
}

absl::StatusOr<std::unique_ptr<Model>> DeclareModel(const ModelConfig& config,
                                                    const HfWeights& weights) {
  const auto num_tensors = static_cast<int64_t>(weights.names().size());
  if (config.num_layers > num_tensors) {
    return absl::InvalidArgumentError(
        absl::StrCat(weights.dir(), ": config.json speaks of ", config.num_layers,
                     " layers, but the weights have ", num_tensors, " tensors in all"));
  }
  return Model::Declare(config);
}

absl::StatusOr<HfModelWeights> HfModelWeights::Match(const HfWeights& weights,
                                                     const HfFamily& family, Model* model) {
  HfModelWeights matched;
  matched.weights_ = &weights;
  for (const Parameter* p : model->parameters()) {
    RETURN_IF_ERROR(matched.Add(p->name, p->shape, HfTensorsOf(*p, model->config(), family)));
  }
  for (const ModelBuffer* buffer : model->buffers()) {
    RETURN_IF_ERROR(
        matched.Add(buffer->name, buffer->shape, HfTensorsOf(*buffer, model->config(), family)));
  }
  for (const std::string& name : weights.names()) {
    const bool tied_head = name == kHfHeadName && model->config().tie_embeddings;
    if (matched.used_.count(name) > 0 || tied_head || IsLeftOver(name)) continue;
    return absl::InvalidArgumentError(absl::StrCat(weights.PathOf(name), ": the tensor ", name,
                                                   " has no place in the model of config.json"));
  }
  return matched;
}

absl::Status HfModelWeights::Add(const std::string& name, const Shape& shape,
                                 std::vector<HfTensor> tensors) {
  Entry entry{.shape = shape};
  std::string last_path;
  for (HfTensor& tensor : tensors) {
    Part part{.stored = tensor.name};
    Shape expected = tensor.shape;
    const std::string packed = PackedMlpName(*weights_, tensor.name);
    if (!packed.empty()) {
      part.stored = packed;
      if (!absl::EndsWith(tensor.name, kGate)) part.first_element = NumElements(tensor.shape);
      expected[0] *= 2;
    } else if (!weights_->Has(tensor.name) && weights_->Has(tensor.other_name)) {
      part.stored = tensor.other_name;
    }
    if (tensor.slice > 0 && !weights_->Has(part.stored)) {
      return absl::NotFoundError(absl::StrCat(weights_->dir(), ": the weights lack the tensor ",
                                              part.stored, ", one of ", tensors.size(),
                                              " of its kind; the one before is in ", last_path));
    }
    ASSIGN_OR_RETURN(const SafetensorsEntry stored, weights_->Find(part.stored));
    const std::string& path = weights_->PathOf(part.stored);
    if (stored.shape != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": ", part.stored, " has shape ", ToString(stored.shape),
                       "; config.json makes it ", ToString(expected)));
    }
    RETURN_IF_ERROR(FloatTypeOf(path, part.stored, stored).status());
    if (stored.dtype == "F64") entry.dtype = DType::kFloat64;
    used_.insert(part.stored);
    last_path = path;
    part.tensor = std::move(tensor);
    entry.parts.push_back(std::move(part));
  }
  entries_[name] = std::move(entry);
  return absl::OkStatus();
}

const std::string& HfModelWeights::StoredName(const std::string& name, int64_t row) const {
  const std::vector<Part>& parts = entries_.at(name).parts;
  return parts[parts.front().tensor.slice < 0 ? 0 : static_cast<size_t>(row)].stored;
}

absl::StatusOr<Tensor> HfModelWeights::Rows(const std::string& name, int64_t begin,
                                            int64_t end) const {
  const Entry& entry = entries_.at(name);
  Shape shape = entry.shape;
  shape[0] = end - begin;
  const int64_t row = NumElements(entry.shape) / entry.shape[0];
  const Part& first = entry.parts.front();
  if (first.tensor.slice < 0 && first.tensor.rows.empty()) {
    ASSIGN_OR_RETURN(const Tensor read,
                     weights_->Read(first.stored, first.first_element + begin * row,
                                    first.first_element + end * row));
    return read.To(entry.dtype).Reshape(shape);
  }
  if (first.tensor.slice < 0) {
    ASSIGN_OR_RETURN(const Tensor read, weights_->Read(first.stored));
    return FromHfOrder(read.To(entry.dtype), first.tensor).Rows(begin, end);
  }
  const Tensor rows = Tensor::Empty(shape, entry.dtype, Device::kCpu);
  for (int64_t i = begin; i < end; ++i) {
    const Part& part = entry.parts[i];
    CHECK(part.tensor.slice == i, part.stored);
    ASSIGN_OR_RETURN(const Tensor read, weights_->Read(part.stored));
    rows.Rows(i - begin, i - begin + 1).Reshape(read.shape()).CopyFrom(read.To(entry.dtype));
  }
  return rows;
}

absl::Status LoadHfWeights(const std::string& dir, const HfFamily& family, Model* model) {
  ASSIGN_OR_RETURN(const HfWeights weights, HfWeights::Open(dir));
  ASSIGN_OR_RETURN(const HfModelWeights matched, HfModelWeights::Match(weights, family, model));
  for (const Parameter* p : model->parameters()) {
    ASSIGN_OR_RETURN(const Tensor values, matched.Rows(p->name, 0, p->shape[0]));
    p->Assign(values);
  }
  for (const ModelBuffer* buffer : model->buffers()) {
    ASSIGN_OR_RETURN(const Tensor values, matched.Rows(buffer->name, 0, buffer->shape[0]));
    buffer->value.CopyFrom(values);
  }
  return absl::OkStatus();
}

absl::StatusOr<HfModel> LoadHfFolder(const std::string& dir, Device device, DType compute,
                                     bool trainable) {
  const Operation loading(absl::StrCat("loading the folder ", dir));
  ASSIGN_OR_RETURN(HfConfig config, ReadHfConfigFile(dir));
  // A damaged file, or one of another model, is found before memory for the model is taken.
  ASSIGN_OR_RETURN(const HfWeights weights, HfWeights::Open(dir));
  RETURN_IF_ERROR(SettleTiedHead(weights, &config));
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> declared, DeclareModel(config.model, weights));
  RETURN_IF_ERROR(HfModelWeights::Match(weights, *config.family, declared.get()).status());
  HfModel result{.family = config.family,
                 .model = Model::Create(config.model, device, compute, trainable),
                 .warnings = config.warnings,
                 .kept = config.kept};
  RETURN_IF_ERROR(LoadHfWeights(dir, *config.family, result.model.get()));
  return result;
}

}  // namespace wyvern
