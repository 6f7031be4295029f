// An op that follows CONTRIBUTING's recipe, and what its row then brings: checks, timing, and a run
// on the meta device.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "autograd/check/bench_inputs.h"
#include "autograd/check/op_bench.h"
#include "kernels/pointwise/elementwise.h"
#include "tests/support/within_limits.h"

namespace wyvern {
namespace {

struct Twice {
  static constexpr const char* kName = "twice";
  static constexpr WorkClass kClass = WorkClass::kPointwise;
  template <class T>
  struct Inputs {
    T x;
    FIELDS(x)
  };
  static constexpr Role kInputRoles[] = {Role::kIo};
  template <class T>
  struct Outputs {
    T y;
    FIELDS(y)
  };
  static constexpr Role kOutputRoles[] = {Role::kIo};
  struct Params {};
  struct Saved {};

  static Outputs<Tensor> Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved);
  static Inputs<Tensor> Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                 const Inputs<GradRequest>& want);
  static Cost EstimateCost(const Inputs<Tensor>& in, const Params& params);
  static std::vector<OpCase<Twice>> Cases();
  static std::vector<BenchShape> BenchShapes(Device device);
  static absl::StatusOr<BenchCase<Twice>> BenchCaseOf(const BenchShape& shape);
};

struct TwicePlan {
  int64_t elements;
  std::string ToString() const { return absl::StrCat(elements, " elements at once"); }
};

Tensor AddToItself(const Tensor& x) {
  NotePlan("add", TwicePlan{x.numel()});
  const Tensor y = x.Clone();
  AddInto(x.device(), y.raw(), y.dtype(), x.raw(), x.dtype(), x.numel(), ComputeStream());
  return y;
}

Twice::Outputs<Tensor> Twice::Forward(const Inputs<Tensor>& in, const Params&, Saved*) {
  return {.y = AddToItself(in.x)};
}

Twice::Inputs<Tensor> Twice::Backward(const Saved&, const Outputs<Tensor>& d_out,
                                      const Inputs<GradRequest>&) {
  return {.x = AddToItself(d_out.y)};
}

Cost Twice::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.x.nbytes());
  return {.forward_bytes = 2 * bytes, .backward_bytes = 2 * bytes};
}

std::vector<OpCase<Twice>> Twice::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<Twice>> cases;
  for (const Shape& shape : {Shape{1}, Shape{0, 3}, Shape{3, 5}}) {
    OpCase<Twice> c;
    c.name = ToString(shape);
    c.in.x = random.Normal(shape);
    cases.push_back(std::move(c));
  }
  return cases;
}

std::vector<BenchShape> Twice::BenchShapes(Device) { return {BenchShape({{"tokens", 100}})}; }

absl::StatusOr<BenchCase<Twice>> Twice::BenchCaseOf(const BenchShape& shape) {
  BenchCase<Twice> c;
  c.in.x.shape = {shape["tokens"]};
  c.name = ToString(c.in.x.shape);
  return c;
}

class ToyOp : public testing::Test {
 protected:
  const OpRow row_ = MakeOpRow<Twice>();
  const BenchShape shape_ = row_.bench_shapes(Device::kCpu)[0];
};

TEST_F(ToyOp, IsCheckedOnTheCpu) { ExpectWithinLimits(row_.check(Device::kCpu)); }

TEST_F(ToyOp, IsCheckedOnTheGpu) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  ExpectWithinLimits(row_.check(Device::kCuda));
}

TEST_F(ToyOp, IsTimedAtAnyShape) {
  const auto results = row_.bench(shape_.With({{"tokens", 7}}), Device::kCpu);
  ASSERT_TRUE(results.ok()) << results.status();
  ASSERT_EQ(results->size(), 2u);
  EXPECT_EQ((*results)[0].case_name, "[7]");
  EXPECT_EQ((*results)[1].direction, "backward");
  EXPECT_EQ((*results)[1].bytes, 2 * 7 * 4);
}

TEST_F(ToyOp, TellsItsPlanOnTheMetaDevice) {
  const auto plans = row_.explain(shape_, Device::kMeta);
  ASSERT_TRUE(plans.ok()) << plans.status();
  ASSERT_EQ(plans->size(), 2u);
  EXPECT_EQ((*plans)[0].kernel, "add");
  EXPECT_EQ((*plans)[0].plan, "100 elements at once");
  EXPECT_EQ((*plans)[1].direction, "backward");
}

TEST_F(ToyOp, RunsOnATape) {
  Tape tape;
  const Var x = Var::Leaf(Tensor::FromVector<float>({3, 4}, {2}));
  const Var y = tape.Apply<Twice>({.x = x}, {}).y;
  EXPECT_EQ(y.value().ToVector<float>(), std::vector<float>({6, 8}));
  tape.Backward({{y, Tensor::FromVector<float>({1, 10}, {2})}});
  EXPECT_EQ(x.grad().ToVector<float>(), std::vector<float>({2, 20}));
}

}  // namespace
}  // namespace wyvern
