#include "trainer/hf/save_folder.h"

#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "data/io/output.h"
#include "data/io/safetensors.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/read.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {
namespace {

// A tensor, the pieces in which the folder holds it, and the parameters or buffers that lie in it.
struct Stored {
  struct Source {
    std::string name;
    Shape shape;
    HfTensor tensor;
  };
  std::string name;
  Shape shape;
  DType dtype;
  std::vector<HfTensor::Piece> pieces;
  std::vector<Source> sources;

  Shape ShapeOf(const HfTensor::Piece& piece) const {
    Shape of_piece = shape;
    of_piece[0] = piece.num_rows;
    return of_piece;
  }
  int64_t num_bytes() const { return NumElements(shape) * SizeOf(dtype); }
};

// Everything, in the order of the model.
std::vector<Stored> TensorsOf(Model* model, const HfFamily& family, bool bf16) {
  std::vector<Stored> all;
  std::map<std::string, size_t> places;
  const auto add = [&](const std::string& name, const Shape& shape, HfTensor tensor, bool keep) {
    const auto [place, is_new] = places.emplace(tensor.name, all.size());
    if (is_new) {
      all.push_back({.name = tensor.name,
                     .shape = tensor.shape,
                     .dtype = bf16 && !keep ? DType::kBf16 : DType::kFloat32,
                     .pieces = tensor.pieces});
      std::vector<HfTensor::Piece>& pieces = all.back().pieces;
      if (pieces.empty()) pieces = {{tensor.name, tensor.shape[0]}};
    }
    all[place->second].sources.push_back({name, shape, std::move(tensor)});
  };
  for (const Parameter* p : model->parameters()) {
    const bool keep = p->kind == ParameterKind::kALog || p->kind == ParameterKind::kDtBias;
    for (HfTensor& tensor : HfTensorsOf(*p, model->config(), family)) {
      add(p->name, p->shape, std::move(tensor), keep);
    }
    const bool tied = model->config().tie_embeddings && p->name == "embedding.weight";
    if (tied && !family.ties_head) {
      add(p->name, p->shape, {.name = kHfHeadName, .shape = p->shape}, keep);
    }
  }
  for (const ModelBuffer* buffer : model->buffers()) {
    for (HfTensor& tensor : HfTensorsOf(*buffer, model->config(), family)) {
      add(buffer->name, buffer->shape, std::move(tensor), /*keep=*/true);
    }
  }
  return all;
}

// In files of at most `max_bytes`, a larger tensor in one of its own.
std::vector<std::vector<Stored>> DivideIntoShards(std::vector<Stored> tensors, int64_t max_bytes) {
  std::vector<std::vector<Stored>> shards(1);
  int64_t bytes = 0;
  for (Stored& stored : tensors) {
    if (!shards.back().empty() && bytes + stored.num_bytes() > max_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += stored.num_bytes();
    shards.back().push_back(std::move(stored));
  }
  return shards;
}

// The tensor that was read last: the experts' tensors come one after another from one parameter.
struct Read {
  std::string name;
  Tensor values;
};

absl::Status WriteShard(const std::string& path, const std::vector<Stored>& shard,
                        const HfSource& source, Read* last) {
  std::vector<SafetensorsSpec> specs;
  for (const Stored& stored : shard) {
    for (const HfTensor::Piece& piece : stored.pieces) {
      specs.push_back({.name = piece.name,
                       .dtype = stored.dtype == DType::kBf16 ? "BF16" : "F32",
                       .shape = stored.ShapeOf(piece)});
    }
  }
  ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(path, specs));
  for (const Stored& stored : shard) {
    const Tensor whole = Tensor::Empty(stored.shape, stored.dtype, Device::kCpu);
    for (const Stored::Source& part : stored.sources) {
      if (last->name != part.name) {
        *last = {};  // one parameter at a time
        ASSIGN_OR_RETURN(const Tensor read, source(part.name, part.shape));
        *last = {.name = part.name, .values = read.To(Device::kCpu)};
      }
      const int64_t slice = part.tensor.slice;
      const Tensor values = slice < 0 ? last->values : last->values.Rows(slice, slice + 1);
      CopyToHf(values.To(stored.dtype), part.tensor, whole);
    }
    int64_t row = 0;
    for (const HfTensor::Piece& piece : stored.pieces) {
      const Tensor part = whole.Rows(row, row + piece.num_rows);
      RETURN_IF_ERROR(writer.Write(piece.name, part.raw(), part.nbytes()));
      row += piece.num_rows;
    }
  }
  return writer.Finish();
}

// Values for which the family's files have no place must be zero, as HfTensorsOf says.
absl::Status CheckLeftOut(Model* model, const HfFamily& family, const HfSource& source) {
  for (const ModelBuffer* buffer : model->buffers()) {
    if (!HfTensorsOf(*buffer, model->config(), family).empty()) continue;
    ASSIGN_OR_RETURN(const Tensor read, source(buffer->name, buffer->shape));
    for (const double x : read.To(Device::kCpu).To(DType::kFloat64).ToVector<double>()) {
      if (x == 0) continue;
      return absl::FailedPreconditionError(absl::StrCat(
          buffer->name, " is not zero, and a Hugging Face ", family.model_type,
          " folder has no place for it: train such a model with train.balance_rate: 0, or export "
          "it with --family wyvern"));
    }
  }
  return absl::OkStatus();
}

absl::Status WriteFolder(const ModelConfig& model, const HfSource& source, const std::string& dir,
                         const HfConfigFile& config, const HfExportOptions& options) {
  const bool bf16 = options.config.dtype == "bfloat16";
  const std::unique_ptr<Model> declared = Model::Declare(model);
  RETURN_IF_ERROR(CheckLeftOut(declared.get(), *config.family, source));
  const auto shards =
      DivideIntoShards(TensorsOf(declared.get(), *config.family, bf16), options.max_shard_bytes);
  Read last;
  nlohmann::json weight_map = nlohmann::json::object();
  int64_t total_bytes = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shards.size() == 1 ? "model.safetensors"
                                                : absl::StrFormat("model-%05d-of-%05d.safetensors",
                                                                  i + 1, shards.size());
    RETURN_IF_ERROR(WriteShard(absl::StrCat(dir, "/", name), shards[i], source, &last));
    for (const Stored& stored : shards[i]) {
      for (const HfTensor::Piece& piece : stored.pieces) weight_map[piece.name] = name;
      total_bytes += stored.num_bytes();
    }
  }
  if (shards.size() > 1) {
    const nlohmann::json index = {{"metadata", {{"total_size", total_bytes}}},
                                  {"weight_map", weight_map}};
    RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(dir, "/model.safetensors.index.json"),
                                        JsonText(index, 2) + "\n"));
  }
  std::map<std::string, std::string> files = options.more_files;
  if (config.family->files != nullptr) files.merge(config.family->files(config.config));
  for (const auto& [name, content] : files) {
    RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(dir, "/", name), content));
  }
  return WriteFileAtomically(absl::StrCat(dir, "/config.json"), JsonText(config.config, 2) + "\n");
}

}  // namespace

