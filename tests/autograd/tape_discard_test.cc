// Tests of outputs that the tape frees before backward and recomputes there.
#include <gtest/gtest.h>

#include "autograd/check/op_check.h"
#include "autograd/ops/matmul/matmul.h"
#include "autograd/ops/norm/rms_norm.h"
#include "autograd/ops/pointwise/swiglu.h"
#include "autograd/tape.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

// Norm, matmul, SwiGLU of its halves, matmul: what a policy may free, with and without the matmul
// right after.
struct Discarding {
  Var x = Var::Leaf(CaseRandom("discard x").Normal({6, 8}).To(DType::kFloat32));
  Tensor gain_grad = Tensor::Zeros({8}, DType::kFloat32, Device::kCpu);
  Tensor first_grad = Tensor::Zeros({10, 8}, DType::kFloat32, Device::kCpu);
  Tensor second_grad = Tensor::Zeros({8, 5}, DType::kFloat32, Device::kCpu);
  int64_t kept_bytes = 0;

  void Run(RecomputePolicy policy, bool adjacent) {
    CaseRandom random("discard weights");
    const auto parameter = [&](const Shape& shape, const Tensor& grad) {
      return Var::Parameter(random.Normal(shape).To(DType::kFloat32), grad);
    };
    const Var gain = parameter({8}, gain_grad), first = parameter({10, 8}, first_grad),
              second = parameter({8, 5}, second_grad);
    const int64_t before = GetMemoryStats(Device::kCpu).current_bytes;
    Tape tape(/*recording=*/true, policy);
    Var loss;
    {
      const Var y = tape.Apply<RmsNorm>({.x = x, .weight = gain}, {}).y;
      const Var both = tape.Apply<MatMul>({.x = y, .weight = first}, {}).y;
      if (adjacent) tape.Discard({y});
      const Var h =
          tape.Apply<SwiGlu>({.gate = both.Columns(0, 5), .up = both.Columns(5, 10)}, {}).y;
      loss = tape.Apply<MatMul>({.x = h, .weight = second}, {}).y;
      tape.Discard({h});
      if (!adjacent) tape.Discard({y});
      tape.Discard({both});
      tape.Discard({x, Var()});  // no op gave them
    }
    kept_bytes = GetMemoryStats(Device::kCpu).current_bytes - before;
    tape.Backward({{loss, random.Normal({6, 8}).To(DType::kFloat32)}});
  }
};

TEST(Tape, DiscardingSavesMemoryAndChangesNoBit) {
  for (const bool adjacent : {true, false}) {
    Discarding kept, fused, projections;
    SetPoison(true);
    kept.Run(RecomputePolicy::kNone, adjacent);
    fused.Run(RecomputePolicy::kFused, adjacent);
    projections.Run(RecomputePolicy::kProjections, adjacent);
    SetPoison(false);
    EXPECT_EQ(kept.kept_bytes - fused.kept_bytes, 4 * (6 * 8 + 6 * 5));
    EXPECT_EQ(fused.kept_bytes - projections.kept_bytes, 4 * 6 * 10);
    for (const Discarding* other : {&fused, &projections}) {
      EXPECT_TRUE(BitwiseEqual(kept.x.grad(), other->x.grad()));
      EXPECT_TRUE(BitwiseEqual(kept.gain_grad, other->gain_grad));
      EXPECT_TRUE(BitwiseEqual(kept.first_grad, other->first_grad));
      EXPECT_TRUE(BitwiseEqual(kept.second_grad, other->second_grad));
    }
    double square = 0;
    for (const float g : kept.first_grad.ToVector<float>()) square += g * g;
    EXPECT_GT(square, 0);
  }
}

TEST(TapeDeath, RefusesToReadOrDiscardWhatItCannot) {
  const Var x = Var::Leaf(Tensor::Zeros({4, 4}, DType::kFloat64, Device::kCpu));
  const Var gain = Var(Tensor::Zeros({4}, DType::kFloat64, Device::kCpu));
  Tape tape(/*recording=*/true, RecomputePolicy::kElementwise);
  const auto norm = tape.Apply<RmsNorm>({.x = x, .residual = x, .weight = gain}, {});
  EXPECT_DEATH(tape.Discard({norm.sum}), "rms_norm cannot recompute sum");
  EXPECT_DEATH(tape.Discard({norm.y.Columns(0, 1)}), "discard the whole");
  tape.Discard({norm.y});
  EXPECT_DEATH(norm.y.value().ToVector<double>(), "was freed");
  EXPECT_DEATH(x.value().Columns(1, 2).raw(), "not contiguous");
}

}  // namespace
}  // namespace wyvern
