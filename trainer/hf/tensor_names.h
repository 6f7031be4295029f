// Which tensors of a family's safetensors files make up a parameter or buffer, in what order.
#ifndef WYVERN_TRAINER_HF_TENSOR_NAMES_H_
#define WYVERN_TRAINER_HF_TENSOR_NAMES_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "layers/model.h"

namespace wyvern {

struct HfFamily;

// A tensor of a family's files, and which part of a parameter or buffer it is.
struct HfTensor {
  std::string name;
  Shape shape;
  // Another name that some writers give it; empty: there is none.
  std::string other_name = {};
  // Which slice along the parameter's first axis; -1: all of it.
  int64_t slice = -1;
  // Row i of the parameter is row rows[i] of the tensor; empty: the same order.
  std::vector<int64_t> rows = {};
};

inline constexpr char kHfHeadName[] = "lm_head.weight";

// Those that make up the parameter or buffer, in the order of its elements; together they are all
// of it.
std::vector<HfTensor> HfTensorsOf(const Parameter& parameter, const ModelConfig& model,
                                  const HfFamily& family);
std::vector<HfTensor> HfTensorsOf(const ModelBuffer& buffer, const ModelConfig& model,
                                  const HfFamily& family);

// The tensor's elements as the parameter or its slice holds them, and back: in `order`'s shape, of
// any floating type.
Tensor FromHfOrder(const Tensor& stored, const HfTensor& tensor);
Tensor ToHfOrder(const Tensor& values, const HfTensor& tensor);

// ---- what families say names with ---------------------------------------------------------------

// The first part of a name, here and in the family's files.
struct RenamedPart {
  absl::string_view ours, theirs;
};
// The name with the first of the parts that it begins with replaced; without any, the name itself.
std::string Renamed(absl::string_view name, absl::Span<const RenamedPart> parts);

// The names of transformers' families.
inline constexpr char kHfEmbeddingName[] = "model.embed_tokens.weight";
inline constexpr RenamedPart kHfLayerParts[] = {{"mixer_norm.", "input_layernorm."},
                                                {"mlp_norm.", "post_attention_layernorm."},
                                                {"mixer.", "self_attn."}};

// HfTensor::rows of MLA's kv_b_proj. A head's rows are there its keys' own parts and
// its values, one after the other; ours are the keys' of all heads, then the values'.
std::vector<int64_t> KvRowsByHead(int64_t num_heads, int64_t key_dim, int64_t value_dim);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_TENSOR_NAMES_H_
