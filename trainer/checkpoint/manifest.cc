#include "trainer/checkpoint/manifest.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "data/io/json_members.h"
#include "data/io/plain_name.h"
#include "kernels/runtime/checked_math.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

constexpr char kFormatName[] = "wyvern-checkpoint";
// The limit of one tensor's slices. Every pair is compared.
constexpr size_t kMaxManifestSlices = 16384;
constexpr int64_t kMaxStep = int64_t{1} << 53;  // of any configuration
constexpr DType kDTypes[] = {DType::kFloat64, DType::kFloat32, DType::kBf16,
                             DType::kInt32,   DType::kInt64,   DType::kUint8};

std::string FirstLine(uint32_t crc) {
  return absl::StrFormat("{\"manifest_crc32\": \"%08x\",\n", crc);
}

absl::StatusOr<Json> ParseManifestJson(const std::string& text, const std::string& origin) {
  absl::StatusOr<Json> json = ParseJson(text, origin);
  if (json.ok()) return json;
  return absl::DataLossError(absl::StrCat(absl::string_view(json.status().message()),
                                          "; the manifest is damaged or was cut off"));
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

bool Overlap(const ManifestSlice& a, const ManifestSlice& b) {
  for (size_t i = 0; i < a.start.size(); ++i) {
    if (a.start[i] >= b.start[i] + b.size[i] || b.start[i] >= a.start[i] + a.size[i]) return false;
  }
  return true;
}

// Checks that the slices lie in the tensor, do not overlap, and cover it.
absl::Status CheckTiling(const ManifestTensor& entry, const JsonMembers& json) {
  const std::string tensor = absl::StrCat("the tensor \"", entry.tensor.name, "\"");
  int64_t covered = 0;
  for (const ManifestSlice& slice : entry.slices) covered += NumElements(slice.size);
  for (size_t i = 0; i < entry.slices.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (Overlap(entry.slices[i], entry.slices[j])) {
        return json.Expected("slices", absl::StrCat("blocks of ", tensor, " that are apart (", j,
                                                    " and ", i, " overlap)"));
      }
    }
  }
  const int64_t all = NumElements(entry.tensor.shape);
  if (covered == all) return absl::OkStatus();
  return json.Expected("slices", absl::StrCat("blocks that cover ", tensor, " (", covered, " of ",
                                              all, " elements)"));
}

absl::StatusOr<ManifestSlice> ParseSlice(const JsonMembers& json, const Shape& shape,
                                         const std::set<std::string>& shards) {
  ManifestSlice slice;
  ASSIGN_OR_RETURN(slice.shard, json.String("shard"));
  ASSIGN_OR_RETURN(slice.dataset, json.String("dataset"));
  ASSIGN_OR_RETURN(slice.start, json.Counts("start"));
  ASSIGN_OR_RETURN(slice.size, json.Counts("size"));
  ASSIGN_OR_RETURN(const std::string crc, json.String("crc32"));
  if (shards.count(slice.shard) == 0) return json.Expected("shard", "a file of the list of shards");
  if (crc.size() != 8 || crc.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return json.Expected("crc32", "eight hexadecimal digits");
  }
  slice.crc32 = static_cast<uint32_t>(std::stoul(crc, nullptr, 16));
  bool inside = slice.start.size() == shape.size() && slice.size.size() == shape.size();
  for (size_t i = 0; inside && i < shape.size(); ++i) {
    inside = slice.size[i] > 0 && slice.start[i] <= shape[i] &&
             slice.size[i] <= shape[i] - slice.start[i];
  }
  if (!inside) {
    return json.Expected("size", absl::StrCat("a block with elements inside of ", ToString(shape)));
  }
  return slice;
}

