#include "trainer/hf/hf_weights.h"

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/io/json.h"
#include "data/io/plain_name.h"
#include "kernels/runtime/half.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

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

}  // namespace

absl::StatusOr<DType> FloatTypeOf(const std::string& path, const std::string& name,
                                  const SafetensorsEntry& entry) {
  if (entry.dtype == "F32" || entry.dtype == "F16") return DType::kFloat32;
  if (entry.dtype == "BF16") return DType::kBf16;
  if (entry.dtype == "F64") return DType::kFloat64;
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", name, " has element type ",
                                                 entry.dtype, "; expected F32, BF16, F16 or F64"));
}

absl::StatusOr<HfWeights> HfWeights::Open(const std::string& dir) {
  HfWeights weights;
  weights.dir_ = dir;
  const std::string single = absl::StrCat(dir, "/model.safetensors");
  const std::string index = absl::StrCat(dir, "/model.safetensors.index.json");
  std::error_code ignored;
  if (std::filesystem::exists(single, ignored)) {
    ASSIGN_OR_RETURN(SafetensorsReader file, SafetensorsReader::Open(single));
    for (const auto& [name, entry] : file.tensors()) RETURN_IF_ERROR(weights.Add(name, 0));
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
    RETURN_IF_ERROR(weights.Add(name, it->second));
  }
  return weights;
}

absl::Status HfWeights::Add(const std::string& name, size_t file) {
  constexpr absl::string_view kText = "model.language_model.", kImages = "model.visual.";
  if (absl::StartsWith(name, kImages)) return absl::OkStatus();
  absl::string_view rest = name;
  const bool is_text = absl::ConsumePrefix(&rest, kText);
  const auto [place, is_new] =
      places_.try_emplace(is_text ? absl::StrCat("model.", rest) : name, Place{file, name});
  if (is_new) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(dir_, ": the weights hold ", place->second.name, " and ",
                                          name, ", which are one tensor; remove one of them"));
}

std::vector<std::string> HfWeights::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : places_) names.push_back(name);
  return names;
}

const std::string& HfWeights::PathOf(const std::string& name) const {
  return files_[places_.at(name).file].path();
}

absl::StatusOr<SafetensorsEntry> HfWeights::Find(const std::string& name) const {
  const auto it = places_.find(name);
  if (it == places_.end()) {
    return absl::NotFoundError(absl::StrCat(dir_, ": the weights lack the tensor ", name));
  }
  return files_[it->second.file].Find(it->second.name);
}

absl::StatusOr<Tensor> HfWeights::Read(const std::string& name) const {
  RETURN_IF_ERROR(Find(name).status());
  const Place& place = places_.at(name);
  return ReadFloatTensor(files_[place.file], place.name);
}

absl::StatusOr<Tensor> HfWeights::Read(const std::string& name, int64_t begin, int64_t end) const {
  RETURN_IF_ERROR(Find(name).status());
  const Place& place = places_.at(name);
  return ReadFloats(files_[place.file], place.name, begin, end);
}

absl::StatusOr<Tensor> ReadFloatTensor(const SafetensorsReader& file, const std::string& name) {
  ASSIGN_OR_RETURN(const SafetensorsEntry entry, file.Find(name));
  ASSIGN_OR_RETURN(const Tensor all, ReadFloats(file, name, 0, NumElements(entry.shape)));
  return all.Reshape(entry.shape);
}

}  // namespace wyvern
