#include "autograd/tape.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/check/op_check.h"
#include "autograd/ops/head/embedding.h"
#include "autograd/ops/matmul/matmul.h"
#include "autograd/ops/norm/rms_norm.h"
#include "autograd/ops/pointwise/swiglu.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

// y = a b element by element, on the CPU. The flaws are what a checker has to see.
enum class Flaw { kNone, kGradient, kUnwritten, kRounding };

template <Flaw kFlaw>
struct Product {
  static constexpr const char* kName = "product";
  static constexpr WorkClass kClass = WorkClass::kOther;
  template <class T>
  struct Inputs {
    T a, b;
    FIELDS(a, b)
  };
  static constexpr Role kInputRoles[] = {Role::kIo, Role::kIo};
  template <class T>
  struct Outputs {
    T y;
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {};
  struct Saved {
    Tensor a, b;
  };

  static inline int num_saved = 0, num_forward = 0;

  static Tensor Multiply(const Tensor& a, const Tensor& b, double factor = 1) {
    Tensor y = Tensor::EmptyLike(a);
    Dispatch(a.device(), a.dtype(), [&](auto, auto io) {
      using Io = typename decltype(io)::type;
      if constexpr (!std::is_same_v<Io, Bf16>) {
        for (int64_t i = 0; i < a.numel(); ++i) {
          y.data<Io>()[i] =
              static_cast<Io>(factor) * a.template data<Io>()[i] * b.template data<Io>()[i];
        }
      }
    });
    return y;
  }
  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params&, Saved* saved) {
    ++num_forward;
    if (saved != nullptr) {
      ++num_saved;
      *saved = {in.a, in.b};
    }
    // In fp32 only: fp64, which is the reference, stays right.
    const bool fp32 = in.a.dtype() == DType::kFloat32;
    Outputs<Tensor> out = {Multiply(in.a, in.b, kFlaw == Flaw::kRounding && fp32 ? 1.0001 : 1)};
    if (kFlaw == Flaw::kUnwritten && fp32) out.y = Tensor::EmptyLike(in.a);
    return out;
  }
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>&) {
    return {Multiply(d_out.y, saved.b),
            Multiply(d_out.y, saved.a, kFlaw == Flaw::kGradient ? 1.00001 : 1)};
  }
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params&) {
    return {.forward_flops = static_cast<double>(in.a.numel())};
  }
  static std::vector<OpCase<Product>> Cases() {
    CaseRandom random(kName);
    OpCase<Product> c;
    c.name = "three by five";
    c.in = {random.Normal({3, 5}), random.Normal({3, 5})};
    return {c};
  }
};
using RightProduct = Product<Flaw::kNone>;

Tensor Of(const std::vector<double>& values) {
  return Tensor::FromVector(values, {static_cast<int64_t>(values.size())});
}

Var Multiply(Tape& tape, const Var& a, const Var& b) {
  return tape.Apply<RightProduct>({.a = a, .b = b}, {}).y;
}

TEST(Tape, AddsUpWhatTwoConsumersSend) {
  const Var x = Var::Leaf(Of({2, 3})), a = Var(Of({5, 7})), b = Var(Of({11, 13}));
  Tape tape;
  const Var xa = Multiply(tape, x, a), xab = Multiply(tape, xa, b), xax = Multiply(tape, xa, x);
  tape.Backward({{xab, Of({1, 1})}, {xax, Of({1, 1})}});
  // a b + 2 a x
  EXPECT_EQ(x.grad().ToVector<double>(), (std::vector<double>{55 + 20, 91 + 42}));
  EXPECT_FALSE(a.requires_grad());
}

TEST(Tape, AVarOnBothSidesOfAnOpGetsBothGradients) {
  const Var x = Var::Leaf(Of({2, -3}));
  Tape tape;
  tape.Backward({{Multiply(tape, x, x), Of({1, 10})}});
  EXPECT_EQ(x.grad().ToVector<double>(), (std::vector<double>{4, -60}));
}

TEST(Tape, AddsIntoTheBufferOfAParameter) {
  Tensor buffer = Of({100, 200});
  const Var weight = Var::Parameter(Of({2, 3}), buffer);
  const Var x = Var(Of({5, 7}));
  for (int step = 1; step <= 2; ++step) {
    Tape tape;
    const Var y = Multiply(tape, weight, x);
    tape.Backward({{Multiply(tape, y, x), Of({1, 1})}, {y, Of({1, 1})}});
    EXPECT_EQ(buffer.ToVector<double>(),
              (std::vector<double>{100 + step * (25. + 5), 200 + step * (49. + 7)}));
  }
}

