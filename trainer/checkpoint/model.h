// A model in a checkpoint: its configuration and tokenizer in the meta data, so that a checkpoint
// can be evaluated, continued and exported without any other file.
//
//   meta["model"]      the configuration (trainer/config/model_json.h)
//   meta["tokenizer"]  {"kind", "hash", "vocab_size"}; the serialized model is the uint8 tensor
//                      "tokenizer/model". Absent when no tokenizer was given.
//   meta["config"]     the run's configuration as YAML, where a run wrote the checkpoint
//   "model/<parameter>"              fp32 master weights (fp64 in an fp64 model); buffers alike
//   "optimizer/<parameter>/<state>"  whatever the optimizer keeps
#ifndef WYVERN_TRAINER_CHECKPOINT_MODEL_H_
#define WYVERN_TRAINER_CHECKPOINT_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "data/tokenizer/tokenizer.h"
#include "layers/model.h"
#include "trainer/checkpoint/read.h"
#include "trainer/checkpoint/write.h"

namespace wyvern {

// The state that a training run saves besides its counters and its optimizer.
struct TrainingState {
  Model* model = nullptr;
  const Tokenizer* tokenizer = nullptr;  // may be null
};

// "model/<buffer>".
std::vector<NamedTensor> BufferTensors(Model* model);

// WriteStreamedCheckpoint of a model whose parameters and buffers are not in memory: `tensors` are
// "model/<name>" of all of them. `tokenizer` may be null.
absl::Status SaveStreamedModel(const std::string& path, const ModelConfig& model,
                               std::vector<StreamedTensor> tensors, const Tokenizer* tokenizer,
                               nlohmann::json meta);

// The tensors of a checkpoint that are neither parameters nor optimizer state, and the same on all
// ranks: buffers, the tokenizer. Adds "model" and "tokenizer" to `meta`.
std::vector<NamedTensor> CommonTensors(const TrainingState& state, nlohmann::json* meta);

// FailedPrecondition if the checkpoint is of another model than state.model, naming the first key
// that differs, or of another tokenizer than state.tokenizer (when both are there).
absl::Status CheckModel(const CheckpointInfo& checkpoint, const TrainingState& state);

// The configuration of a checkpoint's model. Error: it describes none.
absl::StatusOr<ModelConfig> CheckpointModelConfig(const CheckpointInfo& checkpoint);

// Makes the checkpoint's model. `path` as in OpenCheckpoint; `compute` as in Model::Create.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& path, Device device,
                                                 DType compute, bool trainable = false);

// The hash of a checkpoint's tokenizer; empty if it holds none.
std::string CheckpointTokenizerHash(const CheckpointInfo& checkpoint);

// The tokenizer in a checkpoint; NotFound if it holds none.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadCheckpointTokenizer(const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_MODEL_H_
