// The delta-rule family against cases that were computed elsewhere in fp64 and stored as fp32.
#include <gtest/gtest.h>

#include <memory>

#include "autograd/check/op_check.h"
#include "autograd/ops/delta_rule/gated_delta_rule.h"
#include "data/io/safetensors.h"
#include "tests/support/golden.h"

namespace wyvern {
namespace {

class GoldenOp : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (GoldenFolder().empty()) {
      GTEST_SKIP() << "no folder of reference cases; set WYVERN_GOLDEN to one";
    }
    auto reader = SafetensorsReader::Open(GoldenFolder() + "/ops/" + GetParam() + ".safetensors");
    ASSERT_TRUE(reader.ok()) << reader.status();
    reader_ = std::make_unique<SafetensorsReader>(*std::move(reader));
  }

  // Undefined if the file does not have it. [B, T, ...] becomes [B T, ...] when `packed`.
  Tensor Load(const std::string& name, bool packed) const {
    const auto entry = reader_->Find(name);
    if (!entry.ok()) return Tensor();
    EXPECT_EQ(entry->dtype, "F32") << name;
    Tensor t = Tensor::Empty(entry->shape, DType::kFloat32, Device::kCpu);
    const absl::Status status = reader_->Read(name, t.raw(), t.nbytes());
    EXPECT_TRUE(status.ok()) << status;
    if (!packed) return t;
    Shape shape(t.shape().begin() + 1, t.shape().end());
    shape[0] *= t.dim(0);
    return t.Reshape(shape);
  }

  void ExpectClose(const char* name, const Tensor& x, bool packed) const {
    const Tensor reference = Load(name, packed);
    if (!reference.defined()) return;
    ASSERT_EQ(x.shape(), reference.shape()) << name;
    EXPECT_LE(RelativeRmsError(x.To(DType::kFloat64), reference.To(DType::kFloat64)), 1e-5) << name;
  }

  std::unique_ptr<SafetensorsReader> reader_;
};

TEST_P(GoldenOp, OutputsAndGradientsAgree) {
  using Op = GatedDeltaRule;
  const Shape v_shape = reader_->Find("v")->shape;
  Op::Inputs<Tensor> in = {.q = Load("q", true),
                           .k = Load("k", true),
                           .v = Load("v", true),
                           .beta = Load("beta", true),
                           .gate = Load("g", true),
                           .h0 = Load("h0", false)};
  Op::Params params;
  for (int64_t b = 0; b <= v_shape[0]; ++b) {
    params.cu_seqlens_host.push_back(static_cast<int32_t>(b * v_shape[1]));
  }
  params.cu_seqlens = Tensor::FromVector(params.cu_seqlens_host, {v_shape[0] + 1});
  if (in.gate.defined()) {
    params.decay = in.gate.rank() == 2 ? DeltaDecay::kPerHead : DeltaDecay::kPerChannel;
  }
  params.beta = DeltaBeta::kGiven;
  params.l2_norm = false;
  params.output_final_state = true;

  Op::Saved saved;
  const auto out = Op::Forward(in, params, &saved);
  Op::Inputs<GradRequest> want;
  ForEachField(
      [](const char*, GradRequest& request, const Tensor& x) { request.wanted = x.defined(); },
      want, in);
  const auto grad = Op::Backward(saved, {.o = Load("do", true), .ht = Load("dht", false)}, want);
  ExpectClose("o", out.o, true);
  ExpectClose("ht", out.ht, false);
  ExpectClose("dq", grad.q, true);
  ExpectClose("dk", grad.k, true);
  ExpectClose("dv", grad.v, true);
  ExpectClose("dbeta", grad.beta, true);
  ExpectClose("dg", grad.gate, true);
  ExpectClose("dh0", grad.h0, false);
}

INSTANTIATE_TEST_SUITE_P(Files, GoldenOp,
                         testing::Values("delta_rule", "delta_rule-state", "delta_rule-one-token",
                                         "gated_delta_rule", "gated_delta_rule-gva", "kda",
                                         "kda-strong-decay"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace wyvern