// Slices may be of any place in the tensor.
absl::StatusOr<ManifestTensor> ParseTensor(const JsonMembers& json,
                                           const std::set<std::string>& shards) {
  ManifestTensor entry;
  ASSIGN_OR_RETURN(entry.tensor.name, json.String("name"));
  ASSIGN_OR_RETURN(entry.tensor.shape, json.Counts("shape"));
  ASSIGN_OR_RETURN(const std::string dtype, json.String("dtype"));
  const auto found = std::find_if(std::begin(kDTypes), std::end(kDTypes),
                                  [&](DType candidate) { return dtype == Name(candidate); });
  if (found == std::end(kDTypes)) return json.Expected("dtype", "a type of tensors");
  entry.tensor.dtype = *found;
  const std::optional<int64_t> elements = CheckedProduct(entry.tensor.shape);
  if (!elements.has_value() || !CheckedProduct({*elements, SizeOf(*found)}).has_value()) {
    return json.Expected("shape", "a size that can be counted");
  }
  ASSIGN_OR_RETURN(const Json* slices, json.List("slices"));
  if (slices->size() > kMaxManifestSlices) {
    return json.Expected("slices", absl::StrCat("at most ", kMaxManifestSlices));
  }
  for (size_t i = 0; i < slices->size(); ++i) {
    ASSIGN_OR_RETURN(ManifestSlice slice,
                     ParseSlice(json.At("slices", i), entry.tensor.shape, shards));
    entry.slices.push_back(std::move(slice));
  }
  return entry;
}

absl::Status ParseShards(const JsonMembers& json, Manifest* manifest,
                         std::set<std::string>* files) {
  ASSIGN_OR_RETURN(const Json* shards, json.List("shards"));
  for (size_t i = 0; i < shards->size(); ++i) {
    const JsonMembers item = json.At("shards", i);
    ManifestShard shard;
    ASSIGN_OR_RETURN(shard.file, item.String("file"));
    ASSIGN_OR_RETURN(shard.num_bytes, item.Count("bytes"));
    // A path could lead anywhere.
    if (!IsPlainName(shard.file)) return item.Expected("file", "the name of a file in the folder");
    if (!files->insert(shard.file).second) return item.Expected("file", "a name of its own");
    manifest->shards.push_back(std::move(shard));
  }
  return absl::OkStatus();
}

// Slices larger than their file would take memory that nothing fills.
absl::Status CheckBytes(const Manifest& manifest, const JsonMembers& json) {
  std::map<std::string, int64_t> left;
  for (const ManifestShard& shard : manifest.shards) left[shard.file] = shard.num_bytes;
  for (size_t i = 0; i < manifest.tensors.size(); ++i) {
    const ManifestTensor& entry = manifest.tensors[i];
    for (size_t j = 0; j < entry.slices.size(); ++j) {
      int64_t& bytes = left[entry.slices[j].shard];
      bytes -= std::min(bytes + 1, NumElements(entry.slices[j].size) * SizeOf(entry.tensor.dtype));
      if (bytes < 0) {
        return json.At("tensors", i)
            .At("slices", j)
            .Expected("size",
                      absl::StrCat("what fits into ", entry.slices[j].shard, " beside the others"));
      }
    }
  }
  return absl::OkStatus();
}

// The members "shards" and "tensors", without the braces around them.
std::string Contents(const Manifest& manifest) {
  std::string text = "\"shards\": [";
  const char* separator = "\n";
  for (const ManifestShard& shard : manifest.shards) {
    absl::StrAppend(&text, separator, JsonText({{"file", shard.file}, {"bytes", shard.num_bytes}}));
    separator = ",\n";
  }
  absl::StrAppend(&text, "\n],\n\"tensors\": [");
  separator = "\n";
  for (const ManifestTensor& tensor : manifest.tensors) {
    absl::StrAppend(&text, separator, JsonText(TensorToJson(tensor)));
    separator = ",\n";
  }
  absl::StrAppend(&text, "\n]");
  return text;
}

}  // namespace