// Old numbers in a cleared buffer are NaN here, and so is memory that was freed, so any use of
// them shows.
TEST(Tape, AClearedGradientIsZeroHoweverItIsWritten) {
  const auto matrix = [](std::vector<double> values) {
    return Tensor::FromVector(values, {1, static_cast<int64_t>(values.size())});
  };
  const double nan = std::nan("");
  const Tensor buffers[] = {Of({nan, nan}), Of({nan, nan}), matrix({nan, nan})};
  const Var unused = Var::Parameter(Of({1, 1}), buffers[0]);
  const Var returned = Var::Parameter(Of({2, 3}), buffers[1]);
  const Var overwritten = Var::Parameter(matrix({2, 3}), buffers[2]);
  SetPoison(true);
  for (int step = 1; step <= 3; ++step) {
    for (const Var& parameter : {unused, returned, overwritten}) parameter.ClearGrad();
    for (const Tensor& buffer : buffers) {
      if (step > 1) buffer.Discard();
    }
    Tape tape;
    const Var x = Var(Of({5, 7}));
    const Var y = Multiply(tape, Multiply(tape, returned, x), x);
    const Var z = tape.Apply<MatMul>({.x = y.Reshape({1, 2}), .weight = overwritten}, {}).y;
    const Var again = tape.Apply<MatMul>({.x = Var(matrix({1, 10})), .weight = overwritten}, {}).y;
    tape.Backward({{z, matrix({1})}, {again, matrix({1})}, {returned, Of({1000, 1000})}});
    EXPECT_EQ(unused.grad().ToVector<double>(), (std::vector<double>{0, 0}));
    EXPECT_EQ(returned.grad().ToVector<double>(),
              (std::vector<double>{1000 + 2 * 25., 1000 + 3 * 49.}));
    EXPECT_EQ(overwritten.grad().ToVector<double>(),
              (std::vector<double>{2 * 25. + 1, 3 * 49. + 10}));
  }
  SetPoison(false);
}

// The second use of a parameter comes from an op that only adds.
TEST(Tape, AddsToAClearedGradientWhatIsNotOverwritten) {
  const Var table =
      Var::Parameter(Tensor::FromVector<double>({1, 2, 3, 4}, {2, 2}),
                     Tensor::FromVector<double>(std::vector<double>(4, std::nan("")), {2, 2}));
  table.ClearGrad();
  Tape tape;
  const Tensor ids = Tensor::FromVector<int32_t>({1}, {1});
  const Var row = tape.Apply<Embedding>({.weight = table}, {.ids = ids}).y;
  tape.Backward({{row, Tensor::FromVector<double>({5, 6}, {1, 2})}});
  EXPECT_EQ(table.grad().ToVector<double>(), (std::vector<double>{0, 0, 5, 6}));
}

TEST(Tape, AViewSendsItsGradientToTheWhole) {
  const Var x = Var::Leaf(Of({1, 2, 3, 4}));
  const Tensor two = Tensor::FromVector<double>({2, 2, 2, 2}, {2, 2});
  Tape tape;
  const Var y = Multiply(tape, x.Reshape({2, 2}), Var(two));
  tape.Backward({{y.Reshape({4}), Of({1, 10, 100, 1000})}});
  EXPECT_EQ(x.grad().shape(), (Shape{4}));
  EXPECT_EQ(x.grad().ToVector<double>(), (std::vector<double>{2, 20, 200, 2000}));
}

TEST(Tape, SavesNothingWhenNoGradientWillBeAskedFor) {
  RightProduct::num_saved = 0;
  const Var x = Var::Leaf(Of({2, 3})), constant = Var(Of({5, 7}));
  Tape quiet(/*recording=*/false), tape;
  EXPECT_FALSE(Multiply(quiet, x, x).requires_grad());
  EXPECT_FALSE(Multiply(tape, constant, constant).requires_grad());
  EXPECT_EQ(RightProduct::num_saved, 0);
  EXPECT_TRUE(Multiply(tape, x, constant).requires_grad());
  EXPECT_EQ(RightProduct::num_saved, 1);
}

TEST(Tape, SumsTheCostOnceWithRecomputation) {
  const Var x = Var::Leaf(Of({2, 3}));
  Tape tape;
  const auto square = [](Tape& t, const std::vector<Var>& v) {
    return std::vector<Var>{Multiply(t, v[0], v[0])};
  };
  const Var y = tape.Recompute(square, {x})[0];
  Multiply(tape, y, y);
  EXPECT_EQ(tape.cost().forward_flops, 4);
}

