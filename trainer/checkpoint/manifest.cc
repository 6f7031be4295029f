#include "trainer/checkpoint/manifest.h"

#include <filesystem>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/file.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

constexpr char kFormatName[] = "wyvern-checkpoint";
constexpr DType kDTypes[] = {DType::kFloat64, DType::kFloat32, DType::kBf16,
                             DType::kInt32,   DType::kInt64,   DType::kUint8};

std::string FirstLine(uint32_t crc) {
  return absl::StrFormat("{\"manifest_crc32\": \"%08x\",\n", crc);
}

// On one line. Bytes that are not UTF-8 become U+FFFD.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json SliceToJson(const ManifestSlice& slice) {
  return {{"shard", slice.shard},
          {"dataset", slice.dataset},
          {"start", slice.start},
          {"size", slice.size},
          {"crc32", absl::StrFormat("%08x", slice.crc32)}};
}

Json TensorToJson(const ManifestTensor& entry) {
  Json json = {{"name", entry.tensor.name},
               {"shape", entry.tensor.shape},
               {"dtype", Name(entry.tensor.dtype)},
               {"slices", Json::array()}};
  for (const ManifestSlice& slice : entry.slices) json["slices"].push_back(SliceToJson(slice));
  return json;
}

// Readers of single members: false if the member is missing or of another kind.
bool Get(const Json& json, const char* key, std::string* value) {
  if (!json.is_object() || !json.contains(key) || !json[key].is_string()) return false;
  *value = json[key].get<std::string>();
  return true;
}

bool Get(const Json& json, const char* key, int64_t* value) {
  if (!json.is_object() || !json.contains(key) || !json[key].is_number_integer()) return false;
  *value = json[key].get<int64_t>();
  return *value >= 0;
}

bool Get(const Json& json, const char* key, Shape* value) {
  if (!json.is_object() || !json.contains(key) || !json[key].is_array()) return false;
  for (const Json& size : json[key]) {
    if (!size.is_number_integer() || size.get<int64_t>() < 0) return false;
    value->push_back(size.get<int64_t>());
  }
  return true;
}

bool GetCrc(const Json& json, uint32_t* value) {
  std::string text;
  if (!Get(json, "crc32", &text) || text.size() != 8 ||
      text.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return false;
  }
  *value = static_cast<uint32_t>(std::stoul(text, nullptr, 16));
  return true;
}

bool Overlap(const ManifestSlice& a, const ManifestSlice& b) {
  for (size_t i = 0; i < a.start.size(); ++i) {
    if (a.start[i] >= b.start[i] + b.size[i] || b.start[i] >= a.start[i] + a.size[i]) return false;
  }
  return true;
}

// Whether the slices lie in the tensor, do not overlap, and cover it.
bool Tile(const ManifestTensor& entry) {
  const Shape& shape = entry.tensor.shape;
  int64_t covered = 0;
  for (const ManifestSlice& slice : entry.slices) {
    if (slice.start.size() != shape.size() || slice.size.size() != shape.size()) return false;
    for (size_t i = 0; i < shape.size(); ++i) {
      if (slice.start[i] > shape[i] || slice.size[i] > shape[i] - slice.start[i]) return false;
    }
    covered += NumElements(slice.size);
  }
  for (size_t i = 0; i < entry.slices.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (Overlap(entry.slices[i], entry.slices[j])) return false;
    }
  }
  return covered == NumElements(shape);
}