std::string ManifestToText(const Manifest& manifest) {
  const std::string rest = absl::StrCat(
      "\"format\": \"", kFormatName, "\",\n\"format_version\": ", kCheckpointFormatVersion,
      ",\n\"step\": ", manifest.step, ",\n\"meta\": ", JsonText(manifest.meta), ",\n",
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
  ASSIGN_OR_RETURN(const Json json, ParseManifestJson(text, path));
  const JsonMembers members(json, path);
  const absl::StatusOr<std::string> format = members.String("format");
  if (!format.ok() || *format != kFormatName) {
    return damaged("it does not say that it is a checkpoint's manifest");
  }
  ASSIGN_OR_RETURN(const int64_t version, members.Count("format_version"));
  if (version != kCheckpointFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": expected format version ", kCheckpointFormatVersion, ", found ",
                     version, "; read it with the version of wyvern that wrote it"));
  }
  Manifest manifest;
  ASSIGN_OR_RETURN(manifest.step, members.Count("step"));
  if (manifest.step > kMaxStep) return members.Expected("step", "the number of a step");
  ASSIGN_OR_RETURN(const Json* meta, members.Any("meta"));
  ASSIGN_OR_RETURN(const Json* tensors, members.List("tensors"));
  manifest.meta = *meta;
  std::set<std::string> files;
  RETURN_IF_ERROR(ParseShards(members, &manifest, &files));
  std::set<std::string> names;
  for (size_t i = 0; i < tensors->size(); ++i) {
    const JsonMembers item = members.At("tensors", i);
    ASSIGN_OR_RETURN(ManifestTensor entry, ParseTensor(item, files));
    RETURN_IF_ERROR(CheckTiling(entry, item));
    if (!names.insert(entry.tensor.name).second) return item.Expected("name", "a name of its own");
    manifest.tensors.push_back(std::move(entry));
  }
  RETURN_IF_ERROR(CheckBytes(manifest, members));
  return manifest;
}

std::string ManifestPartToText(const Manifest& part) {
  return absl::StrCat("{", Contents(part), "}\n");
}

absl::StatusOr<Manifest> ManifestPartFromText(const std::string& text) {
  const std::string origin = "a rank's part of the manifest";
  ASSIGN_OR_RETURN(const Json json, ParseManifestJson(text, origin));
  const JsonMembers members(json, origin);
  Manifest part;
  std::set<std::string> files;
  RETURN_IF_ERROR(ParseShards(members, &part, &files));
  ASSIGN_OR_RETURN(const Json* tensors, members.List("tensors"));
  for (size_t i = 0; i < tensors->size(); ++i) {
    ASSIGN_OR_RETURN(ManifestTensor entry, ParseTensor(members.At("tensors", i), files));
    part.tensors.push_back(std::move(entry));
  }
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
  const Operation reading(absl::StrCat("reading the manifest of the checkpoint ", folder));
  const std::string path = absl::StrCat(folder, "/", kManifestName);
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    return absl::NotFoundError(absl::StrCat("checkpoint ", folder, ": there is no such folder"));
  }
  if (!std::filesystem::is_regular_file(path, error)) {  // a pipe would be waited for
    if (std::filesystem::exists(absl::StrCat(folder, "/config.json"), error)) {
      return absl::InvalidArgumentError(absl::StrCat(
          folder, ": a Hugging Face folder, no checkpoint: wyvern import makes one of it"));
    }
    return absl::DataLossError(absl::StrCat("checkpoint ", folder, ": ", kManifestName,
                                            " is missing, so the folder is not a complete "
                                            "checkpoint"));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFileOf(kManifestFile, path));
  ASSIGN_OR_RETURN(Manifest manifest, ManifestFromText(text, path));
  RETURN_IF_ERROR(CheckShards(folder, manifest));
  return manifest;
}

absl::StatusOr<std::string> ManifestChecksum(const std::string& folder) {
  ASSIGN_OR_RETURN(const std::string text,
                   ReadFileOf(kManifestFile, absl::StrCat(folder, "/", kManifestName)));
  // ReadManifest has compared the first line.
  return text.substr(FirstLine(0).find("00000000"), 8);
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
