#include "trainer/hf/tensor_names.h"

#include <algorithm>

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
  const std::string layer = absl::StrCat("model.layers.", block, ".");
  for (HfTensor& tensor : tensors) {
    tensor.name = layer + tensor.name;
    if (!tensor.other_name.empty()) tensor.other_name = layer + tensor.other_name;
  }
  return tensors;
}

template <typename T>
void MoveRows(const T* from, T* to, const std::vector<int64_t>& rows, int64_t width, bool back) {
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto ours = static_cast<int64_t>(i), theirs = rows[i];
    std::copy_n(from + (back ? ours : theirs) * width, width, to + (back ? theirs : ours) * width);
  }
}

Tensor Reordered(const Tensor& x, const HfTensor& tensor, bool back) {
  if (tensor.rows.empty()) return x;
  const Tensor from = x.To(Device::kCpu).Contiguous();
  CHECK(from.dim(0) == static_cast<int64_t>(tensor.rows.size()), tensor.name, " ",
        ToString(from.shape()));
  const Tensor to = Tensor::EmptyLike(from);
  const int64_t width = from.numel() / from.dim(0);
  const auto move = [&](auto zero) {
    using T = decltype(zero);
    MoveRows(from.data<T>(), to.data<T>(), tensor.rows, width, back);
  };
  if (from.dtype() == DType::kFloat64) {
    move(double{});
  } else if (from.dtype() == DType::kFloat32) {
    move(float{});
  } else {
    move(Bf16{});
  }
  return to;
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
    return {{.name = "model.norm.weight", .shape = shape}};
  }
  return InLayer(parameter.name, shape, model, family);
}

std::vector<HfTensor> HfTensorsOf(const ModelBuffer& buffer, const ModelConfig& model,
                                  const HfFamily& family) {
  return InLayer(buffer.name, buffer.shape, model, family);
}

Tensor FromHfOrder(const Tensor& stored, const HfTensor& tensor) {
  return Reordered(stored, tensor, /*back=*/false);
}

Tensor ToHfOrder(const Tensor& values, const HfTensor& tensor) {
  return Reordered(values, tensor, /*back=*/true);
}

std::string Renamed(absl::string_view name, absl::Span<const RenamedPart> parts) {
  for (const RenamedPart& part : parts) {
    if (absl::ConsumePrefix(&name, part.ours)) return absl::StrCat(part.theirs, name);
  }
  return std::string(name);
}

std::vector<int64_t> KvRowsByHead(int64_t num_heads, int64_t key_dim, int64_t value_dim) {
  const int64_t both = key_dim + value_dim;
  std::vector<int64_t> rows;
  for (int64_t h = 0; h < num_heads; ++h) {
    for (int64_t i = 0; i < key_dim; ++i) rows.push_back(h * both + i);
  }
  for (int64_t h = 0; h < num_heads; ++h) {
    for (int64_t i = key_dim; i < both; ++i) rows.push_back(h * both + i);
  }
  return rows;
}

}  // namespace wyvern