HfSource SourceOfCheckpoint(const std::string& path) {
  return [path](const std::string& name, const Shape& shape) -> absl::StatusOr<Tensor> {
    const Tensor values = Tensor::Empty(shape, DType::kFloat32, Device::kCpu);
    RETURN_IF_ERROR(
        ReadCheckpoint(path, {{absl::StrCat("model/", name), values}}, {.convert_floats = true}));
    return values;
  };
}

absl::Status SaveHfFolder(const ModelConfig& model, const HfSource& source, const std::string& dir,
                          const HfExportOptions& options) {
  ASSIGN_OR_RETURN(const HfConfigFile config, WriteHfConfig(model, options.config));
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path target = fs::path(dir).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // "out/"
  if (fs::exists(target, error) &&
      !(fs::is_directory(target, error) && fs::is_empty(target, error))) {
    return absl::AlreadyExistsError(
        absl::StrCat(dir, ": exists and is not an empty folder; choose another or remove it"));
  }
  if (target.has_parent_path()) RETURN_IF_ERROR(MakeFolders(target.parent_path().string()));
  ASSIGN_OR_RETURN(Output output, Output::Claim(target.string()));
  RETURN_IF_ERROR(MakeFolders(output.temporary()));
  RETURN_IF_ERROR(WriteFolder(model, source, output.temporary(), config, options));
  return output.Commit();
}

HfSource SourceOfModel(Model* model) {
  std::map<std::string, Tensor> tensors;
  for (const Parameter* p : model->parameters()) {
    tensors[p->name] = p->master.defined() ? p->master : p->value;
  }
  for (const ModelBuffer* buffer : model->buffers()) tensors[buffer->name] = buffer->value;
  return [tensors = std::move(tensors)](const std::string& name,
                                        const Shape&) -> absl::StatusOr<Tensor> {
    return tensors.at(name);
  };
}

absl::Status SaveHfFolder(Model* model, const std::string& dir, const HfExportOptions& options) {
  return SaveHfFolder(model->config(), SourceOfModel(model), dir, options);
}

}  // namespace wyvern
