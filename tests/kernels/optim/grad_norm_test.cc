#include "kernels/optim/grad_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "autograd/check/op_check.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

struct Result {
  double norm, clip;
  int32_t finite;
};

Result RunGradNorm(const std::vector<Tensor>& grads, Device device, DType dtype, double max_norm,
                   double loss) {
  const Tensor norm = Tensor::Empty({1}, dtype, device), clip = Tensor::Empty({1}, dtype, device);
  const Tensor finite = Tensor::Empty({1}, DType::kInt32, device);
  const Tensor loss_tensor = ToTypeOn(Tensor::FromVector<double>({loss}, {1}), dtype, device);
  std::vector<Tensor> moved;
  Dispatch(device, dtype, [&](auto tag, auto io) {
    using Acc = AccOf<typename decltype(io)::type>;
    GradNormParams<Acc> params;
    for (const Tensor& grad : grads) {
      moved.push_back(ToTypeOn(grad, dtype, device));
      params.tensors.push_back({moved.back().numel(), moved.back().data<Acc>()});
    }
    params.max_norm = max_norm;
    params.loss = loss_tensor.data<Acc>();
    params.norm = norm.data<Acc>();
    params.clip = clip.data<Acc>();
    params.finite = finite.data<int32_t>();
    params.stream = ComputeStream();
    GradNorm(tag, params);
  });
  return {norm.To(Device::kCpu).To(DType::kFloat64).ToVector<double>()[0],
          clip.To(Device::kCpu).To(DType::kFloat64).ToVector<double>()[0],
          finite.ToVector<int32_t>()[0]};
}

std::vector<Tensor> MakeGradients() {
  CaseRandom random("grad_norm");
  std::vector<Tensor> grads;
  for (const int64_t n : {1, 3, 4099, 200000}) grads.push_back(random.Normal({n}, 0.01, 0.1));
  for (int64_t i = 0; i < 600; ++i) grads.push_back(random.Normal({i % 9}));  // many tables
  return grads;
}

double PlainNorm(const std::vector<Tensor>& grads) {
  double sum = 0;
  for (const Tensor& grad : grads) {
    for (const double g : grad.ToVector<double>()) sum += g * g;
  }
  return std::sqrt(sum);
}

class GradNormTest : public testing::TestWithParam<std::pair<Device, DType>> {
 protected:
  void SetUp() override {
    std::string why;
    if (GetParam().first == Device::kCuda && !CudaAvailable(&why)) GTEST_SKIP() << why;
  }
  Result Run(const std::vector<Tensor>& grads, double max_norm, double loss) {
    return RunGradNorm(grads, GetParam().first, GetParam().second, max_norm, loss);
  }
  double tolerance() const { return GetParam().second == DType::kFloat64 ? 1e-13 : 1e-6; }
};

TEST_P(GradNormTest, IsTheNormAndTheClipFactor) {
  const auto grads = MakeGradients();
  const double norm = PlainNorm(grads);
  for (const double max_norm : {0.0, 1.0, 1e6}) {
    const Result r = Run(grads, max_norm, 2.5);
    EXPECT_NEAR(r.norm, norm, tolerance() * norm);
    const double clip = max_norm == 0 ? 1 : std::min(1.0, max_norm / (norm + 1e-6));
    EXPECT_NEAR(r.clip, clip, 2 * tolerance() * clip);
    EXPECT_EQ(r.finite, 1);
  }
}

TEST_P(GradNormTest, OfNothingIsZero) {
  const Result r = Run({}, 1.0, 0.5);
  EXPECT_EQ(r.norm, 0);
  EXPECT_EQ(r.clip, 1);
  EXPECT_EQ(r.finite, 1);
}

TEST_P(GradNormTest, SeesWhatIsNotFinite) {
  const auto grads = MakeGradients();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(Run(grads, 1.0, nan).finite, 0);
  EXPECT_EQ(Run(grads, 1.0, infinity).finite, 0);
  for (const double bad : {nan, infinity}) {
    for (const size_t where : {size_t{0}, size_t{3}, grads.size() - 1}) {
      auto changed = grads;
      changed[where] = changed[where].Clone();
      changed[where].data<double>()[changed[where].numel() - 1] = bad;
      EXPECT_EQ(Run(changed, 1.0, 2.5).finite, 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Places, GradNormTest,
                         testing::Values(std::pair{Device::kCpu, DType::kFloat32},
                                         std::pair{Device::kCpu, DType::kFloat64},
                                         std::pair{Device::kCuda, DType::kFloat32}),
                         [](const auto& info) {
                           return std::string(Name(info.param.first)) + "_" +
                                  Name(info.param.second);
                         });

}  // namespace
}  // namespace wyvern
