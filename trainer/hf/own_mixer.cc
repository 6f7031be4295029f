#include "trainer/hf/own_mixer.h"

#include "absl/strings/str_cat.h"

namespace wyvern {

std::vector<MixerConfig> MixersInFull(const ModelConfig& m) {
  std::vector<MixerConfig> layers;
  for (int64_t i = 0; i < m.num_layers; ++i) {
    MixerConfig mixer = m.MixerOfLayer(i);
    if (auto* d = mixer.As<DeltaMixerConfig>()) {
      if (d->num_value_heads == 0) d->num_value_heads = d->num_heads;
      if (d->decay == DeltaDecay::kPerChannel && d->decay_rank == 0) d->decay_rank = d->value_dim;
      if (d->output_norm_eps == m.norm_eps) d->output_norm_eps.reset();
    } else if (auto* a = mixer.As<AttentionMixerConfig>()) {
      if (a->num_kv_heads == 0) a->num_kv_heads = a->num_heads;
      if (a->head_dim == 0) a->head_dim = m.hidden_size / a->num_heads;
      if (a->rotary_dim == a->head_dim) a->rotary_dim = 0;
    }
    layers.push_back(std::move(mixer));
  }
  return layers;
}

bool IsAttention(const MixerConfig& mixer) { return mixer.As<AttentionMixerConfig>() != nullptr; }

bool IsDelta(const MixerConfig& mixer) { return mixer.As<DeltaMixerConfig>() != nullptr; }

void CheckL2Norm(const DeltaMixerConfig& d, std::vector<std::string>* why) {
  if (d.l2_norm_eps == DeltaMixerConfig().l2_norm_eps) return;
  why->push_back(absl::StrCat("needs an eps of 1e-6 in the L2 norms of q and k, not ",
                              d.l2_norm_eps, " (l2_norm_eps)"));
}

void CheckPlainAttention(const AttentionMixerConfig& a, std::vector<std::string>* why) {
  if (!a.rope) why->push_back("needs attention that rotates (rope: true)");
  if (a.rotary_dim > 0) why->push_back("needs attention that rotates whole heads (rotary_dim)");
  if (a.output_gate != OutputGate::kNone) why->push_back("needs attention without an output_gate");
  if (a.qk_norm_scope != QkNormScope::kHead) why->push_back("needs qk_norm_scope: head");
  if (a.post_norm) why->push_back("needs norms before the layers (post_norm: false)");
}

const MixerConfig* OwnMixer(const std::vector<MixerConfig>& layers,
                            bool (*is_own)(const MixerConfig&), bool hybrid,
                            std::vector<std::string>* why) {
  const MixerConfig* first = nullptr;
  size_t first_layer = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const MixerConfig& mixer = layers[i];
    if (!is_own(mixer)) {
      if (hybrid && IsAttention(mixer)) continue;
      why->push_back(absl::StrCat("layer ", i + 1, " is ", mixer.type().name));
      if (hybrid || !IsDelta(mixer)) return nullptr;
    } else if (first == nullptr) {
      first = &mixer;
      first_layer = i;
    } else if (!(mixer == *first)) {
      const std::string a = first->type().name, b = mixer.type().name;
      why->push_back(absl::StrCat("needs one mixer", hybrid ? " beside attention" : "", ": layers ",
                                  first_layer + 1, " and ", i + 1, " differ (",
                                  a == b ? absl::StrCat("two kinds of ", a) : a + " and " + b,
                                  ")"));
      break;
    }
  }
  if (first == nullptr && why->empty()) why->push_back("all layers are attention");
  if (first != nullptr && IsDelta(*first)) CheckL2Norm(*first->As<DeltaMixerConfig>(), why);
  return first;
}

}  // namespace wyvern
