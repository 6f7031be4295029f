#include "trainer/hf/tensor_names.h"

#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "trainer/hf/hf_family.h"

namespace wyvern {
namespace {

// Splits "blocks.N.rest" into N and the rest; -1 for other names.
int64_t SplitBlock(absl::string_view name, absl::string_view* rest) {
  int64_t block = -1;
  if (!absl::ConsumePrefix(&name, "blocks.")) return -1;
  const size_t dot = name.find('.');
  CHECK(dot != absl::string_view::npos && absl::SimpleAtoi(name.substr(0, dot), &block), name);
  *rest = name.substr(dot + 1);
  return block;
}

// The tensors of a parameter or buffer of block N, whose name begins with "blocks.N.".
std::vector<HfTensor> InLayer(const std::string& full_name, const Shape& shape,
                              const ModelConfig& model, const HfFamily& family) {
  absl::string_view name;
  const int64_t block = SplitBlock(full_name, &name);
  CHECK(block >= 0, full_name);
  std::vector<HfTensor> tensors = family.layer_tensors(name, shape, model.MixerOfLayer(block));
  const std::string layer = absl::StrCat(family.layers_prefix, block, ".");
  for (HfTensor& tensor : tensors) {
    tensor.name = layer + tensor.name;
    if (!tensor.other_name.empty()) tensor.other_name = layer + tensor.other_name;
    for (HfTensor::Piece& piece : tensor.pieces) piece.name = layer + piece.name;
  }
  return tensors;
}

}  // namespace

std::vector<HfTensor> HfTensorsOf(const Parameter& parameter, const ModelConfig& model,
                                  const HfFamily& family) {
  Shape shape = parameter.shape;
  if (parameter.kind == ParameterKind::kConvolution) {
    shape = {shape[0], 1, shape[1]};  // depthwise: one input channel each
  } else if (parameter.kind == ParameterKind::kDtBias) {
    shape = {NumElements(shape)};
  }
  if (parameter.name == "embedding.weight") {
    // With a tied head a folder may hold either.
    return {{.name = family.embedding_name,
             .shape = shape,
             .other_name = model.tie_embeddings ? kHfHeadName : ""}};
  }
  if (parameter.name == "head.weight") return {{.name = kHfHeadName, .shape = shape}};
  if (parameter.name == "final_norm.weight") {
    return {{.name = family.final_norm_name, .shape = shape}};
  }
  return InLayer(parameter.name, shape, model, family);
}

std::vector<HfTensor> HfTensorsOf(const ModelBuffer& buffer, const ModelConfig& model,
                                  const HfFamily& family) {
  return InLayer(buffer.name, buffer.shape, model, family);
}

void CopyToHf(const Tensor& values, const HfTensor& tensor, const Tensor& whole) {
  const int64_t num_rows = tensor.rows.empty() ? tensor.shape[0] : tensor.rows.size();
  const int64_t width = NumElements(tensor.shape) / tensor.shape[0];
  const Tensor from = values.To(Device::kCpu).Contiguous().Reshape({num_rows, width});
  const Tensor to = whole.Reshape({tensor.shape[0], width});
  CHECK(from.dtype() == to.dtype(), tensor.name, ": ", Name(from.dtype()), " into ",
        Name(to.dtype()));
  const int64_t row_bytes = width * SizeOf(to.dtype());
  for (int64_t i = 0; i < num_rows; ++i) {
    const int64_t row = tensor.rows.empty() ? i : tensor.rows[i];
    std::memcpy(static_cast<char*>(to.raw()) + row * row_bytes,
                static_cast<const char*>(from.raw()) + i * row_bytes, row_bytes);
  }
}

std::string Renamed(absl::string_view name, absl::Span<const RenamedPart> parts) {
  for (const RenamedPart& part : parts) {
    if (absl::ConsumePrefix(&name, part.ours)) return absl::StrCat(part.theirs, name);
  }
  return std::string(name);
}

std::vector<HfTensor> ExpertSlices(absl::string_view prefix, absl::string_view suffix,
                                   const Shape& shape) {
  std::vector<HfTensor> experts;
  for (int64_t e = 0; e < shape[0]; ++e) {
    experts.push_back(
        {.name = absl::StrCat(prefix, e, suffix), .shape = {shape[1], shape[2]}, .slice = e});
  }
  return experts;
}

std::vector<int64_t> RowRange(int64_t begin, int64_t count) {
  return GroupedRows(1, begin, count, 0);
}

std::vector<int64_t> GroupedRows(int64_t groups, int64_t begin, int64_t count, int64_t stride) {
  std::vector<int64_t> rows;
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t i = 0; i < count; ++i) rows.push_back(begin + g * stride + i);
  }
  return rows;
}

std::vector<int64_t> KvRowsByHead(int64_t num_heads, int64_t key_dim, int64_t value_dim) {
  const int64_t both = key_dim + value_dim;
  std::vector<int64_t> rows = GroupedRows(num_heads, 0, key_dim, both);
  const std::vector<int64_t> values = GroupedRows(num_heads, key_dim, value_dim, both);
  rows.insert(rows.end(), values.begin(), values.end());
  return rows;
}

}  // namespace wyvern
