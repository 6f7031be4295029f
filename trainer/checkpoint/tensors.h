// Tensors as a checkpoint holds them, and the part of one that a process has.
#ifndef WYVERN_TRAINER_CHECKPOINT_TENSORS_H_
#define WYVERN_TRAINER_CHECKPOINT_TENSORS_H_

#include <cstdint>
#include <string>

#include "autograd/tensor.h"

namespace wyvern {

struct NamedTensor {
  std::string name;  // "model/blocks.3.mixer.q_proj.weight", "optimizer/<parameter>/m"
  Tensor tensor;     // any device
};

// A tensor as the manifest describes it.
struct CheckpointTensor {
  std::string name;
  Shape shape;  // global: of all slices together
  DType dtype = DType::kFloat32;
};

// Elements [begin, begin + values.numel()) of a tensor, row-major: what one of several processes
// has of it.
struct TensorPart {
  CheckpointTensor tensor;
  int64_t begin = 0;
  Tensor values;  // any shape, any device, of the tensor's dtype; undefined: nothing
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_TENSORS_H_
