#include "trainer/checkpoint/model.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/status.h"
#include "trainer/config/model_json.h"

namespace wyvern {
namespace {

constexpr char kTokenizerTensor[] = "tokenizer/model";

std::vector<NamedTensor> ModelTensors(Model* model) {
  std::vector<NamedTensor> tensors;
  for (const Parameter* p : model->parameters()) {
    tensors.push_back(
        {absl::StrCat("model/", p->name), p->master.defined() ? p->master : p->value});
  }
  return tensors;
}

// The string meta["tokenizer"][key]; empty if there is none.
std::string TokenizerMember(const CheckpointInfo& checkpoint, const char* key) {
  const auto& meta = checkpoint.meta;
  if (!meta.is_object() || !meta.contains("tokenizer")) return "";
  const auto& tokenizer = meta["tokenizer"];
  if (!tokenizer.is_object() || !tokenizer.contains(key) || !tokenizer[key].is_string()) return "";
  return tokenizer[key].get<std::string>();
}

// The tokenizer, if there is one, and what `meta` says of it and of the model.
std::vector<NamedTensor> Described(const ModelConfig& model, const Tokenizer* tokenizer,
                                   nlohmann::json* meta) {
  if (meta->is_null()) *meta = nlohmann::json::object();
  (*meta)["model"] = ModelConfigToJson(model);
  if (tokenizer == nullptr) return {};
  (*meta)["tokenizer"] = {{"kind", tokenizer->kind()},
                          {"hash", tokenizer->hash()},
                          {"vocab_size", tokenizer->vocab_size()}};
  const std::string& bytes = tokenizer->model();
  return {{kTokenizerTensor, Tensor::FromVector(std::vector<uint8_t>(bytes.begin(), bytes.end()),
                                                {static_cast<int64_t>(bytes.size())})}};
}

}  // namespace

absl::StatusOr<ModelConfig> CheckpointModelConfig(const CheckpointInfo& checkpoint) {
  if (!checkpoint.meta.is_object() || !checkpoint.meta.contains("model")) {
    return absl::FailedPreconditionError(
        absl::StrCat("checkpoint ", checkpoint.path, ": it does not describe a model"));
  }
  absl::StatusOr<ModelConfig> config = ModelConfigFromJson(checkpoint.meta["model"]);
  if (!config.ok()) {
    const bool damaged = absl::IsDataLoss(config.status());
    return absl::Status(config.status().code(),
                        absl::StrCat("checkpoint ", checkpoint.path, ": ",
                                     damaged ? "the manifest is damaged: " : "",
                                     absl::string_view(config.status().message())));
  }
  return config;
}

std::vector<NamedTensor> BufferTensors(Model* model) {
  std::vector<NamedTensor> tensors;
  for (const ModelBuffer* b : model->buffers()) {
    tensors.push_back({absl::StrCat("model/", b->name), b->value});
  }
  return tensors;
}

std::vector<NamedTensor> CommonTensors(const TrainingState& state, nlohmann::json* meta) {
  std::vector<NamedTensor> tensors = BufferTensors(state.model);
  for (NamedTensor& t : Described(state.model->config(), state.tokenizer, meta)) {
    tensors.push_back(std::move(t));
  }
  return tensors;
}

absl::Status SaveStreamedModel(const std::string& path, const ModelConfig& model,
                               std::vector<StreamedTensor> tensors, const Tokenizer* tokenizer,
                               nlohmann::json meta) {
  for (const NamedTensor& t : Described(model, tokenizer, &meta)) {
    const Tensor tensor = t.tensor;
    tensors.push_back(
        {.tensor = {t.name, tensor.shape(), tensor.dtype()},
         .rows_at_once = std::max<int64_t>(1, tensor.dim(0)),
         .rows = [tensor](int64_t, int64_t) -> absl::StatusOr<Tensor> { return tensor; }});
  }
  return WriteStreamedCheckpoint(path, /*step=*/0, tensors, meta);
}

absl::Status CheckModel(const CheckpointInfo& checkpoint, const TrainingState& state) {
  ASSIGN_OR_RETURN(const ModelConfig config, CheckpointModelConfig(checkpoint));
  const std::string difference =
      FirstDifference(ModelConfigToJson(state.model->config()), ModelConfigToJson(config), "model");
  if (!difference.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("checkpoint ", checkpoint.path, " is of another model: ", difference,
                     "; change the configuration back, or train into another run folder"));
  }
  const std::string hash = TokenizerMember(checkpoint, "hash");
  if (state.tokenizer != nullptr && !hash.empty() && hash != state.tokenizer->hash()) {
    return absl::FailedPreconditionError(absl::StrCat("checkpoint ", checkpoint.path,
                                                      " is of another tokenizer: expected hash ",
                                                      state.tokenizer->hash(), ", found ", hash));
  }
  return absl::OkStatus();
}