// Slices may be of any place in the tensor.
bool ParseTensor(const Json& json, const std::set<std::string>& shards, ManifestTensor* entry) {
  std::string dtype;
  if (!Get(json, "name", &entry->tensor.name) || !Get(json, "shape", &entry->tensor.shape) ||
      !Get(json, "dtype", &dtype) || !json.contains("slices") || !json["slices"].is_array()) {
    return false;
  }
  bool known = false;
  for (const DType candidate : kDTypes) {
    if (dtype == Name(candidate)) {
      entry->tensor.dtype = candidate;
      known = true;
    }
  }
  if (!known) return false;
  // The product below must not overflow.
  double elements = 1;
  for (const int64_t size : entry->tensor.shape) elements *= static_cast<double>(size);
  if (elements > 1e15) return false;
  for (const Json& item : json["slices"]) {
    ManifestSlice slice;
    if (!Get(item, "shard", &slice.shard) || !Get(item, "dataset", &slice.dataset) ||
        !Get(item, "start", &slice.start) || !Get(item, "size", &slice.size) ||
        !GetCrc(item, &slice.crc32) || shards.count(slice.shard) == 0) {
      return false;
    }
    entry->slices.push_back(std::move(slice));
  }
  return true;
}

bool ParseShards(const Json& json, Manifest* manifest, std::set<std::string>* files) {
  if (!json.is_object() || !json.contains("shards") || !json["shards"].is_array()) return false;
  for (const Json& item : json["shards"]) {
    ManifestShard shard;
    if (!Get(item, "file", &shard.file) || !Get(item, "bytes", &shard.num_bytes) ||
        shard.file.empty() || shard.file.find('/') != std::string::npos ||
        !files->insert(shard.file).second) {
      return false;
    }
    manifest->shards.push_back(std::move(shard));
  }
  return true;
}

// The members "shards" and "tensors", without the braces around them.
std::string Contents(const Manifest& manifest) {
  std::string text = "\"shards\": [";
  const char* separator = "\n";
  for (const ManifestShard& shard : manifest.shards) {
    absl::StrAppend(&text, separator, Dump({{"file", shard.file}, {"bytes", shard.num_bytes}}));
    separator = ",\n";
  }
  absl::StrAppend(&text, "\n],\n\"tensors\": [");
  separator = "\n";
  for (const ManifestTensor& tensor : manifest.tensors) {
    absl::StrAppend(&text, separator, Dump(TensorToJson(tensor)));
    separator = ",\n";
  }
  absl::StrAppend(&text, "\n]");
  return text;
}

}  // namespace

std::string ManifestToText(const Manifest& manifest) {
  const std::string rest = absl::StrCat(
      "\"format\": \"", kFormatName, "\",\n\"format_version\": ", kCheckpointFormatVersion,
      ",\n\"step\": ", manifest.step, ",\n\"meta\": ", Dump(manifest.meta), ",\n",
      Contents(manifest), "}\n");
  return absl::StrCat(FirstLine(Crc32(rest.data(), rest.size())), rest);
}

absl::StatusOr<Manifest> ManifestFromText(const std::string& text, const std::string& path) {
  const auto damaged = [&](absl::string_view what) {
    return absl::DataLossError(
        absl::StrCat(path, ": ", what, "; the manifest is damaged or was cut off"));
  };
  const size_t head = FirstLine(0).size();
  if (text.size() < head) return damaged("it is too short");
  if (text.substr(0, head) != FirstLine(Crc32(text.data() + head, text.size() - head))) {
    return damaged("the checksum in its first line is not that of the text");
  }
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  std::string format;
  int64_t version = 0;
  if (!Get(json, "format", &format) || format != kFormatName ||
      !Get(json, "format_version", &version)) {
    return damaged("it does not say that it is a checkpoint's manifest");
  }
  if (version != kCheckpointFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": expected format version ", kCheckpointFormatVersion, ", found ",
                     version, "; read it with the version of wyvern that wrote it"));
  }
  Manifest manifest;
  if (!Get(json, "step", &manifest.step) || !json.contains("meta") || !json.contains("tensors") ||
      !json["tensors"].is_array()) {
    return damaged("a member is missing");
  }
  manifest.meta = json["meta"];
  std::set<std::string> files;
  if (!ParseShards(json, &manifest, &files)) return damaged("its list of shards cannot be read");
  std::set<std::string> names;
  for (const Json& item : json["tensors"]) {
    ManifestTensor entry;
    if (!ParseTensor(item, files, &entry) || !Tile(entry) ||
        !names.insert(entry.tensor.name).second) {
      return damaged(absl::StrCat(
          "its entry of tensor ",
          item.is_object() && item.contains("name") ? Dump(item["name"]) : std::string("?"),
          " does not describe one"));
    }
    manifest.tensors.push_back(std::move(entry));
  }
  return manifest;
}

