// Tests of the delta-rule family beyond its gradients: identities between its members, and
// independence of documents.
#include "autograd/ops/delta_rule/gated_delta_rule.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "autograd/check/op_check.h"
#include "tests/support/within_limits.h"

namespace wyvern {
namespace {

using Op = GatedDeltaRule;
using Case = OpCase<Op>;
using Result = OpRun<Op>;

void SetDocuments(const std::vector<int32_t>& lengths, Case* c) {
  std::vector<int32_t>& offsets = c->params.cu_seqlens_host;
  offsets = {0};
  for (const int32_t length : lengths) offsets.push_back(offsets.back() + length);
  c->params.cu_seqlens = Tensor::FromVector(offsets, {static_cast<int64_t>(offsets.size())});
}

struct Sizes {
  int64_t heads = 2, value_heads = 4, key_dim = 16, value_dim = 24;
};

// Mild decay as given, beta from logits, states in and out.
Case MakeCase(const std::vector<int32_t>& lengths, DeltaDecay decay, const Sizes& s = {}) {
  CaseRandom random("gated_delta_rule_test");
  Case c;
  SetDocuments(lengths, &c);
  c.name = "test";
  c.params.decay = decay;
  c.params.output_final_state = true;
  const int64_t T = c.params.cu_seqlens_host.back();
  c.in.q = random.Normal({T, s.heads, s.key_dim});
  c.in.k = random.Normal({T, s.heads, s.key_dim});
  c.in.v = random.Normal({T, s.value_heads, s.value_dim});
  c.in.beta = random.Normal({T, s.value_heads});
  c.in.h0 =
      random.Normal({static_cast<int64_t>(lengths.size()), s.value_heads, s.key_dim, s.value_dim});
  if (decay == DeltaDecay::kPerHead) c.in.gate = random.Uniform({T, s.value_heads}, -1, 0);
  if (decay == DeltaDecay::kPerChannel) {
    c.in.gate = random.Uniform({T, s.value_heads, s.key_dim}, -1, 0);
  }
  return c;
}

Result RunOnCpu(const Case& c, const Op::Outputs<Tensor>& cotangents, DType io = DType::kFloat64) {
  return RunOp(c, cotangents, Device::kCpu, io, CallForm::kPlain);
}

Result RunOnCpu(const Case& c) { return RunOnCpu(c, MakeCotangents(c, DType::kFloat64)); }

void ExpectSameBits(const char* name, const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.defined(), b.defined()) << name;
  EXPECT_TRUE(!a.defined() || BitwiseEqual(a, b)) << name;
}

void ExpectSameBits(const Result& a, const Result& b) {
  ForEachField(
      [](const char* name, const Tensor& x, const Tensor& y) { ExpectSameBits(name, x, y); }, a.out,
      b.out);
  ForEachField(
      [](const char* name, const Tensor& x, const Tensor& y) { ExpectSameBits(name, x, y); },
      a.grad, b.grad);
}

TEST(GatedDeltaRule, WithoutAnyDecayItIsTheDeltaRule) {
  const Case delta = MakeCase({70, 3}, DeltaDecay::kNone);
  const Result expected = RunOnCpu(delta);
  for (const DeltaDecay decay : {DeltaDecay::kPerHead, DeltaDecay::kPerChannel}) {
    Case gated = MakeCase({70, 3}, decay);
    gated.in.gate.FillZero();
    Result run = RunOnCpu(gated);
    run.grad.gate = Tensor();
    ExpectSameBits(run, expected);
  }
}

TEST(GatedDeltaRule, WithEqualChannelsKdaIsTheGatedDeltaRule) {
  const Case gdn = MakeCase({70, 0, 3}, DeltaDecay::kPerHead);
  Case kda = MakeCase({70, 0, 3}, DeltaDecay::kPerChannel);
  const int64_t K = kda.in.q.dim(-1);
  for (int64_t i = 0; i < kda.in.gate.numel(); ++i) {
    kda.in.gate.data<double>()[i] = gdn.in.gate.data<double>()[i / K];
  }
  const Result expected = RunOnCpu(gdn);
  Result run = RunOnCpu(kda);
  Tensor sum = Tensor::Zeros(gdn.in.gate.shape(), DType::kFloat64, Device::kCpu);
  for (int64_t i = 0; i < run.grad.gate.numel(); ++i) {
    sum.data<double>()[i / K] += run.grad.gate.data<double>()[i];
  }
  run.grad.gate = sum;
  const auto near = [](const char* name, const Tensor& x, const Tensor& reference) {
    EXPECT_LE(x.defined() ? RelativeRmsError(x, reference) : 0, 1e-12) << name;
  };
  ForEachField(near, run.out, expected.out);
  ForEachField(near, run.grad, expected.grad);
}

// The rows [begin, end) of a case that holds one document.
Case Part(const Case& whole, int32_t begin, int32_t end, const Tensor& h0) {
  Case part = whole;
  for (Tensor* t : {&part.in.q, &part.in.k, &part.in.v, &part.in.beta, &part.in.gate}) {
    if (t->defined()) *t = t->Rows(begin, end);
  }
  part.in.h0 = h0;
  SetDocuments({end - begin}, &part);
  return part;
}

TEST(GatedDeltaRule, TwoHalvesAreTheWhole) {
  constexpr int32_t kLength = 100, kCut = 37;
  const Case whole = MakeCase({kLength}, DeltaDecay::kPerChannel);
  const auto cotangents = MakeCotangents(whole, DType::kFloat64);
  const Result expected = RunOnCpu(whole, cotangents);

  const Case first = Part(whole, 0, kCut, whole.in.h0);
  const Tensor middle = Op::Forward(first.in, first.params, nullptr).ht;
  const Result second_run = RunOnCpu(Part(whole, kCut, kLength, middle),
                                     {.o = cotangents.o.Rows(kCut, kLength), .ht = cotangents.ht});
  const Result first_run =
      RunOnCpu(first, {.o = cotangents.o.Rows(0, kCut), .ht = second_run.grad.h0});
  ExpectSameBits("first o", first_run.out.o, expected.out.o.Rows(0, kCut));
  ExpectSameBits("second o", second_run.out.o, expected.out.o.Rows(kCut, kLength));
  ExpectSameBits("ht", second_run.out.ht, expected.out.ht);
  ExpectSameBits("d_h0", first_run.grad.h0, expected.grad.h0);
  const auto rows = [](const char* name, const Tensor& a, const Tensor& b, const Tensor& all) {
    if (!a.defined() || std::string(name) == "h0") return;
    ExpectSameBits(name, a, all.Rows(0, kCut));
    ExpectSameBits(name, b, all.Rows(kCut, kLength));
  };
  ForEachField(rows, first_run.grad, second_run.grad, expected.grad);
}

TEST(GatedDeltaRule, APackedDocumentIsTheDocumentAlone) {
  const std::vector<int32_t> lengths = {1, 63, 0, 65, 33};
  const Case packed = MakeCase(lengths, DeltaDecay::kPerHead);
  for (const DType io : {DType::kFloat64, DType::kFloat32}) {
    const auto cotangents = MakeCotangents(packed, io);
    const Result expected = RunOnCpu(packed, cotangents, io);
    for (size_t n = 0; n < lengths.size(); ++n) {
      const int32_t begin = packed.params.cu_seqlens_host[n], end = begin + lengths[n];
      const int64_t row = static_cast<int64_t>(n);
      const Case alone = Part(packed, begin, end, packed.in.h0.Rows(row, row + 1));
      const Result run = RunOnCpu(
          alone, {.o = cotangents.o.Rows(begin, end), .ht = cotangents.ht.Rows(row, row + 1)}, io);
      ExpectSameBits("o", run.out.o, expected.out.o.Rows(begin, end));
      ExpectSameBits("ht", run.out.ht, expected.out.ht.Rows(row, row + 1));
      ExpectSameBits("d_q", run.grad.q, expected.grad.q.Rows(begin, end));
      ExpectSameBits("d_k", run.grad.k, expected.grad.k.Rows(begin, end));
      ExpectSameBits("d_v", run.grad.v, expected.grad.v.Rows(begin, end));
      ExpectSameBits("d_beta", run.grad.beta, expected.grad.beta.Rows(begin, end));
      ExpectSameBits("d_gate", run.grad.gate, expected.grad.gate.Rows(begin, end));
      ExpectSameBits("d_h0", run.grad.h0, expected.grad.h0.Rows(row, row + 1));
    }
  }
}

TEST(GatedDeltaRule, WithBetaZeroOnlyTheDecayedFirstStateIsRead) {
  Case c = MakeCase({9}, DeltaDecay::kPerChannel, {.heads = 1, .value_heads = 1});
  c.params.beta = DeltaBeta::kGiven;
  c.params.l2_norm = false;
  c.params.scale = 0.7;
  c.in.beta.FillZero();
  const auto out = Op::Forward(c.in, c.params, nullptr);
  const int64_t K = c.in.q.dim(2), V = c.in.v.dim(2);
  std::vector<double> decay(K, 0.0);
  for (int64_t t = 0; t < 9; ++t) {
    for (int64_t i = 0; i < K; ++i) decay[i] += c.in.gate.data<double>()[t * K + i];
    for (int64_t j = 0; j < V; ++j) {
      double expected = 0;
      for (int64_t i = 0; i < K; ++i) {
        expected += 0.7 * std::exp(decay[i]) * c.in.h0.data<double>()[i * V + j] *
                    c.in.q.data<double>()[t * K + i];
      }
      EXPECT_NEAR(out.o.data<double>()[t * V + j], expected, 1e-12) << "token " << t;
    }
  }
}

TEST(GatedDeltaRule, AnEmptyDocumentHandsItsStateOn) {
  const Case c = MakeCase({0, 5, 0}, DeltaDecay::kPerHead);
  const auto cotangents = MakeCotangents(c, DType::kFloat64);
  const Result run = RunOnCpu(c, cotangents);
  for (const int64_t n : {0, 2}) {
    ExpectSameBits("ht", run.out.ht.Rows(n, n + 1), c.in.h0.Rows(n, n + 1));
    ExpectSameBits("d_h0", run.grad.h0.Rows(n, n + 1), cotangents.ht.Rows(n, n + 1));
  }
}

TEST(GatedDeltaRule, TheResultDoesNotDependOnTheNumberOfThreads) {
  Case c = MakeCase({70, 5, 33}, DeltaDecay::kPerChannel);
  c.params.gate = DeltaGate::kSoftplus;
  CaseRandom random("threads");
  c.in.a_log = random.Normal({4});
  c.in.dt_bias = random.Normal({4, 16});
  const auto cotangents = MakeCotangents(c, DType::kFloat32);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const Result one = RunOnCpu(c, cotangents, DType::kFloat32);
  for (const int n : {2, 3, 5}) {
    omp_set_num_threads(n);
    ExpectSameBits(RunOnCpu(c, cotangents, DType::kFloat32), one);
  }
  omp_set_num_threads(threads);
}

TEST(GatedDeltaRule, WithoutSavedCheckpointsTheBackwardIsTheSame) {
  const Case c = MakeCase({70, 0, 33}, DeltaDecay::kPerHead);
  const auto cotangents = MakeCotangents(c, DType::kFloat64);
  const Result expected = RunOnCpu(c, cotangents);
  Op::Saved saved;
  Op::Forward(c.in, c.params, &saved);
  saved.workspace = Tensor();
  Op::Inputs<GradRequest> want;
  want.k.wanted = want.h0.wanted = true;
  const auto grad = Op::Backward(saved, cotangents, want);
  ExpectSameBits("d_k", grad.k, expected.grad.k);
  ExpectSameBits("d_h0", grad.h0, expected.grad.h0);
  EXPECT_FALSE(grad.q.defined() || grad.v.defined()) << "computed without being asked for";
}

TEST(GatedDeltaRuleDeath, SaysWhichInputIsWrong) {
  Case c = MakeCase({5}, DeltaDecay::kPerHead);
  c.in.k = c.in.k.Rows(0, 4);
  EXPECT_DEATH(Op::Forward(c.in, c.params, nullptr),
               "k is \\[4, 2, 16\\], expected \\[5, 2, 16\\]");
  c = MakeCase({5}, DeltaDecay::kPerHead);
  c.params.cu_seqlens_host.back() = 6;
  EXPECT_DEATH(Op::Forward(c.in, c.params, nullptr), "cu_seqlens must run from 0");
  c = MakeCase({5}, DeltaDecay::kPerHead);
  c.params.gate = DeltaGate::kSoftplus;
  EXPECT_DEATH(Op::Forward(c.in, c.params, nullptr), "a_log and dt_bias go with a softplus");
}

// Two documents of one length.
Case LengthCase(int32_t length, DeltaDecay decay, const Sizes& sizes) {
  Case c = MakeCase({length, length}, decay, sizes);
  c.name = absl::StrCat(length, " tokens, ", sizes.key_dim, " x ", sizes.value_dim);
  c.bf16_tolerances = {{"ht", 4e-3}, {"d_h0", 4e-3}, {"d_gate", 8e-3}};
  return c;
}

TEST(GatedDeltaRule, EveryLengthOnTheCpu) {
  std::vector<CheckResult> results;
  for (int32_t length = 1; length <= 130; ++length) {
    const Case c = LengthCase(length, DeltaDecay::kPerChannel, {1, 1, 16, 16});
    CheckAgainstOracle(c, Device::kCpu, DType::kFloat32, &results);
  }
  ExpectWithinLimits(results);
}

TEST(GatedDeltaRule, EveryLengthOnTheGpu) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  std::vector<int32_t> lengths;
  for (int32_t length = 1; length <= 130; ++length) lengths.push_back(length);
  lengths.insert(lengths.end(), {255, 256, 257, 2048});
  for (const DeltaDecay decay :
       {DeltaDecay::kNone, DeltaDecay::kPerHead, DeltaDecay::kPerChannel}) {
    std::vector<CheckResult> results;
    for (const int32_t length : lengths) {
      // The bf16 limits are of a root mean square over a tensor. One token has one d_beta a head, a
      // sum of V rounded terms that may cancel, and of a few such values the mean scatters: hence
      // 64 of them.
      CheckAgainstOracle(LengthCase(length, decay, {2, 4, 64, 64}), Device::kCuda, DType::kFloat32,
                         &results);
      CheckAgainstOracle(LengthCase(length, decay, {16, 32, 64, 64}), Device::kCuda, DType::kBf16,
                         &results);
      // A size that the Hopper kernels leave to the general ones.
      CheckAgainstOracle(LengthCase(length, decay, {2, 4, 48, 80}), Device::kCuda, DType::kBf16,
                         &results);
    }
    ExpectWithinLimits(results);
  }
}

}  // namespace
}  // namespace wyvern
