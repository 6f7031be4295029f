// FLA's kda, Kimi Delta Attention: arXiv 2510.26692.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "layers/mixers/delta/delta_config.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/fla.h"
#include "trainer/hf/families/fla_delta.h"
#include "trainer/hf/families/registry.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

void Read(KeyReader* r, ModelConfig* m) {
  ReadFlaSizes(r, m);
  DeltaMixerConfig d{.decay = DeltaDecay::kPerChannel,
                     .num_heads = 16,
                     .key_dim = 128,
                     .output_gate = OutputGate::kSigmoid};
  ReadDeltaKeys(r, &d);
  ReadGatedHeads(r, /*expand_v=*/1, &d);
  d.output_gate_rank = d.decay_rank = d.value_dim;
  bool safe_gate = false;
  r->Bool("safe_gate", &safe_gate);
  r->Real("lower_bound", &d.gate_lower_bound);
  if (safe_gate && !d.gate_lower_bound.has_value()) {
    r->Fault("safe_gate", "true needs a lower_bound");
  }
  UseEverywhere("kda", d, m);
  ReadFlaHybrid(r, m);
}

void Check(const ModelConfig& /*m*/, const MixerConfig& mixer, std::vector<std::string>* why) {
  const auto& d = *mixer.As<DeltaMixerConfig>();
  if (d.decay != DeltaDecay::kPerChannel) {
    why->push_back("needs kda as delta-rule layers");
    return;
  }
  if (!d.learned_beta) why->push_back("needs a learned beta (learned_beta: true)");
  if (d.output_gate != OutputGate::kSigmoid || d.output_gate_rank != d.value_dim) {
    why->push_back(absl::StrCat(
        "needs an output_gate of sigmoid whose output_gate_rank is value_dim ", d.value_dim));
  }
  if (d.decay_rank != d.value_dim) {
    why->push_back(absl::StrCat("needs a decay_rank of value_dim ", d.value_dim, ", not ",
                                d.decay_rank == DeltaMixerConfig::kFullRank
                                    ? std::string("full")
                                    : absl::StrCat(d.decay_rank)));
  }
  if (!d.output_gate_bias) {
    why->push_back("needs an output gate with a bias (output_gate_bias: true)");
  }
  if (std::isnan(ExpandFactor(d.key_dim, d.value_dim))) why->push_back(NoExpandFactor(d));
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  return WhyNotFla(m, IsDelta, /*hybrid=*/true, Check);
}

void Write(const ModelConfig& m, nlohmann::json* config) {
  const DeltaMixerConfig d = DeltaMixerOf(m);
  WriteFlaSizes(m, config);
  WriteDeltaKeys(d, config);
  WriteGatedHeads(d, config);
  (*config)["safe_gate"] = d.gate_lower_bound.has_value();
  (*config)["lower_bound"] = d.gate_lower_bound.has_value() ? nlohmann::json(*d.gate_lower_bound)
                                                            : nlohmann::json(nullptr);
  WriteFlaHybrid(m, config);
}

}  // namespace

const HfFamily kKdaFamily = {.model_type = "kda",
                             .architecture = "KDAForCausalLM",
                             .mixer_type = "kda",
                             .embedding_name = kFlaEmbeddingName,
                             .read = Read,
                             .why_not = WhyNot,
                             .write = Write,
                             .layer_tensors = FlaLayerTensors};

}  // namespace wyvern
