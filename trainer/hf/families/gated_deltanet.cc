// FLA's gated_deltanet: arXiv 2412.06464.
#include <cmath>

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
  DeltaMixerConfig d{.decay = DeltaDecay::kPerHead, .num_heads = 6, .key_dim = 256};
  ReadDeltaKeys(r, &d);
  ReadGatedHeads(r, /*expand_v=*/2, &d);
  bool gate = true;
  r->Bool("use_gate", &gate);
  d.output_gate = gate ? OutputGate::kSilu : OutputGate::kNone;
  UseEverywhere("gated_delta_net", d, m);
  ReadFlaHybrid(r, m);
}

void Check(const ModelConfig& /*m*/, const MixerConfig& mixer, std::vector<std::string>* why) {
  const auto& d = *mixer.As<DeltaMixerConfig>();
  if (d.decay != DeltaDecay::kPerHead) {
    why->push_back("needs gated_delta_net as delta-rule layers");
    return;
  }
  if (!d.learned_beta) why->push_back("needs a learned beta (learned_beta: true)");
  if (d.output_gate_rank > 0) {
    why->push_back("needs an output gate of one matrix (output_gate_rank: 0)");
  }
  if (d.output_gate == OutputGate::kSigmoid) why->push_back("needs an output_gate of silu or none");
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
  (*config)["use_gate"] = d.output_gate != OutputGate::kNone;
  WriteFlaHybrid(m, config);
}

}  // namespace

const HfFamily kGatedDeltaNetFamily = {.model_type = "gated_deltanet",
                                       .architecture = "GatedDeltaNetForCausalLM",
                                       .mixer_type = "gated_delta_net",
                                       .embedding_name = kFlaEmbeddingName,
                                       .read = Read,
                                       .why_not = WhyNot,
                                       .write = Write,
                                       .layer_tensors = FlaLayerTensors};

}  // namespace wyvern
