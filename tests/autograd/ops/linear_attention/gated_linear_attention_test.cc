// Identities between the decays of gated linear attention, independence of documents, and how the
// GPU divides them.
#include "autograd/ops/linear_attention/gated_linear_attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/check/op_check.h"
#include "kernels/linear_attention/gated_linear_attention_plan.h"
#include "tests/support/within_limits.h"

namespace wyvern {
namespace {

using Op = GatedLinearAttention;
using Case = OpCase<Op>;
using Result = OpRun<Op>;

void SetDocuments(const std::vector<int32_t>& lengths, Case* c) {
  std::vector<int32_t>& offsets = c->params.cu_seqlens_host;
  offsets = {0};
  for (const int32_t length : lengths) offsets.push_back(offsets.back() + length);
  c->params.cu_seqlens = Tensor::FromVector(offsets, {static_cast<int64_t>(offsets.size())});
}

// 2 key heads, 4 value heads, mild decays as given, states in and out.
Case MakeCase(const std::vector<int32_t>& lengths, LinearDecay decay, int64_t key_dim = 16,
              int64_t value_dim = 24) {
  constexpr int64_t H = 2, HV = 4;
  CaseRandom random("gated_linear_attention_test");
  Case c;
  SetDocuments(lengths, &c);
  c.name = "test";
  c.params.decay = decay;
  c.params.output_final_state = true;
  const int64_t T = c.params.cu_seqlens_host.back(), N = static_cast<int64_t>(lengths.size());
  c.in.q = random.Normal({T, H, key_dim});
  c.in.k = random.Normal({T, H, key_dim});
  c.in.v = random.Normal({T, HV, value_dim});
  c.in.h0 = random.Normal({N, HV, key_dim, value_dim});
  if (decay == LinearDecay::kPerHead) c.in.gate = random.Uniform({T, HV}, -1, 0);
  if (decay == LinearDecay::kPerChannel) c.in.gate = random.Uniform({T, HV, key_dim}, -1, 0);
  c.bf16_tolerances = {{"ht", 4e-3}, {"d_h0", 4e-3}, {"d_gate", 8e-3}};
  return c;
}

Result RunOnCpu(const Case& c, const Op::Outputs<Tensor>& cotangents) {
  return RunOp(c, cotangents, Device::kCpu, DType::kFloat64, CallForm::kPlain);
}

void ExpectSameBits(const char* name, const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.defined(), b.defined()) << name;
  EXPECT_TRUE(!a.defined() || BitwiseEqual(a, b)) << name;
}

// The rows [begin, end) of a case as one document.
Case Part(const Case& whole, int32_t begin, int32_t end, const Tensor& h0) {
  Case part = whole;
  for (Tensor* t : {&part.in.q, &part.in.k, &part.in.v, &part.in.gate}) {
    if (t->defined()) *t = t->Rows(begin, end);
  }
  part.in.h0 = h0;
  SetDocuments({end - begin}, &part);
  return part;
}

TEST(GatedLinearAttention, WithEqualChannelsADecayPerChannelIsOnePerHead) {
  const Case heads = MakeCase({70, 0, 3}, LinearDecay::kPerHead);
  Case channels = MakeCase({70, 0, 3}, LinearDecay::kPerChannel);
  const int64_t K = channels.in.q.dim(-1);
  for (int64_t i = 0; i < channels.in.gate.numel(); ++i) {
    channels.in.gate.data<double>()[i] = heads.in.gate.data<double>()[i / K];
  }
  const auto cotangents = MakeCotangents(heads, DType::kFloat64);
  const Result expected = RunOnCpu(heads, cotangents);
  Result run = RunOnCpu(channels, cotangents);
  Tensor sum = Tensor::Zeros(heads.in.gate.shape(), DType::kFloat64, Device::kCpu);
  for (int64_t i = 0; i < run.grad.gate.numel(); ++i) {
    sum.data<double>()[i / K] += run.grad.gate.data<double>()[i];
  }
  run.grad.gate = sum;
  const auto near = [](const char* name, const Tensor& x, const Tensor& reference) {
    EXPECT_LE(RelativeRmsError(x, reference), 1e-12) << name;
  };
  ForEachField(near, run.out, expected.out);
  ForEachField(near, run.grad, expected.grad);
}

TEST(GatedLinearAttention, WithADecayOfOneItIsLinearAttention) {
  const Case plain = MakeCase({70, 3}, LinearDecay::kNone);
  const auto cotangents = MakeCotangents(plain, DType::kFloat64);
  const Result expected = RunOnCpu(plain, cotangents);
  Case gated = MakeCase({70, 3}, LinearDecay::kPerChannel);
  gated.in.gate.FillZero();
  Result run = RunOnCpu(gated, cotangents);
  run.grad.gate = Tensor();
  ForEachField(ExpectSameBits, run.out, expected.out);
  ForEachField(ExpectSameBits, run.grad, expected.grad);
}

TEST(GatedLinearAttention, TheLogSigmoidGateIsTheDecayThatItNames) {
  Case logits = MakeCase({40}, LinearDecay::kPerChannel);
  logits.params.gate = LinearGate::kLogSigmoid;
  logits.params.normalizer = 16;
  logits.params.min_log_decay = -0.05;
  logits.in.gate = CaseRandom("logits").Normal(logits.in.gate.shape());
  Case given = logits;
  given.params.gate = LinearGate::kLogDecay;
  given.params.min_log_decay = -1;
  given.in.gate = logits.in.gate.Clone();
  int64_t bounded = 0;
  for (int64_t i = 0; i < given.in.gate.numel(); ++i) {
    double& g = given.in.gate.data<double>()[i];
    g = -std::log1p(std::exp(-g)) / 16;
    if (g < -0.05) {
      g = -0.05;
      ++bounded;
    }
  }
  EXPECT_GT(bounded, 0);
  const auto run = Op::Forward(logits.in, logits.params, nullptr);
  const auto expected = Op::Forward(given.in, given.params, nullptr);
  EXPECT_LE(RelativeRmsError(run.o, expected.o), 1e-13);
}

TEST(GatedLinearAttention, TwoHalvesAreTheWhole) {
  constexpr int32_t kLength = 100, kCut = 37;
  const Case whole = MakeCase({kLength}, LinearDecay::kPerChannel);
  const auto cotangents = MakeCotangents(whole, DType::kFloat64);
  const Result expected = RunOnCpu(whole, cotangents);
  const Case first = Part(whole, 0, kCut, whole.in.h0);
  const Tensor middle = Op::Forward(first.in, first.params, nullptr).ht;
  const Result second = RunOnCpu(Part(whole, kCut, kLength, middle),
                                 {.o = cotangents.o.Rows(kCut, kLength), .ht = cotangents.ht});
  const Result start = RunOnCpu(first, {.o = cotangents.o.Rows(0, kCut), .ht = second.grad.h0});
  ExpectSameBits("first o", start.out.o, expected.out.o.Rows(0, kCut));
  ExpectSameBits("second o", second.out.o, expected.out.o.Rows(kCut, kLength));
  ExpectSameBits("ht", second.out.ht, expected.out.ht);
  ExpectSameBits("d_h0", start.grad.h0, expected.grad.h0);
  ExpectSameBits("d_gate", start.grad.gate, expected.grad.gate.Rows(0, kCut));
}

TEST(GatedLinearAttention, APackedDocumentIsTheDocumentAlone) {
  const std::vector<int32_t> lengths = {1, 63, 0, 65, 33};
  const Case packed = MakeCase(lengths, LinearDecay::kPerChannel);
  const auto cotangents = MakeCotangents(packed, DType::kFloat64);
  const Result expected = RunOnCpu(packed, cotangents);
  for (size_t n = 0; n < lengths.size(); ++n) {
    const int32_t begin = packed.params.cu_seqlens_host[n], end = begin + lengths[n];
    const int64_t row = static_cast<int64_t>(n);
    const Result run =
        RunOnCpu(Part(packed, begin, end, packed.in.h0.Rows(row, row + 1)),
                 {.o = cotangents.o.Rows(begin, end), .ht = cotangents.ht.Rows(row, row + 1)});
    ExpectSameBits("o", run.out.o, expected.out.o.Rows(begin, end));
    ExpectSameBits("ht", run.out.ht, expected.out.ht.Rows(row, row + 1));
    ExpectSameBits("d_q", run.grad.q, expected.grad.q.Rows(begin, end));
    ExpectSameBits("d_k", run.grad.k, expected.grad.k.Rows(begin, end));
    ExpectSameBits("d_v", run.grad.v, expected.grad.v.Rows(begin, end));
    ExpectSameBits("d_gate", run.grad.gate, expected.grad.gate.Rows(begin, end));
    ExpectSameBits("d_h0", run.grad.h0, expected.grad.h0.Rows(row, row + 1));
  }
}

TEST(GatedLinearAttentionDeath, SaysWhichInputIsWrong) {
  Case c = MakeCase({5}, LinearDecay::kPerHead);
  c.in.k = c.in.k.Rows(0, 4);
  EXPECT_DEATH(Op::Forward(c.in, c.params, nullptr),
               "k is \\[4, 2, 16\\], expected \\[5, 2, 16\\]");
  c = MakeCase({5}, LinearDecay::kPerHead);
  c.in.gate = Tensor();
  EXPECT_DEATH(Op::Forward(c.in, c.params, nullptr), "a gate goes with a decay");
  c = MakeCase({5}, LinearDecay::kPerHead);
  c.params.cu_seqlens_host.back() = 6;
  EXPECT_DEATH(Op::Forward(c.in, c.params, nullptr), "cu_seqlens must run from 0");
}

GatedLinearAttentionInputs<Bf16> Packed(const std::vector<int32_t>& offsets, int64_t heads) {
  return {.num_docs = static_cast<int64_t>(offsets.size()) - 1,
          .num_tokens = offsets.back(),
          .num_heads = heads,
          .num_value_heads = heads,
          .key_dim = 100,
          .value_dim = 200,
          .cu_seqlens_host = offsets.data()};
}

TEST(LinearAttentionPlan, CutsFewLongDocumentsIntoSpans) {
  EXPECT_EQ(ChooseLinearAttention(Packed({0, 3, 11}, 4)).ToString(), "forward by steps");
  std::vector<int32_t> many;
  for (int32_t n = 0; n <= 32; ++n) many.push_back(n * 2048);
  EXPECT_EQ(ChooseLinearAttention(Packed(many, 4)).ToString(),
            "chunks, documents whole, padded to 128 x 256");
  EXPECT_EQ(ChooseLinearAttention(Packed({0, 32768}, 4)).ToString(),
            "chunks, spans of 2048 tokens, padded to 128 x 256");
  EXPECT_EQ(ChooseLinearAttention(Packed({0, 1000}, 4)).span_tokens, 0) << "two spans at most";
}

// Pieces of packed documents in the slots of LinearAttentionSlots: none is shared.
TEST(LinearAttentionPlan, EachPieceHasASlotOfItsOwn) {
  const std::vector<int32_t> offsets = {0, 0, 1, 64, 129, 129, 300, 301, 620};
  for (const int64_t unit : {64, 128}) {
    int64_t next = 0;  // the first slot that is free
    for (size_t n = 0; n + 1 < offsets.size(); ++n) {
      const int64_t first = offsets[n] / unit + static_cast<int64_t>(n);
      EXPECT_GE(first, next) << "document " << n;
      next = first + (offsets[n + 1] - offsets[n] + unit - 1) / unit;
    }
    EXPECT_LE(next, LinearAttentionSlots(8, offsets.back(), unit));
  }
}

// Every pass at sizes small enough for compute-sanitizer: short documents in one pack, grouped
// heads, and a document of three spans.
TEST(GatedLinearAttentionCuda, SmallShapesEqualTheOracle) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  std::vector<CheckResult> results;
  for (const LinearDecay decay :
       {LinearDecay::kNone, LinearDecay::kPerHead, LinearDecay::kPerChannel}) {
    CheckAgainstOracle(MakeCase({70, 0, 1, 64}, decay, 80, 64), Device::kCuda, DType::kBf16,
                       &results);
  }
  CheckAgainstOracle(MakeCase({1100}, LinearDecay::kPerChannel), Device::kCuda, DType::kBf16,
                     &results);
  CheckAgainstOracle(MakeCase({3, 8}, LinearDecay::kPerChannel), Device::kCuda, DType::kFloat32,
                     &results);
  ExpectWithinLimits(results);
}

}  // namespace
}  // namespace wyvern
