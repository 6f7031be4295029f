// Every op that a CP group divides against the same op in one process, wherever the tokens are
// cut.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "autograd/check/op_case.h"
#include "autograd/ops/attention/mla_keys.h"
#include "autograd/ops/matmul/matmul.h"
#include "autograd/parallel/context_attention.h"
#include "autograd/parallel/context_delta_rule.h"
#include "autograd/parallel/context_rows.h"
#include "autograd/parallel/context_short_conv.h"
#include "kernels/runtime/random.h"
#include "tests/ranks/ranks.h"

namespace wyvern {
namespace {

struct Layout {
  std::vector<int32_t> cu_seqlens;
  std::vector<int64_t> begins;

  int64_t num_tokens() const { return cu_seqlens.back(); }
  std::string ToString() const {
    return absl::StrCat("documents ", absl::StrJoin(cu_seqlens, " "), ", parts ",
                        absl::StrJoin(begins, " "));
  }
};

Layout MakeLayout(const std::vector<int32_t>& lengths, std::vector<int64_t> begins) {
  Layout layout{.cu_seqlens = {0}, .begins = std::move(begins)};
  for (const int32_t length : lengths) {
    layout.cu_seqlens.push_back(layout.cu_seqlens.back() + length);
  }
  return layout;
}

// Documents of 0 to 9 tokens cut anywhere, one document over all ranks, parts without tokens.
std::vector<Layout> Layouts(int64_t num_ranks) {
  std::vector<Layout> layouts;
  const std::vector<std::vector<int32_t>> documents = {
      {17}, {1, 1, 1, 1, 1, 1, 1}, {0, 3, 0, 0, 11, 0}, {2, 40, 3}, {1}, {}, {5, 9, 6}};
  for (const std::vector<int32_t>& lengths : documents) {
    int64_t T = 0;
    for (const int32_t length : lengths) T += length;
    layouts.push_back(MakeLayout(lengths, ContextSplit::EvenParts(T, num_ranks)));
  }
  // A token a rank, the rest with the last; all with the first; all with the last.
  std::vector<int64_t> few, first(num_ranks + 1, 17), last(num_ranks + 1, 0);
  for (int64_t r = 0; r < num_ranks; ++r) few.push_back(r);
  few.push_back(17);
  first.front() = 0;
  last.back() = 17;
  layouts.push_back(MakeLayout({17}, few));
  layouts.push_back(MakeLayout({4, 13}, first));
  layouts.push_back(MakeLayout({13, 4}, last));
  for (uint64_t seed = 0; seed < 24; ++seed) {
    const Random random(seed, "context layouts");
    uint64_t draw = 0;
    std::vector<int32_t> lengths;
    for (uint64_t n = 0; n < 1 + seed % 5; ++n) {
      lengths.push_back(static_cast<int32_t>(random.Below(draw++, seed % 3 == 0 ? 4 : 20)));
    }
    Layout layout = MakeLayout(lengths, {});
    for (int64_t r = 1; r < num_ranks; ++r) {
      layout.begins.push_back(static_cast<int64_t>(
          random.Below(draw++, static_cast<uint64_t>(layout.num_tokens()) + 1)));
    }
    layout.begins.insert(layout.begins.end(), {0, layout.num_tokens()});
    std::sort(layout.begins.begin(), layout.begins.end());
    layouts.push_back(layout);
  }
  return layouts;
}

// The same op on all tokens and on this rank's, and the sums over the ranks that a comparison
// needs.
class Comparison {
 public:
  Comparison(Communicator* group, const Layout& layout)
      : group_(*group),
        split(std::make_shared<ContextSplit>(layout.cu_seqlens, layout.begins, group)) {}

  Tensor Own(const Tensor& whole) const {
    return whole.defined() ? whole.Rows(split->own().begin, split->own().end) : whole;
  }

