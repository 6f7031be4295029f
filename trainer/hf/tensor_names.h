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

// A tensor of a family's files, and which part of a parameter or buffer lies in it. Several
// parameters may lie in different rows of one tensor; together they are all of it.
struct HfTensor {
  std::string name;
  Shape shape;
  // Another name that some writers give it; empty: there is none.
  std::string other_name = {};
  // Which slice along the parameter's first axis; -1: all of it.
  int64_t slice = -1;
  // Row i of the parameter is row rows[i] of the tensor; empty: all of its rows, in their order.
  std::vector<int64_t> rows = {};
  // The files hold the tensor cut along its rows into these, written with so many rows each; they
  // are read wherever they were cut. Empty: in one, under its name.
  struct Piece {
    std::string name;
    int64_t num_rows;
  };
  std::vector<Piece> pieces = {};
};

inline constexpr char kHfHeadName[] = "lm_head.weight";

// Those that hold the parameter or buffer, in the order of its elements: one, or one for each
// slice. None: the family's files have no place for it, and it is zero.
std::vector<HfTensor> HfTensorsOf(const Parameter& parameter, const ModelConfig& model,
                                  const HfFamily& family);
std::vector<HfTensor> HfTensorsOf(const ModelBuffer& buffer, const ModelConfig& model,
                                  const HfFamily& family);

// Writes the values of the parameter or its slice, of any floating type, to where `whole` has them,
// which is on the CPU, of the tensor's shape and the same type.
void CopyToHf(const Tensor& values, const HfTensor& tensor, const Tensor& whole);

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

// Experts' matrices, each of which is a tensor of its own: slice e of a parameter of this shape is
// the tensor <prefix>e<suffix>.
std::vector<HfTensor> ExpertSlices(absl::string_view prefix, absl::string_view suffix,
                                   const Shape& shape);

// HfTensor::rows: begin, begin + 1, ...
std::vector<int64_t> RowRange(int64_t begin, int64_t count);
// `groups` runs of `count` rows, the first from `begin` on, the others `stride` rows further each.
std::vector<int64_t> GroupedRows(int64_t groups, int64_t begin, int64_t count, int64_t stride);

// HfTensor::rows of MLA's kv_b_proj. A head's rows are there its keys' own parts and
// its values, one after the other; ours are the keys' of all heads, then the values'.
std::vector<int64_t> KvRowsByHead(int64_t num_heads, int64_t key_dim, int64_t value_dim);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_HF_TENSOR_NAMES_H_
