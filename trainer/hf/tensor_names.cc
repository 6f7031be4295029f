#include "trainer/hf/tensor_names.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace wyvern {
namespace {

struct Renamed {
  absl::string_view ours, theirs;
};

// First parts of what follows "blocks.N.", up to the mixer's own names.
constexpr Renamed kFlaParts[] = {{"mixer_norm.", "attn_norm."}, {"mixer.", "attn."}};
constexpr Renamed kLlamaParts[] = {{"mixer_norm.", "input_layernorm."},
                                   {"mlp_norm.", "post_attention_layernorm."},
                                   {"mixer.", "self_attn."}};
// Of a mixer; every other name is the same on both sides.
constexpr Renamed kMixerParts[] = {
    {"q_conv.", "q_conv1d."},    {"k_conv.", "k_conv1d."},   {"v_conv.", "v_conv1d."},
    {"beta_proj.", "b_proj."},   {"decay_proj.", "a_proj."}, {"decay_down.", "f_proj.0."},
    {"decay_up.", "f_proj.1."},  {"a_log", "A_log"},         {"gate_proj.", "g_proj."},
    {"gate_down.", "g_proj.0."}, {"gate_up.", "g_proj.1."},  {"output_norm.", "o_norm."}};

template <size_t N>
std::string ReplacePrefix(absl::string_view name, const Renamed (&parts)[N]) {
  for (const Renamed& part : parts) {
    if (absl::ConsumePrefix(&name, part.ours)) return absl::StrCat(part.theirs, name);
  }
  return std::string(name);
}

std::string NameInBlock(absl::string_view name, HfFamily family) {
  std::string result(name);
  if (absl::ConsumePrefix(&name, "mixer.")) {
    result = absl::StrCat("mixer.", ReplacePrefix(name, kMixerParts));
  }
  return family == HfFamily::kLlama ? ReplacePrefix(result, kLlamaParts)
                                    : ReplacePrefix(result, kFlaParts);
}

}  // namespace

HfTensor HfTensorOf(const Parameter& parameter, HfFamily family) {
  HfTensor tensor{.name = parameter.name, .shape = parameter.value.shape()};
  if (parameter.kind == ParameterKind::kConvolution) {
    tensor.shape = {tensor.shape[0], 1, tensor.shape[1]};  // depthwise: one input channel each
  } else if (parameter.kind == ParameterKind::kDtBias) {
    tensor.shape = {parameter.value.numel()};
  }
  absl::string_view rest = parameter.name;
  if (rest == "embedding.weight") {
    tensor.name =
        family == HfFamily::kLlama ? "model.embed_tokens.weight" : "model.embeddings.weight";
  } else if (rest == "head.weight") {
    tensor.name = "lm_head.weight";
  } else if (rest == "final_norm.weight") {
    tensor.name = "model.norm.weight";
  } else {
    CHECK(absl::ConsumePrefix(&rest, "blocks."), parameter.name);
    const size_t dot = rest.find('.');
    tensor.name = absl::StrCat("model.layers.", rest.substr(0, dot), ".",
                               NameInBlock(rest.substr(dot + 1), family));
  }
  return tensor;
}

}  // namespace wyvern
