// Hugging Face model folders: config.json and safetensors, in one file or sharded with an index.
#ifndef WYVERN_TRAINER_HF_HF_FOLDER_H_
#define WYVERN_TRAINER_HF_HF_FOLDER_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/safetensors.h"
#include "layers/model.h"
#include "trainer/hf/hf_config.h"

namespace wyvern {

// dir/config.json. Errors: missing, not JSON, or ReadHfConfig's.
absl::StatusOr<HfConfig> ReadHfConfigFile(const std::string& dir);

// The tensors of a folder, wherever they lie. Nothing is read before it is asked for.
class HfWeights {
 public:
  // dir/model.safetensors, else the files that dir/model.safetensors.index.json names.
  static absl::StatusOr<HfWeights> Open(const std::string& dir);

  std::vector<std::string> names() const;
  bool Has(const std::string& name) const { return file_of_.count(name) > 0; }
  // On the CPU: bf16, fp32 or fp64 as stored; F16 becomes fp32. Errors: NotFound, DataLoss, another
  // element type.
  absl::StatusOr<Tensor> Read(const std::string& name) const;

 private:
  std::string dir_;
  std::vector<SafetensorsReader> files_;
  std::map<std::string, size_t> file_of_;
};

// One floating tensor of a file, as HfWeights::Read.
absl::StatusOr<Tensor> ReadFloatTensor(const SafetensorsReader& file, const std::string& name);

// Fills every parameter of a model that was made from the folder's configuration. Errors name the
// first tensor that is missing, has another shape, or has no place in the model.
absl::Status LoadHfWeights(const std::string& dir, HfFamily family, Model* model);

struct HfModel {
  HfFamily family = HfFamily::kDeltaNet;
  std::unique_ptr<Model> model;
  std::vector<std::string> warnings;
  nlohmann::json kept;  // HfConfig::kept
};
absl::StatusOr<HfModel> LoadHfFolder(const std::string& dir, Device device, DType compute,
                                     bool trainable);

struct HfExportOptions {
  HfWriteOptions config;
  int64_t max_shard_bytes = int64_t{5} << 30;
  std::map<std::string, std::string> more_files;  // name -> content: a tokenizer
};

// Writes a folder that flash-linear-attention or transformers load. The weights are the masters,
// rounded if config.dtype is "bfloat16" (A_log and dt_bias stay in fp32); a tied head is left out.
// `dir` must not exist, or be empty; it appears only when everything is written.
absl::Status SaveHfFolder(Model* model, const std::string& dir, const HfExportOptions& options);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_HF_FOLDER_H_
