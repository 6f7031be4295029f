#include "trainer/gguf/architecture.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "trainer/hf/hf_config.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {
namespace {

constexpr int64_t kMaxLayers = 512, kMaxExperts = 1024;  // llama.cpp's own

constexpr RenamedPart kParts[] = {{"mixer_norm.", "attn_norm."},
                                  {"mlp_norm.", "ffn_norm."},
                                  {"mixer.q_proj.", "attn_q."},
                                  {"mixer.k_proj.", "attn_k."},
                                  {"mixer.v_proj.", "attn_v."},
                                  {"mixer.o_proj.", "attn_output."},
                                  {"mixer.q_norm.", "attn_q_norm."},
                                  {"mixer.k_norm.", "attn_k_norm."},
                                  {"mlp.gate_proj.", "ffn_gate."},
                                  {"mlp.up_proj.", "ffn_up."},
                                  {"mlp.down_proj.", "ffn_down."},
                                  {"moe.router.weight", "ffn_gate_inp.weight"},
                                  {"moe.experts.gate.", "ffn_gate_exps."},
                                  {"moe.experts.up.", "ffn_up_exps."},
                                  {"moe.experts.down.", "ffn_down_exps."},
                                  {"moe.shared.gate_proj.", "ffn_gate_shexp."},
                                  {"moe.shared.up_proj.", "ffn_up_shexp."},
                                  {"moe.shared.down_proj.", "ffn_down_shexp."}};

const std::vector<const GgufArchitecture*>& Architectures() {
  // One row a line, so that additions merge.
  // clang-format off
  static const std::vector<const GgufArchitecture*> rows = {
      &kGgufLlama,
      &kGgufQwen3,
      &kGgufQwen3Next,
      &kGgufQwen35,
      &kGgufKimiLinear,
  };
  // clang-format on
  return rows;
}

std::vector<std::string> WhyNotAs(const GgufArchitecture& architecture, const ModelConfig& m) {
  const HfFamily& family = *FindHfFamily(architecture.family);
  // A file has the factors of norms themselves, whichever way the model keeps them.
  ModelConfig as_family = m;
  as_family.zero_centered_norms = family.zero_centered_norms.value_or(m.zero_centered_norms);
  std::vector<std::string> why = WhyNotAs(family, as_family);
  if (!why.empty()) return why;
  why = architecture.why_not(m);
  if (m.num_layers > kMaxLayers) {
    why.push_back(absl::StrCat("needs at most ", kMaxLayers, " layers (num_layers)"));
  }
  if (m.moe.has_value() && m.moe->num_experts > kMaxExperts) {
    why.push_back(absl::StrCat("needs at most ", kMaxExperts, " experts (num_experts)"));
  }
  return why;
}

// The architecture whose reasons tell most.
absl::string_view NearestTo(const ModelConfig& m) {
  absl::string_view nearest = "llama";
  for (int64_t i = 0; i < m.num_layers; ++i) {
    const MixerConfig& mixer = m.MixerOfLayer(i);
    const auto* d = mixer.As<DeltaMixerConfig>();
    if (mixer.As<MlaMixerConfig>() != nullptr) return "kimi-linear";
    if (d != nullptr && d->decay == DeltaDecay::kPerChannel) return "kimi-linear";
    if (d != nullptr) nearest = m.moe.has_value() ? "qwen3next" : "qwen35";
    const auto* a = mixer.As<AttentionMixerConfig>();
    if (a != nullptr && a->qk_norm && nearest == "llama") nearest = "qwen3";
  }
  return nearest;
}

}  // namespace

void GgufKeys::Count(absl::string_view key, int64_t value) {
  Add(key, static_cast<uint32_t>(value));
}

void GgufKeys::Real(absl::string_view key, double value) { Add(key, static_cast<float>(value)); }

void GgufKeys::Add(absl::string_view key, GgufValue value) {
  metadata_.emplace_back(absl::StrCat(architecture_, ".", key), std::move(value));
}

GgufPart PlainGgufPart(absl::string_view name, const Shape& shape) {
  return {.tensor = Renamed(name, kParts), .shape = shape};
}

absl::StatusOr<const GgufArchitecture*> FindGgufArchitecture(const ModelConfig& model) {
  std::string reason;
  for (const GgufArchitecture* architecture : Architectures()) {
    const std::vector<std::string> why = WhyNotAs(*architecture, model);
    if (why.empty()) return architecture;
    if (architecture->name == NearestTo(model)) {
      reason =
          absl::StrCat("llama.cpp's ", architecture->name, " cannot hold this model: ", why[0]);
    }
  }
  return absl::FailedPreconditionError(reason);
}

}  // namespace wyvern
