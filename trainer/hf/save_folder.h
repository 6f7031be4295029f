// Hugging Face folders of models.
#ifndef WYVERN_TRAINER_HF_SAVE_FOLDER_H_
#define WYVERN_TRAINER_HF_SAVE_FOLDER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "layers/model.h"
#include "trainer/hf/hf_config.h"

namespace wyvern {

struct HfExportOptions {
  HfWriteOptions config;
  int64_t max_shard_bytes = int64_t{5} << 30;
  // name -> content: a tokenizer. They come before what the family has under their names.
  std::map<std::string, std::string> more_files;
};

// Gives a parameter's master weights or a buffer, whole and in the accumulation dtype, by its name.
using HfSource = std::function<absl::StatusOr<Tensor>(const std::string& name, const Shape& shape)>;

// Reads them from a checkpoint, one at a time.
HfSource SourceOfCheckpoint(const std::string& path);
// Gives those of a model in memory, whose parameters are whole.
HfSource SourceOfModel(Model* model);

// Writes a folder that flash-linear-attention or transformers load. The weights are rounded if
// config.dtype is "bfloat16" (A_log, dt_bias and correction biases stay in fp32); a tied head is
// left out, or a copy that is not tied where the family's readers never tie (HfFamily::ties_head).
// One parameter is held at a time. `dir` must not exist, or be empty; it appears only when
// everything is written.
absl::Status SaveHfFolder(const ModelConfig& model, const HfSource& source, const std::string& dir,
                          const HfExportOptions& options);
// Saves a model in memory.
absl::Status SaveHfFolder(Model* model, const std::string& dir, const HfExportOptions& options);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_SAVE_FOLDER_H_
