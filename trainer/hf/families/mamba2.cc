// transformers' mamba2, arXiv 2405.21060.
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "layers/mixers/mamba2/mamba2_config.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/registry.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

using nlohmann::json;

// As transformers 5 writes what JSON has no number for.
const json kInfinity = {{"__float__", "Infinity"}};

// A number of time_step_limit; NaN: it is none.
double LimitOf(const json& limit) {
  if (limit.is_number()) return limit.get<double>();
  return limit == kInfinity || limit == "Infinity" ? std::numeric_limits<double>::infinity()
                                                   : std::nan("");
}

void ReadTimeStepLimit(KeyReader* r, Mamba2MixerConfig* c) {
  const json& limits = r->Json("time_step_limit");
  if (limits.is_null()) return;
  const bool two = limits.is_array() && limits.size() == 2;
  const double least = two ? LimitOf(limits[0]) : std::nan("");
  const double most = two ? LimitOf(limits[1]) : std::nan("");
  if (!(least >= 0 && std::isfinite(least) && most > 0 && most >= least)) {
    r->Fault("time_step_limit", "expected two numbers, the least step and the largest one");
    return;
  }
  c->min_dt = least;
  if (std::isfinite(most)) c->max_dt = most;
}

void Read(KeyReader* r, ModelConfig* m) {
  m->hidden_size = 4096;
  m->num_layers = 64;
  m->norm_eps = 1e-5;
  r->Int("hidden_size", &m->hidden_size);
  r->Int("num_hidden_layers", &m->num_layers);
  r->Real("layer_norm_epsilon", &m->norm_eps);
  m->padding_id = -1;  // the library's embedding has no padding row
  Mamba2MixerConfig c{.num_heads = 128, .head_dim = 64, .state_dim = 128, .num_groups = 8};
  r->Count("num_heads", &c.num_heads);
  r->Count("head_dim", &c.head_dim);
  r->Count("state_size", &c.state_dim);
  r->Count("n_groups", &c.num_groups);
  r->Count("conv_kernel", &c.conv_width);
  r->Bool("use_conv_bias", &c.conv_bias);
  r->Bool("use_bias", &c.bias);
  ReadTimeStepLimit(r, &c);
  double expand = 2;
  r->Real("expand", &expand);
  if (expand * static_cast<double>(m->hidden_size) !=
      static_cast<double>(c.num_heads) * static_cast<double>(c.head_dim)) {
    r->Fault("expand", absl::StrCat(expand, " times hidden_size ", m->hidden_size, " is not ",
                                    c.num_heads, " heads of ", c.head_dim));
  }
  r->Only("hidden_act", "silu", "the convolution and the gate have SiLU");
  r->Only("rms_norm", true, "the output has a norm");
  r->Only("norm_before_gate", false, "the gate stands before the norm");
  r->Ignore({"intermediate_size", "chunk_size", "residual_in_fp32", "rescale_prenorm_residual",
             "time_step_rank", "time_step_min", "time_step_max", "time_step_floor"});
  UseEverywhere("mamba2", c, m);
}

bool IsMamba2(const MixerConfig& mixer) { return mixer.As<Mamba2MixerConfig>() != nullptr; }

std::vector<std::string> WhyNot(const ModelConfig& m) {
  std::vector<std::string> why;
  const std::vector<MixerConfig> layers = MixersInFull(m);
  const MixerConfig* own = OwnMixer(layers, IsMamba2, /*hybrid=*/false, &why);
  if (own == nullptr) return why;
  const auto& c = *own->As<Mamba2MixerConfig>();
  if (c.num_heads * c.head_dim % m.hidden_size != 0) {
    why.push_back("needs num_heads times head_dim to be a multiple of hidden_size");
  }
  if (m.padding_id >= 0) why.push_back("needs an embedding without a padding row (padding_id)");
  return why;
}

void Write(const ModelConfig& m, json* config_json) {
  json& config = *config_json;
  const auto& c = *m.MixerOfLayer(0).As<Mamba2MixerConfig>();
  for (const char* key : {"intermediate_size", "max_position_embeddings", "pad_token_id"}) {
    config.erase(key);
  }
  config["layer_norm_epsilon"] = m.norm_eps;
  config["num_heads"] = c.num_heads;
  config["head_dim"] = c.head_dim;
  config["state_size"] = c.state_dim;
  config["n_groups"] = c.num_groups;
  config["conv_kernel"] = c.conv_width;
  config["use_conv_bias"] = c.conv_bias;
  config["use_bias"] = c.bias;
  config["expand"] = c.num_heads * c.head_dim / m.hidden_size;
  config["time_step_limit"] =
      json::array({c.min_dt, c.max_dt.has_value() ? json(*c.max_dt) : kInfinity});
  config["hidden_act"] = "silu";
  config["residual_in_fp32"] = true;
}

// The rows of in_proj: gate, values, keys, queries and steps.
HfTensor InputRows(int part, absl::string_view kind, const Shape& shape,
                   const Mamba2MixerConfig& c) {
  const int64_t values = c.num_heads * c.head_dim, keys = c.num_groups * c.state_dim;
  const int64_t sizes[] = {values, values, keys, keys, c.num_heads};
  HfTensor tensor{.name = absl::StrCat("mixer.in_proj.", kind), .shape = shape};
  int64_t begin = 0, all = 0;
  for (int i = 0; i < 5; ++i) {
    if (i < part) begin += sizes[i];
    all += sizes[i];
  }
  tensor.shape[0] = all;
  tensor.rows = RowRange(begin, sizes[part]);
  return tensor;
}

constexpr RenamedPart kParts[] = {{"mixer_norm.", "norm."},
                                  {"mixer.conv.", "mixer.conv1d."},
                                  {"mixer.a_log", "mixer.A_log"},
                                  {"mixer.skip", "mixer.D"},
                                  {"mixer.output_norm.", "mixer.norm."},
                                  {"mixer.o_proj.", "mixer.out_proj."}};

std::vector<HfTensor> LayerTensors(absl::string_view name, const Shape& shape,
                                   const MixerConfig& mixer) {
  constexpr absl::string_view kInputs[] = {"mixer.gate_proj.", "mixer.v_proj.", "mixer.k_proj.",
                                           "mixer.q_proj.", "mixer.dt_proj."};
  for (int part = 0; part < 5; ++part) {
    absl::string_view kind = name;
    if (!absl::ConsumePrefix(&kind, kInputs[part])) continue;
    return {InputRows(part, kind, shape, *mixer.As<Mamba2MixerConfig>())};
  }
  return {{.name = Renamed(name, kParts), .shape = shape}};
}

}  // namespace

const HfFamily kMamba2Family = {.model_type = "mamba2",
                                .architecture = "Mamba2ForCausalLM",
                                .mixer_type = "mamba2",
                                .embedding_name = "backbone.embeddings.weight",
                                .final_norm_name = "backbone.norm_f.weight",
                                .layers_prefix = "backbone.layers.",
                                .has_mlp = false,
                                .read = Read,
                                .why_not = WhyNot,
                                .write = Write,
                                .layer_tensors = LayerTensors};

}  // namespace wyvern
