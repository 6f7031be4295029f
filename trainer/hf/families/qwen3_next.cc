// Hugging Face's qwen3_next (Qwen3-Next-80B-A3B): the hybrid of qwen_hybrid.h with experts, whose
// projections of Gated DeltaNet are two matrices, grouped by key head.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/io/json_members.h"
#include "layers/mixers/delta/delta_config.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/qwen_hybrid.h"
#include "trainer/hf/families/registry.h"

namespace wyvern {
namespace {

using nlohmann::json;

// Layers with experts: every `decoder_sparse_step`-th one but those of mlp_only_layers.
std::vector<bool> SparseLayers(KeyReader* r, int64_t num_layers, int64_t num_experts) {
  int64_t step = 1;
  r->Count("decoder_sparse_step", &step);
  std::vector<bool> sparse(num_layers);
  for (int64_t i = 0; i < num_layers; ++i) sparse[i] = num_experts > 0 && (i + 1) % step == 0;
  const json& dense = r->Json("mlp_only_layers");
  if (dense.is_null()) return sparse;
  if (!dense.is_array()) {
    r->Fault("mlp_only_layers", "expected a list of layer numbers from 0");
    return sparse;
  }
  for (const json& layer : dense) {
    const int64_t number = JsonInteger(layer).value_or(-1);
    if (number < 0 || number >= num_layers) {
      r->Fault("mlp_only_layers",
               absl::StrCat(DescribeJson(layer), " is not a layer from 0 to ", num_layers - 1));
    } else {
      sparse[number] = false;
    }
  }
  return sparse;
}

void ReadExperts(KeyReader* r, ModelConfig* m) {
  MoeConfig moe{.num_experts = 512,
                .experts_per_token = 10,
                .intermediate_size = 512,
                .shared_gate = true,
                .first_dense = 0,
                .router = RouterScore::kSoftmax};
  int64_t shared = 512;
  r->Int("num_experts", &moe.num_experts);
  r->Count("num_experts_per_tok", &moe.experts_per_token);
  r->Count("moe_intermediate_size", &moe.intermediate_size);
  r->Count("shared_expert_intermediate_size", &shared);
  r->Bool("norm_topk_prob", &moe.renormalize);
  r->Ignore({"router_aux_loss_coef", "output_router_logits"});
  if (m->num_layers < 1 || m->num_layers > 4096) return;  // a fault of the model's own
  const std::vector<bool> sparse = SparseLayers(r, m->num_layers, moe.num_experts);
  if (std::find(sparse.begin(), sparse.end(), true) == sparse.end()) return;
  if (!FindExpertLayers(sparse, &moe)) {
    r->Fault("decoder_sparse_step",
             "is not supported with these mlp_only_layers: dense layers first, then every n-th "
             "layer, numbered from 0, sparse");
  }
  if (shared % moe.intermediate_size != 0) {
    r->Fault("shared_expert_intermediate_size",
             absl::StrCat("expected a multiple of moe_intermediate_size ", moe.intermediate_size,
                          ", got ", shared));
  }
  moe.shared_experts = shared / moe.intermediate_size;
  m->moe = moe;
}

void Read(KeyReader* r, ModelConfig* m) {
  m->hidden_size = 2048;
  m->num_layers = 48;
  m->intermediate_size = 5632;
  ReadQwenHybrid(r, /*num_kv_heads=*/2, m);
  ReadExperts(r, m);
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  std::vector<std::string> why = WhyNotQwenHybrid(m);
  if (!m.moe.has_value()) return why;
  const MoeConfig& moe = *m.moe;
  if (moe.shared_experts < 1 || !moe.shared_gate) {
    why.push_back("needs a shared expert with a gate (shared_experts, shared_gate: true)");
  }
  if (moe.router != RouterScore::kSoftmax || moe.scale != 1 || moe.groups != 1) {
    why.push_back("needs a router of softmax without scale or groups");
  }
  return why;
}

void Write(const ModelConfig& m, json* c) {
  json& config = *c;
  WriteQwenHybrid(m, c);
  const MoeConfig moe = m.moe.value_or(MoeConfig{.num_experts = 0, .intermediate_size = 512});
  json dense = json::array();
  for (int64_t i = 0; i < m.num_layers && m.moe.has_value(); ++i) {
    if (!m.IsMoe(i)) dense.push_back(i);
  }
  config["num_experts"] = moe.num_experts;
  config["num_experts_per_tok"] = moe.experts_per_token;
  config["moe_intermediate_size"] = moe.intermediate_size;
  config["shared_expert_intermediate_size"] = moe.shared_experts * moe.intermediate_size;
  config["norm_topk_prob"] = moe.renormalize;
  config["decoder_sparse_step"] = 1;
  config["mlp_only_layers"] = dense;
  config["router_aux_loss_coef"] = 0.0;
  config["output_router_logits"] = false;
}

// in_proj_qkvz: of each key head its query, its key, the values and the gates of its value heads.
// in_proj_ba: of each key head beta and decay of its value heads.
HfTensor Projection(absl::string_view name, const Shape& shape, const DeltaMixerConfig& d) {
  const int64_t H = d.num_heads, K = d.key_dim;
  const int64_t group = (d.num_value_heads > 0 ? d.num_value_heads : H) / H;
  const int64_t V = group * d.value_dim;  // of a key head
  if (name == "beta_proj.weight" || name == "decay_proj.weight") {
    return {.name = "linear_attn.in_proj_ba.weight",
            .shape = {2 * H * group, shape[1]},
            .rows = GroupedRows(H, name == "beta_proj.weight" ? 0 : group, group, 2 * group)};
  }
  const bool is_value = name == "v_proj.weight" || name == "gate_proj.weight";
  const int64_t begin = name == "q_proj.weight"   ? 0
                        : name == "k_proj.weight" ? K
                        : name == "v_proj.weight" ? 2 * K
                                                  : 2 * K + V;
  return {.name = "linear_attn.in_proj_qkvz.weight",
          .shape = {H * (2 * K + 2 * V), shape[1]},
          .rows = GroupedRows(H, begin, is_value ? V : K, 2 * K + 2 * V)};
}

constexpr RenamedPart kExpertParts[] = {{"moe.experts.gate.weight", ".gate_proj.weight"},
                                        {"moe.experts.up.weight", ".up_proj.weight"},
                                        {"moe.experts.down.weight", ".down_proj.weight"}};
constexpr RenamedPart kMoeParts[] = {{"moe.router.weight", "mlp.gate.weight"},
                                     {"moe.shared_gate.", "mlp.shared_expert_gate."},
                                     {"moe.shared.", "mlp.shared_expert."}};

std::vector<HfTensor> LayerTensors(absl::string_view name, const Shape& shape,
                                   const MixerConfig& mixer) {
  if (absl::ConsumePrefix(&name, "mixer.")) {
    return {QwenMixerTensor(name, shape, mixer, Projection)};
  }
  if (name == "moe.router.bias") return {};  // the choice is by the scores alone
  for (const RenamedPart& part : kExpertParts) {
    if (name == part.ours) return ExpertSlices("mlp.experts.", part.theirs, shape);
  }
  if (absl::StartsWith(name, "moe.")) return {{.name = Renamed(name, kMoeParts), .shape = shape}};
  return {{.name = Renamed(name, kHfLayerParts), .shape = shape}};
}

}  // namespace

const HfFamily kQwen3NextFamily = {.model_type = "qwen3_next",
                                   .architecture = "Qwen3NextForCausalLM",
                                   .mixer_type = "gated_delta_net",
                                   .embedding_name = kHfEmbeddingName,
                                   .zero_centered_norms = true,
                                   .read = Read,
                                   .why_not = WhyNot,
                                   .write = Write,
                                   .layer_tensors = LayerTensors};

}  // namespace wyvern
