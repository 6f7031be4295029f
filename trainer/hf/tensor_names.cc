#include "trainer/hf/tensor_names.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "layers/mixers/mla/mla_config.h"

namespace wyvern {
namespace {

struct Renamed {
  absl::string_view ours, theirs;
};

// First parts of what follows "blocks.N.", up to the mixer's own names.
constexpr Renamed kFlaParts[] = {{"mixer_norm.", "attn_norm."}, {"mixer.", "attn."}};
constexpr Renamed kHfParts[] = {
    {"mixer_norm.", "input_layernorm."},
    {"mlp_norm.", "post_attention_layernorm."},
    {"mixer.", "self_attn."},
    {"moe.router.weight", "block_sparse_moe.gate.weight"},
    {"moe.router.bias", "block_sparse_moe.gate.e_score_correction_bias"},
    {"moe.shared.", "block_sparse_moe.shared_experts."}};
// Of a mixer; every other name is the same on both sides.
constexpr Renamed kMixerParts[] = {
    {"q_conv.", "q_conv1d."},    {"k_conv.", "k_conv1d."},   {"v_conv.", "v_conv1d."},
    {"beta_proj.", "b_proj."},   {"decay_proj.", "a_proj."}, {"decay_down.", "f_proj.0."},
    {"decay_up.", "f_proj.1."},  {"a_log", "A_log"},         {"gate_proj.", "g_proj."},
    {"gate_down.", "g_proj.0."}, {"gate_up.", "g_proj.1."},  {"output_norm.", "o_norm."}};
// Kimi's, before those.
constexpr Renamed kKimiMixerParts[] = {
    {"decay_down.", "f_a_proj."},          {"decay_up.", "f_b_proj."},
    {"gate_down.", "g_a_proj."},           {"gate_up.", "g_b_proj."},
    {"kv_a_proj.", "kv_a_proj_with_mqa."}, {"kv_norm.", "kv_a_layernorm."}};
constexpr Renamed kExperts[] = {{"moe.experts.gate.weight", "w1"},
                                {"moe.experts.up.weight", "w3"},
                                {"moe.experts.down.weight", "w2"}};

template <size_t N>
std::string ReplacePrefix(absl::string_view name, const Renamed (&parts)[N]) {
  for (const Renamed& part : parts) {
    if (absl::ConsumePrefix(&name, part.ours)) return absl::StrCat(part.theirs, name);
  }
  return std::string(name);
}

bool IsHuggingFace(HfFamily family) {
  return family == HfFamily::kLlama || family == HfFamily::kKimiLinear;
}

std::string NameInBlock(absl::string_view name, const MixerConfig* mixer, HfFamily family) {
  std::string result(name);
  if (absl::ConsumePrefix(&name, "mixer.")) {
    result = std::string(name);
    if (family == HfFamily::kKimiLinear) result = ReplacePrefix(name, kKimiMixerParts);
    // The norm between the two steps of latent queries; elsewhere q_norm keeps its name.
    if (mixer != nullptr && mixer->As<MlaMixerConfig>() != nullptr &&
        absl::StartsWith(name, "q_norm.")) {
      result = absl::StrCat("q_a_layernorm.", name.substr(7));
    }
    result = absl::StrCat("mixer.", ReplacePrefix(result, kMixerParts));
  }
  return IsHuggingFace(family) ? ReplacePrefix(result, kHfParts) : ReplacePrefix(result, kFlaParts);
}

// Of a name "blocks.N.rest": N, and the rest; -1 of other names.
int64_t SplitBlock(absl::string_view name, absl::string_view* rest) {
  int64_t block = -1;
  if (!absl::ConsumePrefix(&name, "blocks.")) return -1;
  const size_t dot = name.find('.');
  CHECK(dot != absl::string_view::npos && absl::SimpleAtoi(name.substr(0, dot), &block), name);
  *rest = name.substr(dot + 1);
  return block;
}

// A head's rows of kv_b_proj are its keys' own parts and its values, one after the other; ours are
// the keys' of all heads, then the values'.
std::vector<int64_t> KvRows(const MlaMixerConfig& c) {
  const int64_t both = c.qk_nope_dim + c.value_dim;
  std::vector<int64_t> rows;
  for (int64_t h = 0; h < c.num_heads; ++h) {
    for (int64_t i = 0; i < c.qk_nope_dim; ++i) rows.push_back(h * both + i);
  }
  for (int64_t h = 0; h < c.num_heads; ++h) {
    for (int64_t i = c.qk_nope_dim; i < both; ++i) rows.push_back(h * both + i);
  }
  return rows;
}

// transformers 5.17 saves the dense MLPs of kimi_linear under the name of the experts.
std::string NameByTransformers(const std::string& name) {
  const size_t at = name.find(".mlp.");
  if (at == std::string::npos) return "";
  return absl::StrCat(name.substr(0, at), ".block_sparse_moe.", name.substr(at + 5));
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

const char* HfEmbeddingName(HfFamily family) {
  return IsHuggingFace(family) ? "model.embed_tokens.weight" : "model.embeddings.weight";
}

std::vector<HfTensor> HfTensorsOf(const Parameter& parameter, const ModelConfig& model,
                                  HfFamily family) {
  HfTensor tensor{.name = parameter.name, .shape = parameter.shape};
  if (parameter.kind == ParameterKind::kConvolution) {
    tensor.shape = {tensor.shape[0], 1, tensor.shape[1]};  // depthwise: one input channel each
  } else if (parameter.kind == ParameterKind::kDtBias) {
    tensor.shape = {NumElements(parameter.shape)};
  } else if (parameter.kind == ParameterKind::kALog && family == HfFamily::kKimiLinear) {
    tensor.shape = {1, 1, tensor.shape[0], 1};
  }
  absl::string_view rest = parameter.name;
  if (rest == "embedding.weight") {
    tensor.name = HfEmbeddingName(family);
    if (model.tie_embeddings) tensor.other_name = kHfHeadName;  // a folder may hold either
    return {tensor};
  }
  if (rest == "head.weight") {
    tensor.name = kHfHeadName;
    return {tensor};
  }
  if (rest == "final_norm.weight") {
    tensor.name = "model.norm.weight";
    return {tensor};
  }
  const int64_t block = SplitBlock(parameter.name, &rest);
  CHECK(block >= 0, parameter.name);
  const std::string layer = absl::StrCat("model.layers.", block, ".");
  for (const Renamed& part : kExperts) {
    if (rest != part.ours) continue;
    std::vector<HfTensor> experts;
    for (int64_t e = 0; e < parameter.shape[0]; ++e) {
      experts.push_back(
          {.name = absl::StrCat(layer, "block_sparse_moe.experts.", e, ".", part.theirs, ".weight"),
           .shape = {parameter.shape[1], parameter.shape[2]},
           .slice = e});
    }
    return experts;
  }
  const MixerConfig& mixer = model.MixerOfLayer(block);
  tensor.name = absl::StrCat(layer, NameInBlock(rest, &mixer, family));
  if (family == HfFamily::kKimiLinear) tensor.other_name = NameByTransformers(tensor.name);
  if (rest == "mixer.kv_b_proj.weight") tensor.rows = KvRows(*mixer.As<MlaMixerConfig>());
  return {tensor};
}

HfTensor HfTensorOf(const ModelBuffer& buffer, HfFamily family) {
  absl::string_view rest;
  const int64_t block = SplitBlock(buffer.name, &rest);
  CHECK(block >= 0, buffer.name);
  return {.name = absl::StrCat("model.layers.", block, ".", NameInBlock(rest, nullptr, family)),
          .shape = buffer.shape};
}

Tensor FromHfOrder(const Tensor& stored, const HfTensor& tensor) {
  return Reordered(stored, tensor, /*back=*/false);
}

Tensor ToHfOrder(const Tensor& values, const HfTensor& tensor) {
  return Reordered(values, tensor, /*back=*/true);
}

}  // namespace wyvern
