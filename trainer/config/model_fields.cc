// The keys of the section `model`.
#include <algorithm>
#include <map>

#include "trainer/config/fields.h"

namespace wyvern {
namespace {

void VisitMixer(ConfigVisitor& v, MixerConfig* mixer, bool is_new) {
  const std::vector<std::string> names = MixerTypeNames();
  const auto held = std::find(names.begin(), names.end(), mixer->type().name);
  int type = is_new ? -1 : static_cast<int>(held - names.begin());
  v.Choice("type", names, &type, "Selects the mixer and with it the other keys.");
  if (is_new) *mixer = MixerTypes()[std::max(type, 0)].defaults;
  mixer->Visit(v);
}

void VisitMoe(ConfigVisitor& v, MoeConfig* c) {
  v.Value("num_experts", &c->num_experts, {"Experts of a layer.", "[1, 1024]"});
  v.Value("experts_per_token", &c->experts_per_token,
          {"Experts that a token is routed to; at most num_experts.", "[1, 32]"});
  v.Value("intermediate_size", &c->intermediate_size,
          {"Width of the SwiGLU of one expert.", "[1, 4194304]"});
  v.Value("shared_experts", &c->shared_experts,
          {"Shared experts, which every token visits; they are one SwiGLU of their joint width.",
           "[0, 1024]"});
  v.Only(c->shared_experts > 0, "shared_experts: 0", [c](ConfigVisitor& only) {
    only.Value("shared_gate", &c->shared_gate,
               "Whether a sigmoid gate of each token scales what the shared experts give.");
  });
  v.Value("first_dense", &c->first_dense,
          {"Leading layers that keep the MLP; below num_layers.", "[0, inf)", "layers"});
  v.Value("every", &c->every,
          {"Of the layers behind first_dense, those whose number from 0 is a multiple of this have "
           "experts.",
           "[1, 4096]"});
  v.Enumerated("router", {"sigmoid", "softmax"}, &c->router,
               "The function that turns the router's logits into scores.");
  v.Value("renormalize", &c->renormalize,
          "Whether a token's weights are divided by their sum before `scale`.");
  v.Value("scale", &c->scale, {"Factor of the weights of a token's experts.", "(0, inf)"});
  v.Value("groups", &c->groups,
          {"Groups of experts, for group-limited routing; a divisor of num_experts.", "[1, 1024]"});
  v.Only(c->groups != 1, "groups: 1", [c](ConfigVisitor& only) {
    only.Value("top_groups", &c->top_groups,
               {"Groups that a token may route to; at most `groups`.", "[1, 1024]"});
  });
}

template <typename T>
std::vector<std::string> KeysOf(const std::map<std::string, T>& map) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : map) keys.push_back(key);
  return keys;
}

}  // namespace

void VisitModelConfig(ConfigVisitor& v, ModelConfig* c) {
  v.Value("vocab_size", &c->vocab_size,
          {"Rows of the embedding and the head; at least the tokenizer's tokens.",
           "[1, 2147483647]", "tokens"});
  v.Value("hidden_size", &c->hidden_size, {"Width of the residual.", "[1, 262144]"});
  v.Value("num_layers", &c->num_layers,
          {"Number of blocks, each a mixer and an MLP.", "[1, 4096]"});
  v.Value("mlp", &c->mlp,
          "Whether blocks have an MLP; false: each is its mixer alone, as in Mamba.");
  v.Only(c->mlp, "mlp: false", [c](ConfigVisitor& only) {
    only.Value("intermediate_size", &c->intermediate_size,
               {"Width of the SwiGLU MLP; 0: 8/3 of hidden_size, rounded up to a multiple of 256.",
                "[0, 4194304]"});
    only.Value("mlp_bias", &c->mlp_bias, "Whether the projections of the MLP have biases.");
  });
  v.Value("tie_embeddings", &c->tie_embeddings,
          "Whether the head is the embedding (tied embeddings).");
  v.Value("norm_eps", &c->norm_eps,
          {"Epsilon of every RMSNorm, the mixers' output norms included.", "(0, inf)"});
  v.Value("zero_centered_norms", &c->zero_centered_norms,
          "Whether the RMSNorms of blocks, of the head and of attention's q and k scale by 1 + "
          "weight, from zero on; not the mixers' output norms.");
  v.Value("initializer_range", &c->initializer_range,
          {"Standard deviation of the initial matrices, convolutions and embeddings.", "(0, inf)"});
  v.Value("padding_id", &c->padding_id,
          {"Token whose row of the embedding gets no gradient, below vocab_size; -1: none.",
           "[-1, inf)"});
  v.Describe("The token mixers, under names of your own.");
  v.Names("mixers", KeysOf(c->mixers), [c](const std::string& name, ConfigVisitor& mixers) {
    const bool is_new = c->mixers.count(name) == 0;
    MixerConfig* mixer = &c->mixers[name];
    mixers.Section(name, mixer->type().description,
                   [&](ConfigVisitor& keys) { VisitMixer(keys, mixer, is_new); });
  });
  v.Value("pattern", &c->pattern, "Names of mixers, one a layer, repeated over the layers.");
  v.Describe("Single layers that have another mixer than the pattern gives.");
  v.Names("at", KeysOf(c->at), [c](const std::string& name, ConfigVisitor& at) {
    at.Value(name, &c->at[name],
             {"Layers, numbered from 1, that have this mixer instead.", "[1, 4096]", "layers"});
  });
  if (v.Has("moe", c->moe.has_value())) {
    if (!c->moe.has_value()) c->moe.emplace();
    v.Section(
        "moe",
        "A mixture of experts in place of the MLP; without this section every layer has the MLP.",
        [c](ConfigVisitor& keys) { VisitMoe(keys, &*c->moe); });
  }
}

}  // namespace wyvern
