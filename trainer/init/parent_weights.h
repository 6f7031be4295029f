// The weights of another model, wherever they lie: in a checkpoint or in a Hugging Face folder.
#ifndef WYVERN_TRAINER_INIT_PARENT_WEIGHTS_H_
#define WYVERN_TRAINER_INIT_PARENT_WEIGHTS_H_

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "layers/model_config.h"
#include "trainer/checkpoint/tensors.h"

namespace wyvern {

class ParentWeights {
 public:
  // A checkpoint folder, a run folder (its newest checkpoint) or a Hugging Face folder. Reads what
  // describes it and no weights. Errors: neither of them; damaged; the folder's tensors do not fit
  // its own configuration.
  static absl::StatusOr<std::unique_ptr<ParentWeights>> Open(const std::string& path);
  virtual ~ParentWeights() = default;

  // Where the weights lie: of a run folder the checkpoint that was taken.
  const std::string& path() const { return path_; }
  const ModelConfig& model() const { return model_; }
  // The shape of every parameter and buffer, by its name in Wyvern.
  const std::map<std::string, Shape>& shapes() const { return shapes_; }
  // ParentRecord of a checkpoint. Of a Hugging Face folder it has "model_type" and "config_crc32"
  // in place of "step" and "manifest_crc32".
  const nlohmann::json& record() const { return record_; }
  // The hash of its tokenizer; empty: none is known.
  const std::string& tokenizer_hash() const { return tokenizer_hash_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

  // Fills the values of each part, a tensor [n] of a floating type on any device, with elements
  // [begin, begin + n) of the tensor of that name, one of shapes(). The parts' shapes are not read.
  // A tensor is read by the slices that hold some of these elements, a few at a time.
  virtual absl::Status Read(const std::vector<TensorPart>& parts) const = 0;

 protected:
  std::string path_;
  ModelConfig model_;
  std::map<std::string, Shape> shapes_;
  nlohmann::json record_;
  std::string tokenizer_hash_;
  std::vector<std::string> warnings_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_INIT_PARENT_WEIGHTS_H_
