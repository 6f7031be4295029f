#include <cmath>

#include "autograd/ops/linear_attention/gated_linear_attention.h"

namespace wyvern {
namespace {

using Op = GatedLinearAttention;

// How the gate's inputs are drawn.
enum class Gates {
  kNone,
  kMild,     // g uniform in (-0.2, 0)
  kStrong,   // g uniform in (-20, 0)
  kSpiky,    // a tenth of the steps -2661, a few -1e4, the others in (-0.5, 0)
  kLogits,   // logits normal, normalizer 16, as GLA starts
  kTrained,  // logits of mean 2 and deviation 4, normalizer 16
  kSharp,    // logits of deviation 4, normalizer 1
  kBounded,  // kSharp, g at least -1
};

struct Variant {
  const char* name;
  std::vector<int32_t> lengths = {1, 63, 65};
  int64_t heads = 2, group = 1, key_dim = 16, value_dim = 16;
  Gates gates = Gates::kNone;
  LinearDecay decay = LinearDecay::kPerChannel;
  bool initial_state = false, final_state = false;
  double scale = 0;
  bool differences = true;
};

void DrawGates(const Variant& v, int64_t num_tokens, CaseRandom* random, OpCase<Op>* c) {
  if (v.gates == Gates::kNone) return;
  const int64_t HV = v.heads * v.group;
  c->params.decay = v.decay;
  const Shape shape = v.decay == LinearDecay::kPerChannel ? Shape{num_tokens, HV, v.key_dim}
                                                          : Shape{num_tokens, HV};
  Tensor& gate = c->in.gate;
  switch (v.gates) {
    case Gates::kNone:
      return;
    case Gates::kMild:
      gate = random->Uniform(shape, -0.2, 0);
      return;
    case Gates::kStrong:
      gate = random->Uniform(shape, -20, 0);
      return;
    case Gates::kSpiky:
      gate = random->Uniform(shape, 0, 1);
      for (int64_t i = 0; i < gate.numel(); ++i) {
        double& g = gate.data<double>()[i];
        g = g < 0.02 ? -1e4 : g < 0.1 ? -2661 : -0.5 * g;
      }
      return;
    case Gates::kLogits:
    case Gates::kTrained:
      c->params.gate = LinearGate::kLogSigmoid;
      c->params.normalizer = 16;
      gate = v.gates == Gates::kLogits ? random->Normal(shape) : random->Normal(shape, 2, 4);
      return;
    case Gates::kSharp:
    case Gates::kBounded:
      c->params.gate = LinearGate::kLogSigmoid;
      gate = random->Normal(shape, 0, 4);
      if (v.gates == Gates::kBounded) c->params.min_log_decay = -1;
      return;
  }
}

OpCase<Op> MakeCase(const Variant& v, CaseRandom* random) {
  OpCase<Op> c;
  c.name = v.name;
  Op::Params& params = c.params;
  params.cu_seqlens_host = {0};
  for (const int32_t length : v.lengths) {
    params.cu_seqlens_host.push_back(params.cu_seqlens_host.back() + length);
  }
  const int64_t N = static_cast<int64_t>(v.lengths.size()), T = params.cu_seqlens_host.back();
  const int64_t HV = v.heads * v.group;
  params.cu_seqlens = Tensor::FromVector(params.cu_seqlens_host, {N + 1});
  params.scale = v.scale;
  params.output_final_state = v.final_state;
  c.in.q = random->Normal({T, v.heads, v.key_dim});
  c.in.k = random->Normal({T, v.heads, v.key_dim});
  c.in.v = random->Normal({T, HV, v.value_dim});
  if (v.initial_state) c.in.h0 = random->Normal({N, HV, v.key_dim, v.value_dim});
  DrawGates(v, T, random, &c);
  c.finite_differences = v.differences;
  c.bf16_tolerances = {{"ht", 4e-3}, {"d_h0", 4e-3}, {"d_gate", 8e-3}};
  return c;
}

std::vector<Variant> Variants() {
  constexpr LinearDecay kPerHead = LinearDecay::kPerHead;
  return {
      // clang-format off
      {.name = "channels, one token", .lengths = {1, 1, 1, 1}, .heads = 4, .value_dim = 24,
       .gates = Gates::kMild, .initial_state = true, .final_state = true},
      {.name = "channels, few tokens", .lengths = {3, 0, 8, 1}, .heads = 3, .key_dim = 24,
       .gates = Gates::kLogits, .initial_state = true, .final_state = true},
      {.name = "channels, one chunk", .lengths = {64}, .heads = 3, .gates = Gates::kMild},
      {.name = "channels, 1 63 65, odd dims", .key_dim = 23, .value_dim = 37,
       .gates = Gates::kMild, .final_state = true},
      {.name = "channels, empty first document", .lengths = {0, 130}, .gates = Gates::kLogits,
       .initial_state = true, .final_state = true},
      {.name = "channels, empty documents between", .lengths = {2, 0, 0, 17}, .heads = 3,
       .gates = Gates::kLogits, .initial_state = true, .final_state = true},
      {.name = "channels, 15 16 17, scale given", .lengths = {15, 16, 17}, .heads = 3,
       .key_dim = 64, .value_dim = 48, .gates = Gates::kTrained, .scale = 0.3},
      {.name = "channels, strong", .lengths = {0, 33, 2, 31, 64}, .heads = 3, .key_dim = 24,
       .value_dim = 48, .gates = Gates::kStrong, .initial_state = true, .final_state = true},
      {.name = "channels, spiky", .lengths = {130}, .key_dim = 32, .value_dim = 32,
       .gates = Gates::kSpiky, .initial_state = true},
      {.name = "channels, sharp", .lengths = {66}, .heads = 3, .key_dim = 32,
       .gates = Gates::kSharp, .initial_state = true, .final_state = true},
      // A bound's edge is not smooth on the scale of a difference step.
      {.name = "channels, bounded", .lengths = {66}, .heads = 3, .key_dim = 32,
       .gates = Gates::kBounded, .initial_state = true, .final_state = true,
       .differences = false},
      {.name = "channels, grouped values 3", .lengths = {3, 65}, .group = 3, .key_dim = 24,
       .value_dim = 48, .gates = Gates::kTrained, .initial_state = true, .final_state = true},
      {.name = "channels, 128 x 256", .lengths = {1, 63, 65, 127}, .key_dim = 128,
       .value_dim = 256, .gates = Gates::kLogits, .initial_state = true, .final_state = true,
       .differences = false},
      {.name = "channels, trained, 256 x 512", .lengths = {100}, .heads = 1, .key_dim = 256,
       .value_dim = 512, .gates = Gates::kTrained, .initial_state = true, .final_state = true,
       .differences = false},
      {.name = "channels, a long document", .lengths = {1500}, .heads = 1, .key_dim = 32,
       .value_dim = 16, .gates = Gates::kTrained, .initial_state = true, .final_state = true,
       .differences = false},

      {.name = "heads, mild", .gates = Gates::kMild, .decay = kPerHead, .final_state = true},
      {.name = "heads, strong", .lengths = {0, 33, 2, 31, 64}, .heads = 3, .gates = Gates::kStrong,
       .decay = kPerHead, .initial_state = true, .final_state = true},
      {.name = "heads, sharp, grouped values 2", .lengths = {2, 0, 48}, .heads = 3, .group = 2,
       .key_dim = 80, .gates = Gates::kSharp, .decay = kPerHead, .initial_state = true},

      {.name = "no decay, one token", .lengths = {1, 1, 1, 1}, .heads = 4, .initial_state = true,
       .final_state = true},
      {.name = "no decay, 1 63 65", .key_dim = 24, .value_dim = 48, .initial_state = true,
       .final_state = true},
      {.name = "no decay, grouped values 2", .lengths = {70}, .group = 2, .key_dim = 96,
       .value_dim = 80},
      // clang-format on
  };
}

}  // namespace

std::vector<OpCase<GatedLinearAttention>> GatedLinearAttention::Cases() {
  std::vector<OpCase<GatedLinearAttention>> cases;
  for (const Variant& v : Variants()) {
    CaseRandom random(v.name);  // of its own, so that a new case changes no other
    cases.push_back(MakeCase(v, &random));
  }
  return cases;
}

}  // namespace wyvern