  // Compares rows of tokens: all ranks' errors relative to the whole.
  void ExpectRows(const std::string& name, const Tensor& got, const Tensor& whole) {
    Expect(name, got, Own(whole), whole);
  }
  // Compares a parameter's gradient: the sum over the ranks.
  void ExpectSum(const std::string& name, const Tensor& got, const Tensor& whole) {
    if (!whole.defined()) return;
    const Tensor sum = got.defined() ? got.Clone() : Tensor::ZerosLike(whole);
    group_.AllReduce(sum.raw(), sum.raw(), sum.numel(), sum.dtype());
    Expect(name, sum, whole, whole);
  }

 private:
  void Expect(const std::string& name, const Tensor& got, const Tensor& expected,
              const Tensor& whole) {
    if (!whole.defined() || whole.numel() == 0) return;
    const double tolerance = whole.dtype() == DType::kFloat64 ? 1e-10 : 1e-5;
    const std::vector<double> reference = Doubles(expected), all = Doubles(whole);
    ASSERT_TRUE(got.defined() || reference.empty()) << name;
    const std::vector<double> x = got.defined() ? Doubles(got) : std::vector<double>();
    ASSERT_EQ(x.size(), reference.size()) << name;
    double difference = 0, norm = 0;
    for (size_t i = 0; i < x.size(); ++i) difference += std::pow(x[i] - reference[i], 2);
    for (const double r : all) norm += r * r;
    EXPECT_LE(std::sqrt(difference), tolerance * std::sqrt(norm)) << name;
  }

  static std::vector<double> Doubles(const Tensor& t) {
    return t.Contiguous().To(DType::kFloat64).ToVector<double>();
  }

  Communicator& group_;

