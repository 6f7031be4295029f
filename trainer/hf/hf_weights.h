// The tensors of a Hugging Face folder: safetensors, in one file or sharded with an index.
#ifndef WYVERN_TRAINER_HF_HF_WEIGHTS_H_
#define WYVERN_TRAINER_HF_HF_WEIGHTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "autograd/tensor.h"
#include "data/io/safetensors.h"

namespace wyvern {

// The tensors of a folder, wherever they lie. Nothing is read before it is asked for. Of a model of
// images and text these are its language model's, by the names that they have without the other
// one: model.language_model.norm.weight is model.norm.weight; those of the images, model.visual,
// are not there.
class HfWeights {
 public:
  // dir/model.safetensors, else the files that dir/model.safetensors.index.json names.
  static absl::StatusOr<HfWeights> Open(const std::string& dir);

  std::vector<std::string> names() const;
  bool Has(const std::string& name) const { return places_.count(name) > 0; }
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
  struct Place {
    size_t file = 0;
    std::string name;  // in the file
  };
  absl::Status Add(const std::string& name, size_t file);

  std::string dir_;
  std::vector<SafetensorsReader> files_;
  std::map<std::string, Place> places_;
};

// The type in which a floating tensor is read. Error: its elements are not F32, BF16, F16 or F64;
// names `path`, its file.
absl::StatusOr<DType> FloatTypeOf(const std::string& path, const std::string& name,
                                  const SafetensorsEntry& entry);

// One floating tensor of a file, as HfWeights::Read.
absl::StatusOr<Tensor> ReadFloatTensor(const SafetensorsReader& file, const std::string& name);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_HF_WEIGHTS_H_
