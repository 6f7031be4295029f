#include "trainer/hf/save_folder.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "data/io/output.h"
#include "data/io/safetensors.h"
#include "kernels/runtime/status.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {
namespace {

struct Stored {
  std::string source;  // parameter or buffer
  Shape source_shape;
  HfTensor tensor;
  DType dtype;

  int64_t num_bytes() const { return NumElements(tensor.shape) * SizeOf(dtype); }
};

// Everything in files of at most `max_bytes`, a larger tensor in one of its own.
std::vector<std::vector<Stored>> DivideIntoShards(Model* model, const HfFamily& family, bool bf16,
                                                  int64_t max_bytes) {
  std::vector<std::vector<Stored>> shards(1);
  int64_t bytes = 0;
  const auto add = [&](const std::string& name, const Shape& shape, HfTensor tensor, bool keep) {
    Stored stored{.source = name,
                  .source_shape = shape,
                  .tensor = std::move(tensor),
                  .dtype = bf16 && !keep ? DType::kBf16 : DType::kFloat32};
    if (!shards.back().empty() && bytes + stored.num_bytes() > max_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += stored.num_bytes();
    shards.back().push_back(std::move(stored));
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
    specs.push_back({.name = stored.tensor.name,
                     .dtype = stored.dtype == DType::kBf16 ? "BF16" : "F32",
                     .shape = stored.tensor.shape});
  }
  ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(path, specs));
  for (const Stored& stored : shard) {
    if (last->name != stored.source) {
      *last = {};  // one parameter at a time
      ASSIGN_OR_RETURN(const Tensor read, source(stored.source, stored.source_shape));
      *last = {.name = stored.source, .values = read.To(Device::kCpu)};
    }
    const int64_t slice = stored.tensor.slice;
    const Tensor part = slice < 0 ? last->values : last->values.Rows(slice, slice + 1);
    const Tensor values = ToHfOrder(part, stored.tensor).To(stored.dtype);
    RETURN_IF_ERROR(writer.Write(stored.tensor.name, values.raw(), values.nbytes()));
  }
  return writer.Finish();
}

absl::Status WriteFolder(const ModelConfig& model, const HfSource& source, const std::string& dir,
                         const HfConfigFile& config, const HfExportOptions& options) {
  const bool bf16 = options.config.dtype == "bfloat16";
  const std::unique_ptr<Model> declared = Model::Declare(model);
  const auto shards =
      DivideIntoShards(declared.get(), *config.family, bf16, options.max_shard_bytes);
  Read last;
  nlohmann::json weight_map = nlohmann::json::object();
  int64_t total_bytes = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shards.size() == 1 ? "model.safetensors"
                                                : absl::StrFormat("model-%05d-of-%05d.safetensors",
                                                                  i + 1, shards.size());
    RETURN_IF_ERROR(WriteShard(absl::StrCat(dir, "/", name), shards[i], source, &last));
    for (const Stored& stored : shards[i]) {
      weight_map[stored.tensor.name] = name;
      total_bytes += stored.num_bytes();
    }
  }
  if (shards.size() > 1) {
    const nlohmann::json index = {{"metadata", {{"total_size", total_bytes}}},
                                  {"weight_map", weight_map}};
    RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(dir, "/model.safetensors.index.json"),
                                        JsonText(index, 2) + "\n"));
  }
  for (const auto& [name, content] : options.more_files) {
    RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(dir, "/", name), content));
  }
  return WriteFileAtomically(absl::StrCat(dir, "/config.json"), JsonText(config.config, 2) + "\n");
}

}  // namespace

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

absl::Status SaveHfFolder(Model* model, const std::string& dir, const HfExportOptions& options) {
  std::map<std::string, Tensor> tensors;
  for (const Parameter* p : model->parameters()) {
    tensors[p->name] = p->master.defined() ? p->master : p->value;
  }
  for (const ModelBuffer* buffer : model->buffers()) tensors[buffer->name] = buffer->value;
  const HfSource source = [&](const std::string& name, const Shape&) -> absl::StatusOr<Tensor> {
    return tensors.at(name);
  };
  return SaveHfFolder(model->config(), source, dir, options);
}

}  // namespace wyvern
