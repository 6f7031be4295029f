#include "layers/mixer_config.h"
#include "layers/mixers/attention/attention_mixer.h"
#include "layers/mixers/delta/delta_mixer.h"
#include "layers/mixers/gla/gla_mixer.h"
#include "layers/mixers/mamba2/mamba2_mixer.h"
#include "layers/mixers/mla/mla_mixer.h"

namespace wyvern {
namespace {

template <class MixerClass, class Config>
MixerType Row(const char* name, const char* description, const Config& defaults,
              bool context_parallel = true) {
  return {.name = name,
          .description = description,
          .defaults = defaults,
          .context_parallel = context_parallel,
          .create = [](const ModelConfig& model, const MixerConfig& config) {
            return std::make_unique<MixerClass>(model, *config.As<Config>());
          }};
}

}  // namespace

const std::vector<MixerType>& MixerTypes() {
  // One row a type, so that additions merge.
  static const std::vector<MixerType> types = {
      Row<DeltaMixer>("delta_net", "DeltaNet (arXiv 2406.06484): the delta rule without decay.",
                      DeltaMixerConfig()),
      Row<DeltaMixer>(
          "gated_delta_net",
          "Gated DeltaNet (arXiv 2412.06464): the delta rule with a decay per head.",
          DeltaMixerConfig{.decay = DeltaDecay::kPerHead, .output_gate = OutputGate::kSilu}),
      Row<DeltaMixer>("kda",
                      "Kimi Delta Attention (arXiv 2510.26692): the delta rule with a decay per "
                      "key channel.",
                      DeltaMixerConfig{.decay = DeltaDecay::kPerChannel,
                                       .output_gate = OutputGate::kSigmoid,
                                       .output_gate_rank = DeltaMixerConfig::kValueDim}),
      Row<GlaMixer>("gla", "Gated linear attention (arXiv 2312.06635): a decay per key channel.",
                    GlaMixerConfig(), /*context_parallel=*/false),
      Row<Mamba2Mixer>("mamba2", "Mamba-2 (arXiv 2405.21060): a state with a decay per head.",
                       Mamba2MixerConfig(), /*context_parallel=*/false),
      Row<AttentionMixer>("attention", "Causal softmax attention, full or over a sliding window.",
                          AttentionMixerConfig()),
      Row<MlaMixer>("mla", "Multi-head latent attention (arXiv 2405.04434).", MlaMixerConfig()),
  };
  return types;
}

}  // namespace wyvern