std::string ManifestPartToText(const Manifest& part) {
  return absl::StrCat("{", Contents(part), "}\n");
}

absl::StatusOr<Manifest> ManifestPartFromText(const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  Manifest part;
  std::set<std::string> files;
  bool good = ParseShards(json, &part, &files) && json.contains("tensors");
  for (size_t i = 0; good && i < json["tensors"].size(); ++i) {
    good = ParseTensor(json["tensors"][i], files, &part.tensors.emplace_back());
  }
  if (!good) return absl::DataLossError("a rank's part of the manifest cannot be read");
  return part;
}

absl::Status AddManifestPart(const Manifest& part, Manifest* manifest) {
  manifest->shards.insert(manifest->shards.end(), part.shards.begin(), part.shards.end());
  std::map<std::string, size_t> places;
  for (size_t i = 0; i < manifest->tensors.size(); ++i) {
    places[manifest->tensors[i].tensor.name] = i;
  }
  for (const ManifestTensor& entry : part.tensors) {
    const CheckpointTensor& tensor = entry.tensor;
    const auto [place, is_new] = places.emplace(tensor.name, manifest->tensors.size());
    if (is_new) manifest->tensors.push_back({tensor, {}});
    ManifestTensor& whole = manifest->tensors[place->second];
    if (whole.tensor.shape != tensor.shape || whole.tensor.dtype != tensor.dtype) {
      return absl::DataLossError(absl::StrCat("the ranks disagree about tensor '", tensor.name,
                                              "': ", ToString(whole.tensor.shape), " and ",
                                              ToString(tensor.shape)));
    }
    whole.slices.insert(whole.slices.end(), entry.slices.begin(), entry.slices.end());
  }
  return absl::OkStatus();
}

absl::Status CheckShards(const std::string& folder, const Manifest& manifest) {
  std::error_code error;
  for (const ManifestShard& shard : manifest.shards) {
    const std::string file = absl::StrCat(folder, "/", shard.file);
    if (!std::filesystem::exists(file, error)) {
      return absl::DataLossError(
          absl::StrCat("checkpoint ", folder, ": the shard ", shard.file, " is missing"));
    }
    const auto size = static_cast<int64_t>(std::filesystem::file_size(file, error));
    if (error || size != shard.num_bytes) {
      return absl::DataLossError(absl::StrCat("checkpoint ", folder, ": the shard ", shard.file,
                                              " should have ", shard.num_bytes, " bytes but has ",
                                              error ? int64_t{-1} : size));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Manifest> ReadManifest(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/", kManifestName);
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    return absl::NotFoundError(absl::StrCat("checkpoint ", folder, ": there is no such folder"));
  }
  if (!std::filesystem::exists(path, error)) {
    return absl::DataLossError(absl::StrCat("checkpoint ", folder, ": ", kManifestName,
                                            " is missing, so the folder is not a complete "
                                            "checkpoint"));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  ASSIGN_OR_RETURN(Manifest manifest, ManifestFromText(text, path));
  RETURN_IF_ERROR(CheckShards(folder, manifest));
  return manifest;
}

Hdf5Type StorageType(DType dtype) {
  switch (dtype) {
    case DType::kFloat64:
      return Hdf5Type::kFloat64;
    case DType::kFloat32:
      return Hdf5Type::kFloat32;
    case DType::kBf16:
      return Hdf5Type::kUint16;
    case DType::kInt32:
      return Hdf5Type::kInt32;
    case DType::kInt64:
      return Hdf5Type::kInt64;
    case DType::kUint8:
      return Hdf5Type::kUint8;
  }
  CHECK(false, "no storage for ", Name(dtype));
  return Hdf5Type::kUint8;
}

}  // namespace wyvern