std::string CheckpointTokenizerHash(const CheckpointInfo& checkpoint) {
  return TokenizerMember(checkpoint, "hash");
}

// Checks that the checkpoint holds the tensors of a model, before memory for the model is taken.
absl::Status CheckTensors(const CheckpointInfo& checkpoint, const ModelConfig& config) {
  std::map<std::string, const Shape*> shapes;
  for (const CheckpointTensor& tensor : checkpoint.tensors) shapes[tensor.name] = &tensor.shape;
  if (config.num_layers > static_cast<int64_t>(shapes.size())) {
    return absl::DataLossError(absl::StrCat("checkpoint ", checkpoint.path, ": the manifest is ",
                                            "damaged: a model of ", config.num_layers,
                                            " layers, but ", shapes.size(), " tensors in all"));
  }
  const auto check = [&](const std::string& name, const Shape& expected) -> absl::Status {
    const auto found = shapes.find(absl::StrCat("model/", name));
    if (found == shapes.end()) {
      return absl::NotFoundError(
          absl::StrCat("checkpoint ", checkpoint.path, ": it holds no tensor 'model/", name, "'"));
    }
    if (*found->second == expected) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("checkpoint ", checkpoint.path, ": tensor 'model/", name, "': expected ",
                     ToString(expected), ", found ", ToString(*found->second)));
  };
  const std::unique_ptr<Model> declared = Model::Declare(config);
  for (const Parameter* p : declared->parameters()) RETURN_IF_ERROR(check(p->name, p->shape));
  for (const ModelBuffer* b : declared->buffers()) RETURN_IF_ERROR(check(b->name, b->shape));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& path, Device device,
                                                 DType compute, bool trainable) {
  const Operation loading(absl::StrCat("loading the model of ", path));
  ASSIGN_OR_RETURN(const CheckpointInfo checkpoint, OpenCheckpoint(path));
  ASSIGN_OR_RETURN(const ModelConfig config, CheckpointModelConfig(checkpoint));
  RETURN_IF_ERROR(CheckTensors(checkpoint, config));
  std::unique_ptr<Model> model = Model::Create(config, device, compute, trainable);
  std::vector<NamedTensor> tensors = ModelTensors(model.get());
  for (NamedTensor& buffer : BufferTensors(model.get())) tensors.push_back(std::move(buffer));
  RETURN_IF_ERROR(ReadCheckpoint(checkpoint.path, tensors, {.convert_floats = true}));
  for (const Parameter* p : model->parameters()) p->SyncValue();
  return model;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadCheckpointTokenizer(const std::string& path) {
  ASSIGN_OR_RETURN(const CheckpointInfo checkpoint, OpenCheckpoint(path));
  const std::string kind = TokenizerMember(checkpoint, "kind");
  const CheckpointTensor* stored = nullptr;
  for (const CheckpointTensor& tensor : checkpoint.tensors) {
    if (tensor.name == kTokenizerTensor) stored = &tensor;
  }
  if (kind.empty() || stored == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("checkpoint ", checkpoint.path, ": it holds no tokenizer"));
  }
  const Tensor bytes = Tensor::Empty(stored->shape, DType::kUint8, Device::kCpu);
  RETURN_IF_ERROR(ReadCheckpoint(checkpoint.path, {{kTokenizerTensor, bytes}}));
  const std::vector<uint8_t> values = bytes.ToVector<uint8_t>();
  return MakeTokenizer(kind, std::string(values.begin(), values.end()), checkpoint.path);
}

}  // namespace wyvern