// A chain with norms, a residual, a parameter inside and two outputs.
struct Chain {
  Var x, weight, scale;
  Tensor weight_grad, scale_grad;

  Chain() {
    CaseRandom random("chain");
    x = Var::Leaf(random.Normal({7, 5}).To(DType::kFloat32));
    weight_grad = Tensor::Zeros({5}, DType::kFloat32, Device::kCpu);
    weight = Var::Parameter(random.Normal({5}, 1, 0.1).To(DType::kFloat32), weight_grad);
    scale_grad = Tensor::Zeros({7, 5}, DType::kFloat32, Device::kCpu);
    scale = Var::Parameter(random.Normal({7, 5}).To(DType::kFloat32), scale_grad);
  }
  std::vector<Var> Segment(Tape& tape, const std::vector<Var>& in) const {
    const auto norm = tape.Apply<RmsNorm>({.x = in[0], .residual = in[1], .weight = weight}, {});
    return {Multiply(tape, norm.y, scale), norm.sum};
  }
  void Run(bool recompute) const {
    Tape tape;
    const auto segment = [this](Tape& t, const std::vector<Var>& in) { return Segment(t, in); };
    std::vector<Var> h = {Multiply(tape, x, scale), x};
    for (int layer = 0; layer < 3; ++layer) {
      h = recompute ? tape.Recompute(segment, h) : segment(tape, h);
    }
    CaseRandom random("chain seeds");
    tape.Backward({{h[0], random.Normal({7, 5}).To(DType::kFloat32)},
                   {h[1], random.Normal({7, 5}).To(DType::kFloat32)}});
  }
};

TEST(Tape, RecomputationChangesNoBit) {
  const Chain plain, recomputed;
  plain.Run(false);
  RightProduct::num_forward = 0;
  recomputed.Run(true);
  EXPECT_EQ(RightProduct::num_forward, 1 + 2 * 3);
  EXPECT_TRUE(BitwiseEqual(plain.x.grad(), recomputed.x.grad()));
  EXPECT_TRUE(BitwiseEqual(plain.weight_grad, recomputed.weight_grad));
  EXPECT_TRUE(BitwiseEqual(plain.scale_grad, recomputed.scale_grad));
  double square = 0;
  for (const float g : plain.weight_grad.ToVector<float>()) square += g * g;
  EXPECT_GT(square, 0);
}

TEST(Tape, ReleasesActivationsAsTheyAreUsed) {
  Tape tape;
  const Var x = Var::Leaf(Tensor::Zeros({1000}, DType::kFloat64, Device::kCpu));
  const int64_t before = GetMemoryStats(Device::kCpu).current_bytes;
  {
    Var y = x;
    for (int i = 0; i < 5; ++i) y = Multiply(tape, y, y);
    EXPECT_GT(GetMemoryStats(Device::kCpu).current_bytes, before);
    tape.Backward({{y, Tensor::Zeros({1000}, DType::kFloat64, Device::kCpu)}});
  }
  EXPECT_EQ(GetMemoryStats(Device::kCpu).current_bytes, before + x.grad().nbytes());
}

// [rows, columns] of the numbers 1, 2, ... times `factor`.
Tensor Matrix(int64_t rows, int64_t columns, double factor = 1) {
  std::vector<double> values(rows * columns);
  for (size_t i = 0; i < values.size(); ++i) values[i] = factor * static_cast<double>(i + 1);
  return Tensor::FromVector(values, {rows, columns});
}

TEST(Tape, ColumnsSendTheirGradientsToTheWhole) {
  SetPoison(true);
  const Var x = Var::Leaf(Matrix(2, 5)), two = Var(Matrix(2, 5)), scale = Var(Matrix(2, 2, 10));
  Tape tape;
  const Var y = Multiply(tape, x, two);
  // Columns 1 and 2 twice, 3 once, 0 and 4 not at all.
  const Var a = Multiply(tape, y.Columns(1, 3), scale);
  const Var b = Multiply(tape, y.Columns(1, 4).Columns(1, 3), scale);
  EXPECT_EQ(a.value().ToVector<double>(), (std::vector<double>{4 * 10, 9 * 20, 49 * 30, 64 * 40}));
  const Tensor ones = Tensor::FromVector<double>({1, 1, 1, 1}, {2, 2});
  tape.Backward({{a, ones}, {b, ones}});
  SetPoison(false);
  EXPECT_EQ(x.grad().ToVector<double>(),
            (std::vector<double>{0, 2 * 10, 3 * (20 + 10), 4 * 20, 0,  //
                                 0, 7 * 30, 8 * (40 + 30), 9 * 40, 0}));
}

