#include "autograd/bf16_storage.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "autograd/check/op_check.h"
#include "autograd/ops/matmul/matmul.h"

namespace wyvern {
namespace {

Tensor Values(int64_t count) {
  return CaseRandom("bf16_storage_test").Normal({count}).To(DType::kFloat32);
}

bool HoldsBf16(const Tensor& t) { return BitwiseEqual(t, t.To(DType::kBf16).To(DType::kFloat32)); }

TEST(Bf16Storage, NearestIsTheConversion) {
  const Tensor x = Values(1000);
  const Bf16Storage storage(Bf16Storage::Rounding::kNearest);
  EXPECT_TRUE(BitwiseEqual(storage.Rounded(x), x.To(DType::kBf16).To(DType::kFloat32)));
}

TEST(Bf16Storage, StochasticKeepsTheMeanAndRepeats) {
  constexpr int kDraws = 400;
  const Tensor x = Values(1000);
  std::vector<double> mean(x.numel());
  double square = 0;
  for (int seed = 0; seed < kDraws; ++seed) {
    const Bf16Storage storage(Bf16Storage::Rounding::kStochastic, seed);
    const Tensor y = storage.Rounded(x);
    ASSERT_TRUE(HoldsBf16(y));
    EXPECT_TRUE(BitwiseEqual(storage.Rounded(x), y)) << "not a function of the element";
    EXPECT_TRUE(BitwiseEqual(storage.Rounded(y), y)) << "a rounded element moved";
    for (int64_t i = 0; i < x.numel(); ++i) {
      const double relative = y.data<float>()[i] / x.data<float>()[i] - 1;
      mean[i] += relative / kDraws;
      square += relative * relative / (kDraws * static_cast<double>(x.numel()));
    }
  }
  // Nearest has 1.66e-3, random rounding sqrt(2) times that.
  EXPECT_NEAR(std::sqrt(square), 2.35e-3, 1e-4);
  for (const double m : mean) EXPECT_LT(std::abs(m), 6 * 3.9e-3 / std::sqrt(kDraws));
}

TEST(Bf16Storage, LeavesInfinityAndNaN) {
  const float infinity = std::numeric_limits<float>::infinity();
  const Tensor x = Tensor::FromVector(std::vector<float>{infinity, -infinity, NAN}, {3});
  const Bf16Storage storage(Bf16Storage::Rounding::kStochastic, 1);
  storage.Round(x);
  EXPECT_EQ(x.data<float>()[0], infinity);
  EXPECT_EQ(x.data<float>()[1], -infinity);
  EXPECT_TRUE(std::isnan(x.data<float>()[2]));
}

// y = (x W^T) W^T: activations and their gradients hold bf16, a parameter and its gradient do not.
TEST(Bf16Storage, ATapeRoundsWhatBf16WouldStore) {
  const Tensor weight = Values(64).Reshape({8, 8}), grad = Tensor::ZerosLike(weight);
  const Tensor before = weight.Clone();
  const Var x = Var::Leaf(Values(40).Reshape({5, 8}));
  const auto run = [&] {
    Tape tape;
    const Var w = Var::Parameter(weight, grad);
    const Var middle = tape.Apply<MatMul>({.x = x, .weight = w}, {}).y;
    const Var y = tape.Apply<MatMul>({.x = middle, .weight = w}, {}).y;
    return std::pair(middle.value(), y.value());
  };
  const auto exact = run();
  EXPECT_FALSE(HoldsBf16(exact.first));
  {
    const Bf16Storage storage(Bf16Storage::Rounding::kNearest);
    const auto rounded = run();
    EXPECT_TRUE(HoldsBf16(rounded.first) && HoldsBf16(rounded.second));
    const Tensor expected =
        Tape(false)
            .Apply<MatMul>(
                {.x = Var(storage.Rounded(x.value())), .weight = Var(storage.Rounded(weight))}, {})
            .y.value();
    EXPECT_TRUE(BitwiseEqual(rounded.first, expected));
    Tape tape;
    const Var w = Var::Parameter(weight, grad);
    const Var start = tape.Apply<MatMul>({.x = x, .weight = w}, {}).y;
    const Var end = tape.Apply<MatMul>({.x = start, .weight = w}, {}).y;
    tape.Backward({{end, storage.Rounded(Values(40).Reshape({5, 8}))}});
  }
  EXPECT_TRUE(BitwiseEqual(weight, before)) << "the master weights were rounded";
  EXPECT_FALSE(HoldsBf16(grad)) << "a parameter's gradient stays fp32";
  EXPECT_TRUE(BitwiseEqual(run().first, exact.first)) << "rounding outlived its object";
}

}  // namespace
}  // namespace wyvern
