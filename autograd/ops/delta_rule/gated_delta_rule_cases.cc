#include <algorithm>
#include <cmath>
#include <functional>

#include "autograd/ops/delta_rule/gated_delta_rule.h"

namespace wyvern {
namespace {

using Op = GatedDeltaRule;

enum class Keys { kRandom, kNearIdentical, kRepeated, kSomeZero };

// How the gate's inputs are drawn.
enum class Gates {
  kNone,
  kMild,        // log-sigmoid of 2 normal
  kStrong,      // uniform in (-20, 0)
  kSpiky,       // a tenth of the steps -2661, a few -1e4, the others in (-0.5, 0)
  kMambaInit,   // softplus: A uniform in (1, 16), dt log-uniform in (1e-3, 0.1)
  kCheckpoint,  // softplus: A log-uniform in (1, 201), raw gates as trained models have them
  kOneOff,      // kMambaInit and A = 0, a_log = -inf, in the first head
  kBounded,     // lower bound -5
  kFloor,       // the same, and every step near it: about -300 over a chunk
};

struct Variant {
  const char* name;
  std::vector<int32_t> lengths = {1, 63, 65};
  int64_t heads = 1, group = 1, key_dim = 16, value_dim = 16;
  Gates gates = Gates::kNone;
  bool per_channel = false;
  DeltaBeta beta = DeltaBeta::kSigmoid;
  bool no_beta = false;
  double beta_low = 0, beta_high = 1;  // of DeltaBeta::kGiven
  Keys keys = Keys::kRandom;
  bool initial_state = false, final_state = false;
  bool l2_norm = true;
  double l2_norm_eps = 1e-6;
  double scale = 0;
  bool differences = true;
};

double LogSigmoid(double x) { return -(std::max(-x, 0.0) + std::log1p(std::exp(-std::abs(x)))); }

void Map(const Tensor& t, const std::function<double(double)>& fn) {
  for (int64_t i = 0; i < t.numel(); ++i) t.data<double>()[i] = fn(t.data<double>()[i]);
}

// q or k of [T, H, K].
Tensor DrawKeys(const Variant& v, int64_t num_tokens, Keys keys, CaseRandom* random) {
  const int64_t H = v.heads, K = v.key_dim;
  Tensor x = random->Normal({num_tokens, H, K});
  double* data = x.data<double>();
  if (keys == Keys::kNearIdentical || keys == Keys::kRepeated) {
    const Tensor common = random->Normal({H, K});
    const double noise = keys == Keys::kRepeated ? 0 : 0.1;
    for (int64_t i = 0; i < x.numel(); ++i) {
      data[i] = common.data<double>()[i % (H * K)] + noise * data[i];
    }
  } else if (keys == Keys::kSomeZero) {
    for (int64_t t = 0; t < num_tokens; t += 3) std::fill_n(data + t * H * K, H * K, 0.0);
  }
  if (v.l2_norm) return x;
  for (int64_t row = 0; row < num_tokens * H; ++row) {  // the op then expects unit vectors
    double square = 0;
    for (int64_t i = 0; i < K; ++i) square += data[row * K + i] * data[row * K + i];
    for (int64_t i = 0; i < K; ++i) data[row * K + i] /= std::sqrt(square);
  }
  return x;
}

void DrawGates(const Variant& v, int64_t num_tokens, CaseRandom* random, OpCase<Op>* c) {
  if (v.gates == Gates::kNone) return;
  const int64_t HV = v.heads * v.group;
  const Shape per_head = v.per_channel ? Shape{HV, v.key_dim} : Shape{HV};
  Shape shape = per_head;
  shape.insert(shape.begin(), num_tokens);
  c->params.decay = v.per_channel ? DeltaDecay::kPerChannel : DeltaDecay::kPerHead;
  Tensor& gate = c->in.gate;
  if (v.gates == Gates::kMild) {
    gate = random->Normal(shape, 0, 2);
    Map(gate, LogSigmoid);
  } else if (v.gates == Gates::kStrong) {
    gate = random->Uniform(shape, -20, 0);
  } else if (v.gates == Gates::kSpiky) {
    gate = random->Uniform(shape, 0, 1);
    Map(gate, [](double u) { return u < 0.02 ? -1e4 : u < 0.1 ? -2661 : -0.5 * u; });
  } else if (v.gates == Gates::kBounded || v.gates == Gates::kFloor) {
    const bool floor = v.gates == Gates::kFloor;
    c->params.gate = DeltaGate::kBounded;
    gate = floor ? random->Uniform(shape, 1, 5) : random->Normal(shape, 0, 2);
    c->in.a_log = random->Uniform({HV}, 0, std::log(floor ? 1.5 : 4.0));
    c->in.dt_bias = floor ? random->Uniform(per_head, 0, 1) : random->Normal(per_head);
  } else {
    c->params.gate = DeltaGate::kSoftplus;
    const bool trained = v.gates == Gates::kCheckpoint;
    c->in.a_log = random->Uniform({HV}, trained ? 0 : 1, trained ? std::log(201.0) : 16);
    gate = random->Normal(shape, 0, trained ? 2 : 1);
    c->in.dt_bias = trained ? random->Normal(per_head, -3, 4)
                            : random->Uniform(per_head, std::log(1e-3), std::log(0.1));
    if (!trained) {
      Map(c->in.a_log, [](double a) { return std::log(a); });
      Map(c->in.dt_bias, [](double log_dt) { return std::log(std::expm1(std::exp(log_dt))); });
    }
    if (v.gates == Gates::kOneOff) c->in.a_log.data<double>()[0] = -INFINITY;
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
  params.beta = v.beta;
  params.l2_norm = v.l2_norm;
  params.l2_norm_eps = v.l2_norm_eps;
  params.scale = v.scale;
  params.output_final_state = v.final_state;
  c.in.q = DrawKeys(v, T, Keys::kRandom, random);
  c.in.k = DrawKeys(v, T, v.keys, random);
  c.in.v = random->Normal({T, HV, v.value_dim});
  if (!v.no_beta) {
    c.in.beta = v.beta == DeltaBeta::kGiven ? random->Uniform({T, HV}, v.beta_low, v.beta_high)
                                            : random->Normal({T, HV}, -1);
  }
  if (v.initial_state) c.in.h0 = random->Normal({N, HV, v.key_dim, v.value_dim});
  DrawGates(v, T, random, &c);
  c.finite_differences = v.differences;
  const bool raw = params.gate != DeltaGate::kLogDecay;
  c.bf16_tolerances = {{"ht", 4e-3},
                       {"d_h0", 4e-3},
                       {"d_gate", raw ? 6e-3 : 8e-3},
                       {"d_a_log", 8e-3},
                       {"d_dt_bias", 6e-3}};
  if (v.keys == Keys::kNearIdentical || v.keys == Keys::kRepeated) {
    // Without decay such keys make the op ill-conditioned: the rounding of its operands grows.
    c.bf16_tolerance = v.beta_high > 1 ? 1e-1 : 4e-2;
    c.bf16_tolerances.clear();
  }
  return c;
}

std::vector<Variant> Variants() {
  constexpr DeltaBeta kGiven = DeltaBeta::kGiven, kTwice = DeltaBeta::kTwiceSigmoid;
  return {
      // clang-format off
      // DeltaNet: lengths, states, beta, heads.
      {.name = "delta, one token", .lengths = {1, 1, 1, 1}, .heads = 4, .value_dim = 24,
       .initial_state = true, .final_state = true},
      {.name = "delta, one chunk", .lengths = {64}, .heads = 3},
      {.name = "delta, 1 63 65", .heads = 2, .key_dim = 24, .value_dim = 48, .final_state = true},
      {.name = "delta, empty first document", .lengths = {0, 130}, .initial_state = true,
       .final_state = true},
      {.name = "delta, empty documents between, 2 sigmoid", .lengths = {2, 0, 0, 17}, .heads = 3,
       .beta = kTwice, .initial_state = true, .final_state = true},
      {.name = "delta, 15 16 17", .lengths = {15, 16, 17}, .heads = 3, .key_dim = 64,
       .value_dim = 48},
      {.name = "delta, without beta", .lengths = {31, 33}, .key_dim = 32, .no_beta = true},
      {.name = "delta, beta given, without norm", .lengths = {66}, .heads = 4, .key_dim = 32,
       .value_dim = 64, .beta = kGiven, .l2_norm = false, .scale = 0.3},
      {.name = "delta, beta 0", .lengths = {40}, .beta = kGiven, .beta_high = 0,
       .initial_state = true, .final_state = true},
      {.name = "delta, beta 1", .lengths = {65}, .heads = 3, .key_dim = 64, .value_dim = 48,
       .beta = kGiven, .beta_low = 1},
      {.name = "delta, beta 2", .lengths = {9, 17, 5, 3}, .heads = 4, .key_dim = 64,
       .value_dim = 48, .beta = kGiven, .beta_low = 2, .beta_high = 2, .initial_state = true},
      {.name = "delta, grouped values 2", .lengths = {70}, .heads = 2, .group = 2},
      {.name = "delta, grouped values 4, states", .lengths = {3, 65}, .group = 4, .key_dim = 24,
       .value_dim = 48, .initial_state = true, .final_state = true},
      {.name = "delta, 128 x 128", .lengths = {127, 129}, .heads = 2, .key_dim = 128,
       .value_dim = 128, .initial_state = true, .final_state = true, .differences = false},
      {.name = "delta, 64 x 256", .lengths = {1, 0, 191}, .heads = 1, .group = 2, .key_dim = 64,
       .value_dim = 256, .final_state = true, .differences = false},

      // Keys that make the triangular inverse hard.
      {.name = "delta, near-identical keys", .lengths = {130}, .key_dim = 32, .value_dim = 32,
       .beta = kGiven, .beta_low = 0.7, .keys = Keys::kNearIdentical},
      {.name = "delta, near-identical keys, beta up to 2", .lengths = {130}, .key_dim = 32,
       .value_dim = 32, .beta = kGiven, .beta_low = 1.4, .beta_high = 2,
       .keys = Keys::kNearIdentical},
      {.name = "delta, repeated keys", .lengths = {65}, .beta = kGiven, .beta_low = 0.7,
       .keys = Keys::kRepeated},
      {.name = "delta, near-identical keys, 128 x 128", .lengths = {130}, .key_dim = 128,
       .value_dim = 128, .beta = kGiven, .beta_low = 0.7, .keys = Keys::kNearIdentical,
       .differences = false},

      // The norm is not smooth at zero on the scale of a difference step.
      {.name = "delta, zero keys", .lengths = {66}, .heads = 3, .key_dim = 32,
       .keys = Keys::kSomeZero, .differences = false},

      // Gated DeltaNet.
      {.name = "gdn, mild", .heads = 2, .gates = Gates::kMild, .final_state = true},
      {.name = "gdn, strong", .lengths = {0, 33, 2, 31, 64}, .heads = 3, .gates = Gates::kStrong,
       .initial_state = true, .final_state = true},
      {.name = "gdn, spiky", .lengths = {64, 2}, .heads = 3, .gates = Gates::kSpiky,
       .initial_state = true},
      {.name = "gdn, softplus", .lengths = {1, 63, 2}, .heads = 3, .group = 4, .key_dim = 16,
       .gates = Gates::kMambaInit, .final_state = true},
      {.name = "gdn, softplus, trained", .lengths = {66}, .heads = 3, .group = 4, .key_dim = 16,
       .gates = Gates::kCheckpoint, .initial_state = true},
      {.name = "gdn, softplus, a head without decay", .lengths = {1, 64}, .heads = 3, .group = 4,
       .key_dim = 16, .gates = Gates::kOneOff, .beta = kTwice},
      {.name = "gdn, bounded", .lengths = {2, 0, 17}, .heads = 3, .group = 4,
       .gates = Gates::kBounded, .initial_state = true, .final_state = true},
      {.name = "gdn, softplus, 128 x 128", .lengths = {1, 63, 65, 127}, .heads = 4, .group = 2,
       .key_dim = 128, .value_dim = 128, .gates = Gates::kMambaInit, .initial_state = true,
       .final_state = true, .differences = false},
      {.name = "gdn, softplus, trained, grouped, 64 x 256", .lengths = {200}, .heads = 4,
       .group = 4, .key_dim = 64, .value_dim = 256, .gates = Gates::kCheckpoint,
       .differences = false},

      // Kimi Delta Attention.
      {.name = "kda, one token", .lengths = {1, 1, 1, 1}, .heads = 4, .value_dim = 24,
       .gates = Gates::kMild, .per_channel = true, .initial_state = true, .final_state = true},
      {.name = "kda, mild", .heads = 2, .gates = Gates::kMild, .per_channel = true,
       .final_state = true},
      {.name = "kda, strong", .lengths = {0, 33, 2, 31, 64}, .heads = 3, .key_dim = 24,
       .value_dim = 48, .gates = Gates::kStrong, .per_channel = true, .initial_state = true,
       .final_state = true},
      {.name = "kda, spiky", .lengths = {130}, .key_dim = 32, .value_dim = 32,
       .gates = Gates::kSpiky, .per_channel = true, .initial_state = true},
      {.name = "kda, softplus", .lengths = {2, 0, 17, 48}, .heads = 3, .group = 2,
       .gates = Gates::kMambaInit, .per_channel = true, .final_state = true},
      {.name = "kda, softplus, trained", .lengths = {66}, .heads = 3, .key_dim = 32,
       .value_dim = 16, .gates = Gates::kCheckpoint, .per_channel = true, .initial_state = true},
      {.name = "kda, softplus, a head without decay", .lengths = {1, 50}, .heads = 3, .group = 2,
       .key_dim = 32, .gates = Gates::kOneOff, .per_channel = true, .beta = kTwice},
      {.name = "kda, bounded", .lengths = {1, 40}, .heads = 3, .group = 2,
       .gates = Gates::kBounded, .per_channel = true, .initial_state = true, .final_state = true},
      {.name = "kda, softplus, 128 x 128", .lengths = {1, 63, 65, 127}, .heads = 2, .key_dim = 128,
       .value_dim = 128, .gates = Gates::kMambaInit, .per_channel = true, .initial_state = true,
       .final_state = true, .differences = false},
      {.name = "kda, softplus, trained, 128 x 128", .lengths = {200}, .heads = 4, .key_dim = 128,
       .value_dim = 128, .gates = Gates::kCheckpoint, .per_channel = true, .differences = false},
      {.name = "kda, bounded, 64 x 256", .lengths = {70, 65}, .heads = 4, .group = 2,
       .key_dim = 64, .value_dim = 256, .gates = Gates::kBounded, .per_channel = true,
       .differences = false},
      {.name = "kda, bounded, at the bound", .lengths = {66, 3}, .heads = 2,
       .gates = Gates::kFloor, .per_channel = true, .initial_state = true, .final_state = true},
      {.name = "kda, bounded, at the bound, 128 x 128", .lengths = {64, 130}, .heads = 2,
       .key_dim = 128, .value_dim = 128, .gates = Gates::kFloor, .per_channel = true,
       .initial_state = true, .final_state = true, .differences = false},

      // Another epsilon of the norms, large enough to be seen.
      {.name = "gdn, eps of the norm", .lengths = {5, 40}, .heads = 2, .gates = Gates::kMild,
       .initial_state = true, .l2_norm_eps = 3},
      {.name = "kda, eps of the norm", .lengths = {1, 40}, .heads = 2, .gates = Gates::kBounded,
       .per_channel = true, .final_state = true, .l2_norm_eps = 3},
      {.name = "gdn, eps of the norm, 128 x 128", .lengths = {1, 100}, .heads = 2, .key_dim = 128,
       .value_dim = 128, .gates = Gates::kMambaInit, .l2_norm_eps = 30, .differences = false},
      {.name = "kda, eps of the norm, 128 x 128", .lengths = {1, 100}, .heads = 2, .key_dim = 128,
       .value_dim = 128, .gates = Gates::kMambaInit, .per_channel = true, .l2_norm_eps = 30,
       .differences = false},
      // clang-format on
  };
}

}  // namespace

std::vector<OpCase<GatedDeltaRule>> GatedDeltaRule::Cases() {
  std::vector<OpCase<GatedDeltaRule>> cases;
  for (const Variant& v : Variants()) {
    CaseRandom random(v.name);  // of its own, so that a new case changes no other
    cases.push_back(MakeCase(v, &random));
  }
  return cases;
}

}  // namespace wyvern
