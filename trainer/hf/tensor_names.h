#ifndef WYVERN_TRAINER_HF_TENSOR_NAMES_H_
#define WYVERN_TRAINER_HF_TENSOR_NAMES_H_

#include <string>
#include <vector>

#include "layers/model.h"
#include "trainer/hf/hf_config.h"

namespace wyvern {

inline constexpr char kHfHeadName[] = "lm_head.weight";
const char* HfEmbeddingName(HfFamily family);

// A tensor of a family's safetensors files, and which part of a parameter or buffer it is.
struct HfTensor {
  std::string name;
  Shape shape;
  // What some writers call it; empty: there is no other name.
  std::string other_name = {};
  // Which slice along the parameter's first axis; -1: all of it.
  int64_t slice = -1;
  // Row i of the parameter is row rows[i] of the tensor; empty: the same order.
  std::vector<int64_t> rows = {};
};

// Those that make up the parameter, in the order of its elements; together they are all of it.
std::vector<HfTensor> HfTensorsOf(const Parameter& parameter, const ModelConfig& model,
                                  HfFamily family);
HfTensor HfTensorOf(const ModelBuffer& buffer, HfFamily family);

// The tensor's elements as the parameter or its slice holds them, and back: in `order`'s shape, of
// any floating type.
Tensor FromHfOrder(const Tensor& stored, const HfTensor& tensor);
Tensor ToHfOrder(const Tensor& values, const HfTensor& tensor);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_TENSOR_NAMES_H_
