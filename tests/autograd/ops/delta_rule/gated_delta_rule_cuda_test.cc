// Paths of the GPU's gated delta rule that the op's cases do not take: the forward without a
// gradient, which goes token by token in short documents, and the backward without a workspace.
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

Case MakeCase(const std::vector<int32_t>& lengths, DeltaDecay decay, int64_t key_dim,
              int64_t value_dim) {
  constexpr int64_t kHeads = 2, kValueHeads = 4;
  CaseRandom random("gated_delta_rule_cuda_test");
  Case c;
  std::vector<int32_t>& offsets = c.params.cu_seqlens_host;
  offsets = {0};
  for (const int32_t length : lengths) offsets.push_back(offsets.back() + length);
  c.params.cu_seqlens = Tensor::FromVector(offsets, {static_cast<int64_t>(offsets.size())});
  c.params.decay = decay;
  c.params.gate = DeltaGate::kSoftplus;
  c.params.output_final_state = true;
  const int64_t N = static_cast<int64_t>(lengths.size()), T = offsets.back();
  c.in.q = random.Normal({T, kHeads, key_dim});
  c.in.k = random.Normal({T, kHeads, key_dim});
  c.in.v = random.Normal({T, kValueHeads, value_dim});
  c.in.beta = random.Normal({T, kValueHeads});
  c.in.h0 = random.Normal({N, kValueHeads, key_dim, value_dim});
  if (decay == DeltaDecay::kNone) return c;
  const bool per_channel = decay == DeltaDecay::kPerChannel;
  c.in.gate = random.Normal(per_channel ? Shape{T, kValueHeads, key_dim} : Shape{T, kValueHeads});
  c.in.a_log = random.Uniform({kValueHeads}, -1, 1);
  c.in.dt_bias = random.Normal(per_channel ? Shape{kValueHeads, key_dim} : Shape{kValueHeads}, -2);
  return c;
}

Op::Inputs<Tensor> InputsOnGpu(const Case& c, DType io) {
  Op::Inputs<Tensor> in;
  size_t i = 0;
  ForEachField(
      [&](const char*, Tensor& to, const Tensor& from) {
        to = ToTypeOn(from, DTypeOfRole(Op::kInputRoles[i++], io), Device::kCuda);
      },
      in, c.in);
  return in;
}

class GatedDeltaRuleCuda : public testing::TestWithParam<DeltaDecay> {
 protected:
  void SetUp() override {
    std::string why;
    if (!CudaAvailable(&why)) GTEST_SKIP() << why;
    SetPoison(true);
  }
  void TearDown() override { SetPoison(false); }
};

TEST_P(GatedDeltaRuleCuda, ForwardWithoutGradientEqualsTheOracle) {
  // One token per document as in decoding, a few, and too many for the token-by-token path.
  const std::vector<std::vector<int32_t>> all_lengths = {{1, 1, 1}, {3, 0, 8, 1}, {9, 65}};
  for (const auto& lengths : all_lengths) {
    for (const auto& [key_dim, value_dim] : {std::pair(64, 48), std::pair(200, 33)}) {
      for (const DType io : {DType::kFloat32, DType::kBf16}) {
        const Case c = Rounded(MakeCase(lengths, GetParam(), key_dim, value_dim), io);
        const auto expected = Op::Forward(c.in, c.params, nullptr);
        const auto out =
            Op::Forward(InputsOnGpu(c, io), ParamsOn<Op>(c.params, Device::kCuda), nullptr);
        const double limit = io == DType::kBf16 ? 5e-3 : 2e-5;
        const auto error = [](const Tensor& x, const Tensor& reference) {
          return RelativeRmsError(x.To(Device::kCpu).To(DType::kFloat64), reference);
        };
        EXPECT_LE(error(out.o, expected.o), limit) << "K " << key_dim << ", " << Name(io);
        EXPECT_LE(error(out.ht, expected.ht), limit) << "K " << key_dim << ", " << Name(io);
      }
    }
  }
}

TEST_P(GatedDeltaRuleCuda, GradientsDoNotDependOnTheWorkspace) {
  const Case c = MakeCase({70, 1, 130}, GetParam(), 64, 80);
  for (const DType io : {DType::kFloat32, DType::kBf16}) {
    const Op::Inputs<Tensor> in = InputsOnGpu(c, io);
    const Op::Params params = ParamsOn<Op>(c.params, Device::kCuda);
    Op::Inputs<GradRequest> want;
    ForEachField(
        [](const char*, GradRequest& request, const Tensor& x) { request.wanted = x.defined(); },
        want, in);
    Op::Saved saved;
    const auto out = Op::Forward(in, params, &saved);
    const Op::Outputs<Tensor> d_out = {.o = out.o, .ht = out.ht};
    const auto with = Op::Backward(saved, d_out, want);
    saved.workspace = Tensor();
    const auto without = Op::Backward(saved, d_out, want);
    ForEachField([](const char* name, const Tensor& a,
                    const Tensor& b) { EXPECT_TRUE(!a.defined() || BitwiseEqual(a, b)) << name; },
                 with, without);
  }
}

// Every pass of the tensor-core path at sizes small enough for compute-sanitizer: short documents
// in one pack, grouped heads, and a document of two segments.
TEST_P(GatedDeltaRuleCuda, SmallShapesOnTensorCoresEqualTheOracle) {
  std::vector<CheckResult> results;
  for (const auto& [lengths, key_dim, value_dim] :
       {std::tuple(std::vector<int32_t>{70, 0, 1, 64}, 128, 64),
        std::tuple(std::vector<int32_t>{2112}, 64, 64)}) {
    Case c = MakeCase(lengths, GetParam(), key_dim, value_dim);
    c.name = absl::StrCat(lengths.back(), " tokens, K ", key_dim);
    c.params.beta = DeltaBeta::kSigmoid;
    if (lengths.back() > 1000) {  // as other long documents
      c.bf16_tolerances = {
          {"ht", 4e-3}, {"d_h0", 4e-3}, {"d_gate", 6e-3}, {"d_a_log", 8e-3}, {"d_dt_bias", 6e-3}};
    }
    CheckAgainstOracle(c, Device::kCuda, DType::kBf16, &results);
  }
  ExpectWithinLimits(results);
}

INSTANTIATE_TEST_SUITE_P(Decays, GatedDeltaRuleCuda, EveryDecay(), DecayName);

}  // namespace
}  // namespace wyvern