TEST(Tape, RowsAndTheWholeShareTheGradientOfAParameter) {
  const Tensor buffer = Matrix(3, 2, 1000);
  const Var whole = Var::Parameter(Matrix(3, 2), buffer), last = whole.Rows(1, 3);
  const Var x = Var(Matrix(2, 2, 10));
  whole.ClearGrad();
  EXPECT_EQ(last.grad().ToVector<double>(), (std::vector<double>{0, 0, 0, 0}));
  Tape tape;
  const Tensor ones = Tensor::FromVector<double>({1, 1, 1, 1}, {2, 2});
  const Tensor more = Tensor::FromVector<double>({1, 1, 1, 1, 1, 1}, {3, 2});
  tape.Backward({{Multiply(tape, last, x), ones}, {Multiply(tape, whole, whole), more}});
  EXPECT_EQ(last.grad().ToVector<double>(),
            (std::vector<double>{10 + 2 * 3, 20 + 2 * 4, 30 + 2 * 5, 40 + 2 * 6}));
  EXPECT_EQ(buffer.ToVector<double>(),
            (std::vector<double>{2, 4, 10 + 2 * 3, 20 + 2 * 4, 30 + 2 * 5, 40 + 2 * 6}));
}

TEST(Tape, AColumnUsedTwiceByOneOpGetsBothGradients) {
  const Var x = Var::Leaf(Matrix(2, 3));
  Tape tape;
  const Var left = x.Columns(0, 2), right = x.Columns(1, 3);
  const Var y = tape.Apply<SwiGlu>({.gate = left, .up = right}, {}).y;
  const Var z = tape.Apply<SwiGlu>({.gate = left, .up = left}, {}).y;
  const Tensor seed = Matrix(2, 2);
  tape.Backward({{y, seed}, {z, seed}});

  const Var l = Var::Leaf(left.value().Clone()), r = Var::Leaf(right.value().Clone());
  const Var yy = tape.Apply<SwiGlu>({.gate = l, .up = r}, {}).y;
  const Var zz = tape.Apply<SwiGlu>({.gate = l, .up = l}, {}).y;
  tape.Backward({{yy, seed}, {zz, seed}});
  const auto whole = x.grad().ToVector<double>();
  const auto dl = l.grad().ToVector<double>(), dr = r.grad().ToVector<double>();
  for (int row = 0; row < 2; ++row) {
    EXPECT_NEAR(whole[3 * row], dl[2 * row], 1e-12);
    EXPECT_NEAR(whole[3 * row + 1], dl[2 * row + 1] + dr[2 * row], 1e-12);
    EXPECT_NEAR(whole[3 * row + 2], dr[2 * row + 1], 1e-12);
  }
}

TEST(TapeDeath, RefusesSeedsThatCannotBeRight) {
  Tape tape;
  const Var x = Var::Leaf(Of({2, 3}));
  const Var y = Multiply(tape, x, x);
  EXPECT_DEATH(tape.Backward(y), "a loss has one element, not \\[2\\]");
  EXPECT_DEATH(tape.Backward({{y, Of({1})}}), "seed \\[1\\] for a value \\[2\\]");
  EXPECT_DEATH(tape.Backward({{Var(Of({1})), Of({1})}}), "depends on no parameter");
}

// "check: quantity" of every comparison that failed.
template <Flaw kFlaw>
std::vector<std::string> Failures() {
  std::vector<std::string> failures;
  const auto results = CheckOp<Product<kFlaw>>(Device::kCpu);
  EXPECT_FALSE(results.empty());
  for (const CheckResult& r : results) {
    if (!r.passed()) failures.push_back(r.check + ": " + r.quantity);
  }
  return failures;
}

TEST(OpCheck, PassesARightOpAndNamesWhatIsWrongInOthers) {
  using Names = std::vector<std::string>;
  EXPECT_EQ(Failures<Flaw::kNone>(), Names{});
  EXPECT_EQ(Failures<Flaw::kGradient>(), Names{"finite differences: d_b"});
  EXPECT_EQ(Failures<Flaw::kRounding>(), Names{"cpu fp32: y"});
  EXPECT_EQ(Failures<Flaw::kUnwritten>(), Names{"cpu fp32: y"}) << "poison was not seen";
}

}  // namespace
}  // namespace wyvern
