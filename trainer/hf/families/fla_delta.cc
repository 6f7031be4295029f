#include "trainer/hf/families/fla_delta.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "layers/mixers/delta/delta_config.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {

void ReadDeltaKeys(KeyReader* r, DeltaMixerConfig* d) {
  r->Int("num_heads", &d->num_heads);
  bool conv = true;
  r->Bool("use_short_conv", &conv);
  r->Int("conv_size", &d->conv_width);
  if (conv && d->conv_width < 1) {
    r->Fault("conv_size", absl::StrCat("expected a positive number, got ", d->conv_width));
  }
  if (!conv) d->conv_width = 0;
  r->Bool("allow_neg_eigval", &d->negative_eigenvalues);
}

void WriteDeltaKeys(const DeltaMixerConfig& d, nlohmann::json* config) {
  (*config)["num_heads"] = d.num_heads;
  (*config)["use_short_conv"] = d.conv_width > 0;
  (*config)["conv_size"] = d.conv_width > 0 ? d.conv_width : 4;
  (*config)["allow_neg_eigval"] = d.negative_eigenvalues;
  (*config)["attn_mode"] = "chunk";
}

void ReadGatedHeads(KeyReader* r, double expand_v, DeltaMixerConfig* d) {
  r->Count("num_v_heads", &d->num_value_heads);
  r->Int("head_dim", &d->key_dim);
  r->Real("expand_v", &expand_v);
  d->value_dim = ExpandedWidth(r, "expand_v", d->key_dim, expand_v);
}

void WriteGatedHeads(const DeltaMixerConfig& d, nlohmann::json* config) {
  (*config)["head_dim"] = d.key_dim;
  (*config)["num_v_heads"] = d.num_value_heads == d.num_heads ? nlohmann::json(nullptr)
                                                              : nlohmann::json(d.num_value_heads);
  (*config)["expand_v"] = ExpandFactor(d.key_dim, d.value_dim);
}

int64_t ExpandedWidth(KeyReader* r, const char* key, int64_t total, double expand) {
  const double width = static_cast<double>(total) * expand;
  if (!(width >= 1 && width < 1e9)) {
    r->Fault(key, absl::StrCat(expand, " gives no width"));
    return 0;
  }
  return static_cast<int64_t>(width);
}

double ExpandFactor(int64_t total, int64_t width) {
  const double e = static_cast<double>(width) / static_cast<double>(total);
  for (const double candidate : {e, std::nextafter(e, 1e9)}) {
    if (static_cast<int64_t>(static_cast<double>(total) * candidate) == width) return candidate;
  }
  return std::nan("");
}

std::string NoExpandFactor(const DeltaMixerConfig& d) {
  return absl::StrCat("needs an expansion factor, and none gives key_dim ", d.key_dim,
                      " and value_dim ", d.value_dim);
}

DeltaMixerConfig DeltaMixerOf(const ModelConfig& m) {
  for (const MixerConfig& mixer : MixersInFull(m)) {
    if (const auto* d = mixer.As<DeltaMixerConfig>()) return *d;
  }
  return {};
}

}  // namespace wyvern
