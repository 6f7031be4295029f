#ifndef WYVERN_TRAINER_HF_TENSOR_NAMES_H_
#define WYVERN_TRAINER_HF_TENSOR_NAMES_H_

#include <string>

#include "layers/parameter.h"
#include "trainer/hf/hf_config.h"

namespace wyvern {

// A parameter as the family's safetensors files hold it: the same elements in the same order.
struct HfTensor {
  std::string name;
  Shape shape;
};

HfTensor HfTensorOf(const Parameter& parameter, HfFamily family);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_TENSOR_NAMES_H_
