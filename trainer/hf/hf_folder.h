// Hugging Face model folders: config.json and safetensors, in one file or sharded with an index.
#ifndef WYVERN_TRAINER_HF_HF_FOLDER_H_
#define WYVERN_TRAINER_HF_HF_FOLDER_H_

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/io/safetensors.h"
#include "data/tokenizer/tokenizer.h"
#include "layers/model.h"
#include "trainer/hf/hf_config.h"
#include "trainer/hf/tensor_names.h"

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
  const std::string& dir() const { return dir_; }
  // The file that holds it.
  const std::string& PathOf(const std::string& name) const;
  absl::StatusOr<SafetensorsEntry> Find(const std::string& name) const;
  // On the CPU: bf16, fp32 or fp64 as stored; F16 becomes fp32. Errors: NotFound, DataLoss, another
  // element type.
  absl::StatusOr<Tensor> Read(const std::string& name) const;
  // Elements [begin, end) of it, row-major.
  absl::StatusOr<Tensor> Read(const std::string& name, int64_t begin, int64_t end) const;

 private:
  std::string dir_;
  std::vector<SafetensorsReader> files_;
  std::map<std::string, size_t> file_of_;
};

// A model without memory, to compare the folder with. Error: the configuration has more layers than
// the folder has tensors, so that even its description could take any amount of memory.
absl::StatusOr<std::unique_ptr<Model>> DeclareModel(const ModelConfig& config,
                                                    const HfWeights& weights);

// Settles whether the head is the embedding, of a configuration that ties them, as transformers 5
// does: not where the folder holds both and they differ, and not in kimi_linear where it holds a
// head, of which a warning tells. A folder may hold either one of the two. Errors: tensors that
// cannot be read.
absl::Status SettleTiedHead(const HfWeights& weights, HfConfig* config);

// One floating tensor of a file, as HfWeights::Read.
absl::StatusOr<Tensor> ReadFloatTensor(const SafetensorsReader& file, const std::string& name);

// A model's parameters and buffers in a folder. Everything is compared before anything is read.
class HfModelWeights {
 public:
  // `weights` outlives this; `model` need not have memory. Errors name the first tensor that is
  // missing, has another shape or element type (and its file), or has no place in the model.
  static absl::StatusOr<HfModelWeights> Match(const HfWeights& weights, const HfFamily& family,
                                              Model* model);

  // Rows [begin, end) of the first axis of a parameter or buffer, on the CPU: fp64 where the folder
  // holds that, else fp32.
  absl::StatusOr<Tensor> Rows(const std::string& name, int64_t begin, int64_t end) const;
  // The tensor of the folder that holds row `row` of the first axis.
  const std::string& StoredName(const std::string& name, int64_t row) const;

 private:
  struct Part {
    HfTensor tensor;
    std::string stored;         // the name in the folder
    int64_t first_element = 0;  // of `stored`, where it holds more than the tensor
  };
  struct Entry {
    Shape shape;
    DType dtype = DType::kFloat32;  // of what is read
    std::vector<Part> parts;
  };

  absl::Status Add(const std::string& name, const Shape& shape, std::vector<HfTensor> tensors);

  const HfWeights* weights_ = nullptr;
  std::map<std::string, Entry> entries_;
  std::set<std::string> used_;
};

// Fills every parameter and buffer of a model that was made from the folder's configuration. Errors
// are those of HfModelWeights.
absl::Status LoadHfWeights(const std::string& dir, const HfFamily& family, Model* model);

struct HfModel {
  const HfFamily* family = nullptr;
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

// Gives a parameter's master or a buffer, whole and in the type of sums, by its name.
using HfSource = std::function<absl::StatusOr<Tensor>(const std::string& name, const Shape& shape)>;

// Writes a folder that flash-linear-attention or transformers load. The weights are rounded if
// config.dtype is "bfloat16" (A_log, dt_bias and correction biases stay in fp32); a tied head is
// left out, but of kimi_linear, where it is a copy that is not tied. One parameter is held at a
// time. `dir` must not exist, or be empty; it appears only when everything is written.
absl::Status SaveHfFolder(const ModelConfig& model, const HfSource& source, const std::string& dir,
                          const HfExportOptions& options);
// Of a model in memory.
absl::Status SaveHfFolder(Model* model, const std::string& dir, const HfExportOptions& options);

struct HfImportOptions {
  const Tokenizer* tokenizer = nullptr;      // may be null
  int64_t piece_bytes = int64_t{128} << 20;  // held at a time, or one row or expert if that is more
};
struct HfImport {
  const HfFamily* family = nullptr;
  ModelConfig model;
  std::vector<std::string> warnings;  // the configuration's; tensors that are not finite
};
// Makes a checkpoint of the folder, piece by piece: a model of any size passes through. All of the
// folder's headers are compared with its configuration first. `checkpoint` must not exist.
absl::StatusOr<HfImport> ImportHfFolder(const std::string& dir, const std::string& checkpoint,
                                        const HfImportOptions& options = {});

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_HF_FOLDER_H_
