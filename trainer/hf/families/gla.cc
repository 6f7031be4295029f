// FLA's gla: arXiv 2312.06635.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "layers/mixers/gla/gla_config.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/fla.h"
#include "trainer/hf/families/fla_delta.h"
#include "trainer/hf/families/registry.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

// The library's layer has them, its config.json does not.
constexpr int64_t kDecayRank = 16;
constexpr double kDecayNormalizer = 16;

constexpr RenamedPart kMixerParts[] = {{"decay_down.", "gk_proj.0."}, {"decay_up.", "gk_proj.1."}};

bool IsGla(const MixerConfig& mixer) { return mixer.As<GlaMixerConfig>() != nullptr; }

void Read(KeyReader* r, ModelConfig* m) {
  ReadFlaSizes(r, m);
  GlaMixerConfig g{.decay_rank = kDecayRank, .decay_normalizer = kDecayNormalizer};
  r->Int("num_heads", &g.num_heads);
  int64_t kv_heads = g.num_heads;
  r->Count("num_kv_heads", &kv_heads);
  if (kv_heads != g.num_heads) {
    r->Fault("num_kv_heads", absl::StrCat("expected num_heads ", g.num_heads, ", got ", kv_heads,
                                          ": heads that share keys and values are not served"));
  }
  // The factors are of hidden_size.
  const auto head_dim = [&](const char* key, double expand, int64_t* dim) {
    r->Real(key, &expand);
    const int64_t width = ExpandedWidth(r, key, m->hidden_size, expand);
    if (width == 0 || g.num_heads < 1) return;
    if (width % g.num_heads != 0) {
      r->Fault(key,
               absl::StrCat("a width of ", width, " does not divide into num_heads ", g.num_heads));
    }
    *dim = width / g.num_heads;
  };
  head_dim("expand_k", 0.5, &g.key_dim);
  head_dim("expand_v", 1, &g.value_dim);
  bool conv = false;
  int64_t conv_width = 4;
  r->Bool("use_short_conv", &conv);
  r->Count("conv_size", &conv_width);
  g.conv_width = conv ? conv_width : 0;
  bool gate = true;
  r->Bool("use_output_gate", &gate);
  g.output_gate = gate ? OutputGate::kSilu : OutputGate::kNone;
  r->Real("clamp_min", &g.min_log_decay);
  r->Only("feature_map", nullptr, "q and k are taken as they are");
  r->Only("elementwise_affine", true, "norms have gains");
  r->Only("use_gk", true, "keys' channels decay");
  r->Only("use_gv", false, "values' channels do not decay");
  UseEverywhere("gla", g, m);
  ReadFlaHybrid(r, m);
}

double ExpandK(const ModelConfig& m, const GlaMixerConfig& g) {
  return ExpandFactor(m.hidden_size, g.num_heads * g.key_dim);
}

double ExpandV(const ModelConfig& m, const GlaMixerConfig& g) {
  return ExpandFactor(m.hidden_size, g.num_heads * g.value_dim);
}

void Check(const ModelConfig& m, const MixerConfig& mixer, std::vector<std::string>* why) {
  const auto& g = *mixer.As<GlaMixerConfig>();
  if (g.output_gate == OutputGate::kSigmoid) why->push_back("needs an output_gate of silu or none");
  if (g.decay_rank != kDecayRank) {
    why->push_back(absl::StrCat("needs a decay_rank of ", kDecayRank, ", not ", g.decay_rank));
  }
  if (g.decay_normalizer != kDecayNormalizer) {
    why->push_back(absl::StrCat("needs a decay_normalizer of ", kDecayNormalizer, ", not ",
                                g.decay_normalizer));
  }
  if (std::isnan(ExpandK(m, g)) || std::isnan(ExpandV(m, g))) {
    why->push_back(absl::StrCat("needs an expansion factor, and none gives ", g.num_heads,
                                " heads of key_dim ", g.key_dim, " and value_dim ", g.value_dim));
  }
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  return WhyNotFla(m, IsGla, /*hybrid=*/true, Check);
}

void Write(const ModelConfig& m, nlohmann::json* c) {
  nlohmann::json& config = *c;
  GlaMixerConfig g;
  for (const MixerConfig& mixer : MixersInFull(m)) {
    if (IsGla(mixer)) g = *mixer.As<GlaMixerConfig>();
  }
  WriteFlaSizes(m, c);
  config["attn_mode"] = "chunk";
  config["num_heads"] = g.num_heads;
  config["num_kv_heads"] = nullptr;
  config["expand_k"] = ExpandK(m, g);
  config["expand_v"] = ExpandV(m, g);
  config["use_short_conv"] = g.conv_width > 0;
  config["conv_size"] = g.conv_width > 0 ? g.conv_width : 4;
  config["use_output_gate"] = g.output_gate != OutputGate::kNone;
  config["clamp_min"] =
      g.min_log_decay.has_value() ? nlohmann::json(*g.min_log_decay) : nlohmann::json(nullptr);
  config["feature_map"] = nullptr;
  config["elementwise_affine"] = true;
  config["use_gk"] = true;
  config["use_gv"] = false;
  config["fuse_norm"] = true;  // as the output norm's gain is named
  WriteFlaHybrid(m, c);
}

// Where the library fuses the output norm with its gate (fuse_norm), its gain has another name.
std::vector<HfTensor> LayerTensors(absl::string_view name, const Shape& shape,
                                   const MixerConfig& mixer) {
  absl::string_view own = name;
  const auto* gla = mixer.As<GlaMixerConfig>();
  if (gla != nullptr && absl::ConsumePrefix(&own, "mixer.")) {
    if (own == "output_norm.weight") {
      const char *fused = "attn.g_norm_swish_gate.weight", *apart = "attn.g_norm.weight";
      const bool has_gate = gla->output_gate != OutputGate::kNone;
      return {{.name = has_gate ? fused : apart,
               .shape = shape,
               .other_name = has_gate ? apart : fused}};
    }
    const std::string renamed = Renamed(own, kMixerParts);
    if (renamed != own) return {{.name = absl::StrCat("attn.", renamed), .shape = shape}};
  }
  return FlaLayerTensors(name, shape, mixer);
}

}  // namespace

const HfFamily kGlaFamily = {.model_type = "gla",
                             .architecture = "GLAForCausalLM",
                             .mixer_type = "gla",
                             .embedding_name = kFlaEmbeddingName,
                             .read = Read,
                             .why_not = WhyNot,
                             .write = Write,
                             .layer_tensors = LayerTensors};

}  // namespace wyvern
