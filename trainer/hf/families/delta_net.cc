// FLA's delta_net: arXiv 2406.06484.
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
  DeltaMixerConfig d{.decay = DeltaDecay::kNone, .num_heads = 16};
  ReadDeltaKeys(r, &d);
  // The factors are of hidden_size.
  const auto head_dim = [&](const char* key, int64_t* dim) {
    double expand = 1;
    r->Real(key, &expand);
    const int64_t width = ExpandedWidth(r, key, m->hidden_size, expand);
    if (width == 0 || d.num_heads < 1) return;
    if (width % d.num_heads != 0) {
      r->Fault(key,
               absl::StrCat("a width of ", width, " does not divide into num_heads ", d.num_heads));
    }
    *dim = width / d.num_heads;
  };
  head_dim("expand_k", &d.key_dim);
  head_dim("expand_v", &d.value_dim);
  bool gate = false;
  r->Bool("use_gate", &gate);
  d.output_gate = gate ? OutputGate::kSilu : OutputGate::kNone;
  r->Bool("use_beta", &d.learned_beta);
  if (!d.learned_beta && d.negative_eigenvalues) {
    r->Fault("allow_neg_eigval", "true with use_beta false (beta = 2 everywhere) is not supported");
  }
  r->Only("qk_activation", "silu", "q and k pass through SiLU");
  r->Only("qk_norm", "l2", "q and k are normalised by their L2 norm");
  r->Ignore({"use_output_norm"});  // the library's layer ignores it: the norm always exists
  UseEverywhere("delta_net", d, m);
  ReadFlaHybrid(r, m);
}

double ExpandK(const ModelConfig& m, const DeltaMixerConfig& d) {
  return ExpandFactor(m.hidden_size, d.num_heads * d.key_dim);
}

double ExpandV(const ModelConfig& m, const DeltaMixerConfig& d) {
  return ExpandFactor(m.hidden_size, d.num_heads * d.value_dim);
}

void Check(const ModelConfig& m, const MixerConfig& mixer, std::vector<std::string>* why) {
  const auto& d = *mixer.As<DeltaMixerConfig>();
  if (d.decay != DeltaDecay::kNone) {
    why->push_back("needs delta_net as delta-rule layers");
    return;
  }
  if (d.num_value_heads != d.num_heads) {
    why->push_back("needs as many value heads as heads (num_value_heads)");
  }
  if (d.output_gate == OutputGate::kSigmoid) why->push_back("needs an output_gate of silu or none");
  if (d.output_gate_rank > 0) {
    why->push_back("needs an output gate of one matrix (output_gate_rank: 0)");
  }
  if (std::isnan(ExpandK(m, d)) || std::isnan(ExpandV(m, d))) why->push_back(NoExpandFactor(d));
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  return WhyNotFla(m, IsDelta, /*hybrid=*/true, Check);
}

void Write(const ModelConfig& m, nlohmann::json* c) {
  nlohmann::json& config = *c;
  const DeltaMixerConfig d = DeltaMixerOf(m);
  WriteFlaSizes(m, c);
  WriteDeltaKeys(d, c);
  config["expand_k"] = ExpandK(m, d);
  config["expand_v"] = ExpandV(m, d);
  config["use_gate"] = d.output_gate != OutputGate::kNone;
  config["use_beta"] = d.learned_beta;
  config["use_output_norm"] = true;
  config["qk_activation"] = "silu";
  config["qk_norm"] = "l2";
  WriteFlaHybrid(m, c);
}

}  // namespace

const HfFamily kDeltaNetFamily = {.model_type = "delta_net",
                                  .architecture = "DeltaNetForCausalLM",
                                  .mixer_type = "delta_net",
                                  .embedding_name = kFlaEmbeddingName,
                                  .read = Read,
                                  .why_not = WhyNot,
                                  .write = Write,
                                  .layer_tensors = FlaLayerTensors};

}  // namespace wyvern
