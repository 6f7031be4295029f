// Models from Hugging Face folders: config.json and safetensors.
#ifndef WYVERN_TRAINER_HF_LOAD_FOLDER_H_
#define WYVERN_TRAINER_HF_LOAD_FOLDER_H_

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "layers/model.h"
#include "trainer/hf/hf_config.h"
#include "trainer/hf/hf_weights.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {

// dir/config.json. Errors: missing, not JSON, or ReadHfConfig's.
absl::StatusOr<HfConfig> ReadHfConfigFile(const std::string& dir);

// A model without memory, to compare the folder with. Error: the configuration has more layers than
// the folder has tensors, so that even its description could take any amount of memory.
absl::StatusOr<std::unique_ptr<Model>> DeclareModel(const ModelConfig& config,
                                                    const HfWeights& weights);

// Settles whether the head is the embedding, of a configuration that ties them, as transformers 5
// does: not where the folder holds both and they differ, nor where it holds a head and the family
// never ties (HfFamily::ties_head). Adds a warning of either. A folder may hold either one of the
// two. Errors: tensors that cannot be read.
absl::Status SettleTiedHead(const HfWeights& weights, HfConfig* config);

// A model's parameters and buffers in a folder. Everything is compared before anything is read.
class HfModelWeights {
 public:
  // `weights` outlives this; `model` need not have memory. Errors name the first tensor that is
  // missing, or has another shape or element type (and its file).
  static absl::StatusOr<HfModelWeights> Match(const HfWeights& weights, const HfFamily& family,
                                              Model* model);

  // An error that names the first tensor of the folder that has no place in the model of its
  // configuration, but those that readers pass over.
  absl::Status CheckPlaces(const HfConfig& config) const;

  // Rows [begin, end) of the first axis of a parameter or buffer, on the CPU: fp64 where the folder
  // holds that, else fp32.
  absl::StatusOr<Tensor> Rows(const std::string& name, int64_t begin, int64_t end) const;
  // The tensor of the folder that holds row `row` of the first axis.
  const std::string& StoredName(const std::string& name, int64_t row) const;

 private:
  // Rows of a part from `first_row` on lie in a tensor of the folder, from its element on.
  struct Stored {
    std::string name;
    int64_t first_row = 0, first_element = 0;
  };
  struct Part {
    HfTensor tensor;
    std::vector<Stored> stored;  // in the order of their rows
  };
  struct Entry {
    Shape shape;
    DType dtype = DType::kFloat32;  // of what is read
    std::vector<Part> parts;
  };

  absl::Status Add(const std::string& name, const Shape& shape, std::vector<HfTensor> tensors);
  absl::StatusOr<std::vector<Stored>> FindPieces(const HfTensor& tensor, DType* dtype);
  // Rows [begin, end) of `width` elements of a part's tensor, to `to`.
  absl::Status ReadRows(const Part& part, int64_t width, int64_t begin, int64_t end,
                        const Tensor& to) const;

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

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_LOAD_FOLDER_H_
