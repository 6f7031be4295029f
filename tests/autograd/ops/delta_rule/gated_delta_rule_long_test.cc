// The GPU's gated delta rule on documents long enough to be cut into segments, up to a million
// tokens, and its repeatability.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "autograd/check/op_check.h"
#include "autograd/ops/delta_rule/gated_delta_rule.h"
#include "tests/autograd/ops/delta_rule/decays.h"
#include "tests/support/within_limits.h"

namespace wyvern {
namespace {

using Op = GatedDeltaRule;
using Case = OpCase<Op>;

struct Sizes {
  int64_t heads, value_heads, key_dim, value_dim;
};

// Softplus gates of about -0.02 a token, so that the far past still counts; beta from logits; a
// state to begin with.
Case MakeCase(const std::vector<int32_t>& lengths, DeltaDecay decay, const Sizes& s) {
  CaseRandom random("gated_delta_rule_long_test");
  Case c;
  c.name = absl::StrCat(lengths.back(), " tokens, K ", s.key_dim, ", V ", s.value_dim);
  std::vector<int32_t>& offsets = c.params.cu_seqlens_host;
  offsets = {0};
  for (const int32_t length : lengths) offsets.push_back(offsets.back() + length);
  const int64_t N = static_cast<int64_t>(lengths.size()), T = offsets.back();
  c.params.cu_seqlens = Tensor::FromVector(offsets, {N + 1});
  c.params.decay = decay;
  c.params.beta = DeltaBeta::kSigmoid;
  c.params.output_final_state = true;
  c.in.q = random.Normal({T, s.heads, s.key_dim});
  c.in.k = random.Normal({T, s.heads, s.key_dim});
  c.in.v = random.Normal({T, s.value_heads, s.value_dim});
  c.in.beta = random.Normal({T, s.value_heads}, -1);
  c.in.h0 = random.Normal({N, s.value_heads, s.key_dim, s.value_dim});
  c.bf16_tolerances = {
      {"ht", 4e-3}, {"d_h0", 4e-3}, {"d_gate", 6e-3}, {"d_a_log", 8e-3}, {"d_dt_bias", 6e-3}};
  if (decay == DeltaDecay::kNone) return c;
  c.params.gate = DeltaGate::kSoftplus;
  const bool per_channel = decay == DeltaDecay::kPerChannel;
  c.in.gate =
      random.Normal(per_channel ? Shape{T, s.value_heads, s.key_dim} : Shape{T, s.value_heads});
  c.in.a_log = random.Uniform({s.value_heads}, -1, 1);
  c.in.dt_bias =
      random.Normal(per_channel ? Shape{s.value_heads, s.key_dim} : Shape{s.value_heads}, -4);
  return c;
}

class GatedDeltaRuleLong : public testing::TestWithParam<DeltaDecay> {
 protected:
  void SetUp() override {
    std::string why;
    if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  }
};

TEST_P(GatedDeltaRuleLong, FewLongDocumentsEqualTheOracle) {
  std::vector<CheckResult> results;
  for (const Sizes& s : {Sizes{1, 1, 64, 64}, Sizes{1, 2, 128, 128}, Sizes{1, 1, 128, 256}}) {
    CheckAgainstOracle(MakeCase({4161}, GetParam(), s), Device::kCuda, DType::kBf16, &results);
  }
  CheckAgainstOracle(MakeCase({2049, 0, 3000}, GetParam(), {1, 1, 64, 64}), Device::kCuda,
                     DType::kBf16, &results);
  ExpectWithinLimits(results);
}

TEST_P(GatedDeltaRuleLong, PowersOfTwoAndTheirNeighboursEqualTheOracle) {
  std::vector<CheckResult> results;
  std::vector<int32_t> packed;
  for (int k = 8; k <= 14; ++k) {
    for (const int32_t length : {(1 << k) - 1, 1 << k, (1 << k) + 1}) packed.push_back(length);
  }
  CheckAgainstOracle(MakeCase(packed, GetParam(), {1, 1, 64, 64}), Device::kCuda, DType::kBf16,
                     &results);
  for (const int32_t length : {65535, 65536, 65537}) {
    CheckAgainstOracle(MakeCase({length}, GetParam(), {1, 1, 64, 64}), Device::kCuda, DType::kBf16,
                       &results);
  }
  ExpectWithinLimits(results);
}

TEST_P(GatedDeltaRuleLong, AMillionTokensEqualTheOracle) {
  std::vector<CheckResult> results;
  CheckAgainstOracle(MakeCase({(1 << 20) + 1}, GetParam(), {1, 1, 64, 64}), Device::kCuda,
                     DType::kBf16, &results);
  ExpectWithinLimits(results);
}

TEST_P(GatedDeltaRuleLong, AHundredRunsGiveTheSameBits) {
  for (const auto& lengths : {std::vector<int32_t>{1, 63, 64, 65, 0, 200}, {2500}}) {
    for (const int64_t group : {1, 2}) {
      const Case c = MakeCase(lengths, GetParam(), {2, 2 * group, 128, 64});
      const auto cotangents = MakeCotangents(c, DType::kBf16);
      const auto run = [&] {
        return RunOp(c, cotangents, Device::kCuda, DType::kBf16, CallForm::kPlain);
      };
      const OpRun<Op> expected = run();
      for (int i = 1; i < 100; ++i) {
        const OpRun<Op> again = run();
        const auto same = [&](const char* name, const Tensor& a, const Tensor& b) {
          ASSERT_TRUE(!a.defined() || BitwiseEqual(a, b)) << name << ", run " << i;
        };
        ForEachField(same, expected.out, again.out);
        ForEachField(same, expected.grad, again.grad);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Decays, GatedDeltaRuleLong, EveryDecay(), DecayName);

}  // namespace
}  // namespace wyvern
