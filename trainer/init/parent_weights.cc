#include "trainer/init/parent_weights.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "data/tokenizer/tokenizer.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/model.h"
#include "trainer/checkpoint/parent_record.h"
#include "trainer/checkpoint/read.h"
#include "trainer/hf/load_folder.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

constexpr char kModelPrefix[] = "model/";
// Bytes of a Hugging Face folder's tensor in memory at a time, or one row or expert if that is
// more.
constexpr int64_t kPieceBytes = int64_t{64} << 20;

class CheckpointWeights : public ParentWeights {
 public:
  static absl::StatusOr<std::unique_ptr<ParentWeights>> Open(const std::string& path) {
    auto weights = std::make_unique<CheckpointWeights>();
    ASSIGN_OR_RETURN(const CheckpointInfo checkpoint, OpenCheckpoint(path));
    weights->path_ = checkpoint.path;
    ASSIGN_OR_RETURN(weights->model_, CheckpointModelConfig(checkpoint));
    for (const CheckpointTensor& tensor : checkpoint.tensors) {
      absl::string_view name = tensor.name;
      if (absl::ConsumePrefix(&name, kModelPrefix)) {
        weights->shapes_[std::string(name)] = tensor.shape;
      }
    }
    ASSIGN_OR_RETURN(weights->record_, ParentRecord(checkpoint, kWeightsParent));
    weights->tokenizer_hash_ = CheckpointTokenizerHash(checkpoint);
    weights->warnings_ = checkpoint.passed_over;
    return weights;
  }

  absl::Status Read(const std::vector<TensorPart>& parts) const override {
    std::vector<TensorPart> stored = parts;
    for (TensorPart& part : stored) {
      part.tensor.shape = shapes_.at(part.tensor.name);
      part.tensor.dtype = part.values.dtype();
      part.tensor.name.insert(0, kModelPrefix);
    }
    return ReadCheckpointParts(path_, stored, {.convert_floats = true});
  }
};

class HfFolderWeights : public ParentWeights {
 public:
  static absl::StatusOr<std::unique_ptr<ParentWeights>> Open(const std::string& dir) {
    auto weights = std::make_unique<HfFolderWeights>();
    weights->path_ = dir;
    ASSIGN_OR_RETURN(HfConfig config, ReadHfConfigFile(dir));
    ASSIGN_OR_RETURN(HfWeights stored, HfWeights::Open(dir));
    weights->stored_ = std::make_unique<HfWeights>(std::move(stored));
    RETURN_IF_ERROR(SettleTiedHead(*weights->stored_, &config));
    ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                     DeclareModel(config.model, *weights->stored_));
    ASSIGN_OR_RETURN(weights->matched_,
                     HfModelWeights::Match(*weights->stored_, *config.family, model.get()));
    RETURN_IF_ERROR(weights->matched_->CheckPlaces(config));
    weights->model_ = config.model;
    for (const Parameter* p : model->parameters()) weights->shapes_[p->name] = p->shape;
    for (const ModelBuffer* b : model->buffers()) weights->shapes_[b->name] = b->shape;
    ASSIGN_OR_RETURN(const std::string text,
                     ReadFileOf(kJsonFile, absl::StrCat(dir, "/config.json")));
    weights->record_ = {
        {"kind", kWeightsParent},
        {"path", AbsolutePath(dir)},
        {"model_type", config.family->model_type},
        {"config_crc32", absl::StrFormat("%08x", Crc32OnThreads(text.data(), text.size()))}};
    weights->warnings_ = config.warnings;
    weights->ReadTokenizer(dir);
    return weights;
  }

  absl::Status Read(const std::vector<TensorPart>& parts) const override {
    for (const TensorPart& part : parts) {
      const Shape& shape = shapes_.at(part.tensor.name);
      const int64_t row = NumElements(shape) / shape[0], end = part.begin + part.values.numel();
      const int64_t rows_at_once =
          std::max<int64_t>(1, kPieceBytes / (row * SizeOf(DType::kFloat64)));
      for (int64_t first = part.begin / row; first * row < end; first += rows_at_once) {
        const int64_t last = std::min(first + rows_at_once, (end + row - 1) / row);
        ASSIGN_OR_RETURN(const Tensor read, matched_->Rows(part.tensor.name, first, last));
        const int64_t from = std::max(part.begin, first * row), to = std::min(end, last * row);
        const Tensor piece = read.Reshape({-1}).Rows(from - first * row, to - first * row);
        part.values.Rows(from - part.begin, to - part.begin)
            .CopyFrom(piece.To(part.values.dtype()));
      }
    }
    return absl::OkStatus();
  }

 private:
  // Notes the hash of the tokenizer that tokenizer.path would take from the folder.
  void ReadTokenizer(const std::string& dir) {
    const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = LoadTokenizer(dir);
    if (tokenizer.ok()) {
      tokenizer_hash_ = (*tokenizer)->hash();
    } else if (!absl::IsNotFound(tokenizer.status())) {
      warnings_.push_back(absl::StrCat("its tokenizer is not compared: ",
                                       absl::string_view(tokenizer.status().message())));
    }
  }

  std::unique_ptr<HfWeights> stored_;
  std::optional<HfModelWeights> matched_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ParentWeights>> ParentWeights::Open(const std::string& path) {
  const Operation opening(absl::StrCat("reading the description of ", path));
  if (CheckpointPath(path) != path) return CheckpointWeights::Open(path);
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    return absl::NotFoundError(absl::StrCat(path, ": there is no such folder"));
  }
  if (fs::exists(fs::path(path) / "config.json", ignored)) return HfFolderWeights::Open(path);
  if (fs::exists(fs::path(path) / kManifestName, ignored) ||
      fs::exists(fs::path(path) / "checkpoints", ignored)) {
    return CheckpointWeights::Open(path);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      path,
      ": expected a checkpoint (manifest.json), a run folder (checkpoints/) or a Hugging Face ",
      "folder (config.json and safetensors)"));
}

}  // namespace wyvern