 public:
  const std::shared_ptr<ContextSplit> split;
};

Var LeafOf(const Tensor& t) { return t.defined() ? Var::Leaf(t) : Var(); }

Tensor OffsetsOf(const std::vector<int32_t>& offsets) {
  return Tensor::FromVector(offsets, {static_cast<int64_t>(offsets.size())});
}

// Runs `check` in groups of 2, 3 and 4 ranks, as far as there are so many, in both types.
void OnGroups(const std::function<void(Communicator*, const Layout&, DType)>& check) {
  World& world = TheWorld();
  for (int size = std::min(2, world.size()); size <= world.size(); ++size) {
    // Groups of `size`, and the ranks that are left.
    std::vector<int> ranks;
    for (int r = 0; r < world.size(); ++r) {
      if (r / size == world.rank() / size) ranks.push_back(r);
    }
    const auto group = world.MakeGroup(Device::kCpu, ranks, "context");
    ASSERT_TRUE(group.ok()) << group.status();
    for (const Layout& layout : Layouts((*group)->size())) {
      SCOPED_TRACE(layout.ToString());
      for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
        check(group->get(), layout, dtype);
      }
    }
  }
}

struct RuleCase {
  const char* name;
  DeltaDecay decay = DeltaDecay::kNone;
  DeltaGate gate = DeltaGate::kLogDecay;
  int64_t key_dim = 5, value_dim = 3, group = 1;
  bool beta = true;
};

void CheckRule(Communicator* group, const Layout& layout, DType dtype, const RuleCase& c) {
  SCOPED_TRACE(c.name);
  Comparison comparison(group, layout);
  const int64_t T = layout.num_tokens(), H = 2, HV = H * c.group, K = c.key_dim, V = c.value_dim;
  CaseRandom random(absl::StrCat(c.name, layout.ToString()));
  ContextDeltaRule::Inputs<Tensor> in{
      .q = random.Normal({T, H, K}), .k = random.Normal({T, H, K}), .v = random.Normal({T, HV, V})};
  if (c.beta) in.beta = random.Normal({T, HV});
  const bool channels = c.decay == DeltaDecay::kPerChannel;
  if (c.decay != DeltaDecay::kNone) {
    const Shape shape = channels ? Shape{T, HV, K} : Shape{T, HV};
    in.gate =
        c.gate == DeltaGate::kLogDecay ? random.Uniform(shape, -0.5, 0) : random.Normal(shape);
    if (c.gate != DeltaGate::kLogDecay) {
      in.a_log = random.Uniform({HV}, -1, 0.5);
      in.dt_bias = random.Normal(channels ? Shape{HV, K} : Shape{HV}, -1);
    }
  }
  const Tensor d_o = random.Normal({T, HV, V}).To(dtype);
  ForEachField([&](const char*, Tensor& t) { t = t.To(dtype); }, in);

  Tape tape;
  GatedDeltaRule::Inputs<Var> whole{.q = LeafOf(in.q),
                                    .k = LeafOf(in.k),
                                    .v = LeafOf(in.v),
                                    .beta = LeafOf(in.beta),
                                    .gate = LeafOf(in.gate),
                                    .a_log = LeafOf(in.a_log),
                                    .dt_bias = LeafOf(in.dt_bias)};
  const GatedDeltaRule::Params params{.cu_seqlens = OffsetsOf(layout.cu_seqlens),
                                      .cu_seqlens_host = layout.cu_seqlens,
                                      .decay = c.decay,
                                      .gate = c.gate};
  const Var o = tape.Apply<GatedDeltaRule>(whole, params).o;
  tape.Backward({{o, d_o}});

  ContextDeltaRule::Inputs<Var> part{.q = LeafOf(comparison.Own(in.q)),
                                     .k = LeafOf(comparison.Own(in.k)),
                                     .v = LeafOf(comparison.Own(in.v)),
                                     .beta = LeafOf(comparison.Own(in.beta)),
                                     .gate = LeafOf(comparison.Own(in.gate)),
                                     .a_log = LeafOf(in.a_log),
                                     .dt_bias = LeafOf(in.dt_bias)};
  GatedDeltaRule::Params own = params;
  own.cu_seqlens_host = comparison.split->documents();
  own.cu_seqlens = OffsetsOf(own.cu_seqlens_host);
  const Var own_o = tape.Apply<ContextDeltaRule>(part, {.rule = own, .split = comparison.split}).o;
  tape.Backward({{own_o, comparison.Own(d_o)}});

  comparison.ExpectRows("o", own_o.value(), o.value());
  comparison.ExpectRows("d_q", part.q.grad(), whole.q.grad());
  comparison.ExpectRows("d_k", part.k.grad(), whole.k.grad());
  comparison.ExpectRows("d_v", part.v.grad(), whole.v.grad());
  comparison.ExpectRows("d_beta", part.beta.grad(), whole.beta.grad());
  comparison.ExpectRows("d_gate", part.gate.grad(), whole.gate.grad());
  comparison.ExpectSum("d_a_log", part.a_log.grad(), whole.a_log.grad());
  comparison.ExpectSum("d_dt_bias", part.dt_bias.grad(), whole.dt_bias.grad());
}

TEST(ContextRanks, DeltaRulesPassTheirStates) {
  OnGroups([](Communicator* group, const Layout& layout, DType dtype) {
    for (const RuleCase& c :
         {RuleCase{.name = "delta"},
          RuleCase{.name = "delta without beta, wide values", .value_dim = 9, .beta = false},
          RuleCase{.name = "decay per head, grouped values",
          .decay = DeltaDecay::kPerHead,
          .gate = DeltaGate::kSoftplus,
          .group = 2},
          RuleCase{.name = "decay per channel",
          .decay = DeltaDecay::kPerChannel,
          .gate = DeltaGate::kSoftplus,
          .group = 2},
          RuleCase{.name = "decay per channel, given", .decay = DeltaDecay::kPerChannel},
          RuleCase{.name = "decay per channel, bounded",
          .decay = DeltaDecay::kPerChannel,
          .gate = DeltaGate::kBounded}}) {
      CheckRule(group, layout, dtype, c);
    }
  });
}

void CheckConvolution(Communicator* group, const Layout& layout, DType dtype, int64_t width) {
  SCOPED_TRACE(absl::StrCat("width ", width));
  Comparison comparison(group, layout);
  const int64_t T = layout.num_tokens(), D = 6;
  CaseRandom random(absl::StrCat("conv ", width, layout.ToString()));
  // Columns among others, as in a layer.
  const Tensor wide = random.Normal({T, D + 3}).To(dtype);
  const Tensor weight = random.Normal({D, width}).To(dtype);
  const Tensor d_y = random.Normal({T, 2}).To(dtype), d_y1 = random.Normal({T, 4}).To(dtype);
  const ShortConv::Params params{.parts = {2, 4}, .cu_seqlens = OffsetsOf(layout.cu_seqlens)};

  Tape tape;
  const Var x = LeafOf(wide), w = LeafOf(weight);
  const auto whole = tape.Apply<ShortConv>({.x = x.Columns(1, 1 + D), .weight = w}, params);
  tape.Backward({{whole.y, d_y}, {whole.y1, d_y1}});

  const Var own_x = LeafOf(comparison.Own(wide)), own_w = LeafOf(weight);
  ShortConv::Params own = params;
  own.cu_seqlens = OffsetsOf(comparison.split->documents());
  const auto part = tape.Apply<ContextShortConv>({.x = own_x.Columns(1, 1 + D), .weight = own_w},
                                                 {.conv = own, .split = comparison.split});
  tape.Backward({{part.y, comparison.Own(d_y)}, {part.y1, comparison.Own(d_y1)}});

  comparison.ExpectRows("y", part.y.value(), whole.y.value());
  comparison.ExpectRows("y1", part.y1.value(), whole.y1.value());
  comparison.ExpectRows("d_x", own_x.grad(), x.grad());
  comparison.ExpectSum("d_weight", own_w.grad(), w.grad());
}

TEST(ContextRanks, ConvolutionsPassTheirTails) {
  OnGroups([](Communicator* group, const Layout& layout, DType dtype) {
    for (const int64_t width : {1, 2, 4, 8}) CheckConvolution(group, layout, dtype, width);
  });
}

void CheckAttention(Communicator* group, const Layout& layout, DType dtype, int64_t window) {
  SCOPED_TRACE(absl::StrCat("window ", window));
  Comparison comparison(group, layout);
  const int64_t T = layout.num_tokens(), H = 4, HK = 2, D = 5, DV = 3;
  CaseRandom random(absl::StrCat("attention ", window, layout.ToString()));
  // Columns of one matmul, as in a layer.
  const int64_t q_end = H * D, k_end = q_end + HK * D, v_end = k_end + HK * DV;
  const Tensor qkv = random.Normal({T, v_end}).To(dtype), d_o = random.Normal({T, H, DV}).To(dtype);
  const auto inputs = [&](const Var& x) {
    const int64_t rows = x.value().dim(0);
    return std::array<Var, 3>{x.Columns(0, q_end).Reshape({rows, H, D}),
                              x.Columns(q_end, k_end).Reshape({rows, HK, D}),
                              x.Columns(k_end, v_end).Reshape({rows, HK, DV})};
  };
  Attention::Params params{.cu_seqlens_q = OffsetsOf(layout.cu_seqlens),
                           .cu_seqlens_q_host = layout.cu_seqlens,
                           .window = window};

  Tape tape;
  const Var whole = LeafOf(qkv);
  const auto [q, k, v] = inputs(whole);
  const Var o = tape.Apply<Attention>({.q = q, .k = k, .v = v}, params).o;
  tape.Backward({{o, d_o}});

  const Var part = LeafOf(comparison.Own(qkv));
  const auto [own_q, own_k, own_v] = inputs(part);
  params.cu_seqlens_q_host = comparison.split->documents();
  params.cu_seqlens_q = OffsetsOf(params.cu_seqlens_q_host);
  const Var own_o = tape.Apply<ContextAttention>({.q = own_q, .k = own_k, .v = own_v},
                                                 {.attention = params, .split = comparison.split})
                        .o;
  tape.Backward({{own_o, comparison.Own(d_o)}});

  comparison.ExpectRows("o", own_o.value(), o.value());
  const auto columns = [&](const std::string& name, int64_t begin, int64_t end) {
    if (layout.num_tokens() == 0) return;
    const Tensor own = part.grad();
    comparison.ExpectRows(name, own.defined() ? own.Columns(begin, end) : own,
                          whole.grad().Columns(begin, end));
  };
  columns("d_q", 0, q_end);
  columns("d_k", q_end, k_end);
  columns("d_v", k_end, v_end);
}

TEST(ContextRanks, AttentionGathersKeysAndValues) {
  OnGroups([](Communicator* group, const Layout& layout, DType dtype) {
    for (const int64_t window : {0, 1, 2, 5, 100}) CheckAttention(group, layout, dtype, window);
  });
}

// MLA as its layer divides it: latent vectors travel, keys and values are made of them
// where they are read.
void CheckLatentAttention(Communicator* group, const Layout& layout, DType dtype) {
  Comparison comparison(group, layout);
  const int64_t T = layout.num_tokens(), H = 3, P = 4, R = 2, V = 5, L = 6, q_end = H * (P + R);
  CaseRandom random(absl::StrCat("latent attention ", layout.ToString()));
  const Tensor x = random.Normal({T, q_end + L + R}).To(dtype);
  const Tensor w = random.Normal({H * (P + V), L}).To(dtype);
  const Tensor d_o = random.Normal({T, H, V}).To(dtype);
  const auto attend = [&](Tape& tape, const Var& all, const Var& weight,
                          const std::shared_ptr<ContextSplit>& split) {
    const int64_t rows = all.value().dim(0);
    Attention::Params params;
    params.cu_seqlens_q_host = split == nullptr ? layout.cu_seqlens : split->documents();
    params.cu_seqlens_q = OffsetsOf(params.cu_seqlens_q_host);
    Var c = all.Columns(q_end, q_end + L), r = all.Columns(q_end + L, q_end + L + R);
    if (split != nullptr) {
      c = tape.Apply<ContextRows>({.x = c}, {.split = split}).y;
      r = tape.Apply<ContextRows>({.x = r}, {.split = split}).y;
      params.cu_seqlens_k_host = split->WithRowsBefore(c.value().dim(0) - rows).host;
      params.cu_seqlens_k = OffsetsOf(params.cu_seqlens_k_host);
    }
    const int64_t seen = c.value().dim(0);
    const Var kv = tape.Apply<MatMul>({.x = c, .weight = weight}, {}).y;
    const Var k =
        tape.Apply<MlaKeys>({.own = kv.Columns(0, H * P).Reshape({seen, H, P}), .shared = r}, {}).k;
    return tape
        .Apply<Attention>({.q = all.Columns(0, q_end).Reshape({rows, H, P + R}),
                           .k = k,
                           .v = kv.Columns(H * P, H * (P + V)).Reshape({seen, H, V})},
                          params)
        .o;
  };
  Tape tape;
  const Var whole = LeafOf(x), weight = LeafOf(w);
  const Var o = attend(tape, whole, weight, nullptr);
  tape.Backward({{o, d_o}});
  const Var part = LeafOf(comparison.Own(x)), own_weight = LeafOf(w);
  const Var own_o = attend(tape, part, own_weight, comparison.split);
  tape.Backward({{own_o, comparison.Own(d_o)}});
  comparison.ExpectRows("o", own_o.value(), o.value());
  comparison.ExpectRows("d_x", part.grad(), whole.grad());
  comparison.ExpectSum("d_weight", own_weight.grad(), weight.grad());
}

TEST(ContextRanks, LatentAttentionGathersLatentVectors) { OnGroups(CheckLatentAttention); }

// A rank's share of the traffic: what its window covers and no more.
TEST(ContextRanks, NoMoreRowsAreFetchedThanAreRead) {
  Communicator& group = TheWorld().host();
  const int64_t T = 20 * group.size();
  ContextSplit split({0, static_cast<int32_t>(T)}, ContextSplit::EvenParts(T, group.size()),
                     &group);
  EXPECT_EQ(RowExchange(&split, 7).num_rows(), group.rank() == 0 ? 0 : 7);
  EXPECT_EQ(RowExchange(&split, RowExchange::kNoLimit).num_rows(), 20 * group.rank());
  EXPECT_TRUE(RowExchange(&split, 0).idle());
}

}  // namespace
}  // namespace wyvern
