#include "kernels/optim/adamw.h"

#include <gtest/gtest.h>

#include <cmath>
#include <type_traits>

#include "autograd/check/op_check.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

struct Parameter {
  Tensor master, grad, m, v;  // fp64, CPU
  double weight_decay;
};

// Sizes around the vector width and beyond one block.
std::vector<Parameter> MakeParameters() {
  CaseRandom random("adamw");
  std::vector<Parameter> result;
  for (const int64_t n : {1, 5, 1023, 4096, 40001}) {
    result.push_back({random.Normal({n}), random.Normal({n}, 0, 0.3), random.Normal({n}, 0, 0.1),
                      random.Uniform({n}, 0.001, 0.1), n % 2 == 0 ? 0.1 : 0.0});
  }
  for (int i = 0; i < 150; ++i) {  // more than one launch's table
    result.push_back({random.Normal({i % 7}), random.Normal({i % 7}), random.Normal({i % 7}),
                      random.Uniform({i % 7}, 0.001, 0.1), 0.01});
  }
  return result;
}

constexpr double kLr = 1e-2, kBeta1 = 0.9, kBeta2 = 0.95, kEps = 1e-8, kClip = 0.37;
constexpr int64_t kStep = 3;

void PlainAdamW(const Parameter& p) {
  for (int64_t i = 0; i < p.master.numel(); ++i) {
    double& x = p.master.data<double>()[i];
    double &m = p.m.data<double>()[i], &v = p.v.data<double>()[i];
    const double g = p.grad.data<double>()[i] * kClip;
    m = kBeta1 * m + (1 - kBeta1) * g;
    v = kBeta2 * v + (1 - kBeta2) * g * g;
    x *= 1 - kLr * p.weight_decay;
    const double m_hat = m / (1 - std::pow(kBeta1, kStep)),
                 v_hat = v / (1 - std::pow(kBeta2, kStep));
    x -= kLr * m_hat / (std::sqrt(v_hat) + kEps);
  }
}

// Updates every parameter on `device` and returns the state after it, master weights, moments and
// compute copies.
std::vector<Tensor> RunAdamW(const std::vector<Parameter>& parameters, Device device, DType io,
                             bool with_copy, int32_t finite_value) {
  const DType acc = AccDType(io);
  const Tensor finite = Tensor::FromVector<int32_t>({finite_value}, {1}).To(device);
  const Tensor clip = Tensor::FromVector<double>({kClip}, {1}).To(acc).To(device);
  std::vector<Tensor> state;
  Dispatch(device, io, [&](auto tag, auto io_tag) {
    using Io = typename decltype(io_tag)::type;
    using Acc = AccOf<Io>;
    AdamWParams<Io> params;
    params.lr = kLr;
    params.step = kStep;
    params.grad_scale = clip.data<Acc>();
    params.finite = finite.data<int32_t>();
    params.stream = ComputeStream();
    std::vector<Tensor> grads;
    for (const Parameter& p : parameters) {
      grads.push_back(ToTypeOn(p.grad, acc, device).Clone());
      const Tensor master = ToTypeOn(p.master, acc, device).Clone();
      const Tensor m = ToTypeOn(p.m, acc, device).Clone(), v = ToTypeOn(p.v, acc, device).Clone();
      const Tensor copy = with_copy ? ToTypeOn(p.master, io, device).Clone() : Tensor();
      AdamWTensor<Io> tensor;
      tensor.num_elements = p.master.numel();
      tensor.master = master.data<Acc>();
      tensor.grad = grads.back().data<Acc>();
      tensor.m = m.data<Acc>();
      tensor.v = v.data<Acc>();
      tensor.copy = copy.data<Io>();
      tensor.weight_decay = p.weight_decay;
      params.tensors.push_back(tensor);
      for (const Tensor& t : {master, m, v}) state.push_back(t);
      if (with_copy) state.push_back(copy);
    }
    AdamW(tag, params);
  });
  for (Tensor& t : state) t = t.To(Device::kCpu);
  return state;
}

void ExpectUpdated(Device device, DType io, bool with_copy, double tolerance) {
  std::vector<Parameter> parameters = MakeParameters();
  const auto state = RunAdamW(parameters, device, io, with_copy, 1);
  size_t at = 0;
  for (Parameter& p : parameters) {
    for (Tensor* t : {&p.master, &p.grad, &p.m, &p.v}) {
      *t = t->To(AccDType(io)).To(DType::kFloat64).Clone();
    }
    PlainAdamW(p);
    for (const Tensor& t : {p.master, p.m, p.v}) {
      EXPECT_LE(RelativeRmsError(state[at++].To(DType::kFloat64), t), tolerance);
    }
    if (!with_copy) continue;
    const Tensor& master = state[at - 3];
    EXPECT_TRUE(BitwiseEqual(state[at++], master.To(io)));
  }
}

TEST(AdamW, FollowsThePlainFormulaOnTheCpu) {
  ExpectUpdated(Device::kCpu, DType::kFloat64, false, 1e-15);
  ExpectUpdated(Device::kCpu, DType::kFloat32, false, 1e-6);
  ExpectUpdated(Device::kCpu, DType::kFloat32, true, 1e-6);
}

TEST(AdamW, FollowsThePlainFormulaOnTheGpu) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  ExpectUpdated(Device::kCuda, DType::kFloat32, false, 1e-6);
  ExpectUpdated(Device::kCuda, DType::kBf16, true, 1e-6);
}

TEST(AdamW, ChangesNothingWhenTheStepIsNotFinite) {
  for (const Device device : {Device::kCpu, Device::kCuda}) {
    if (device == Device::kCuda && !CudaAvailable()) continue;
    const DType io = device == Device::kCpu ? DType::kFloat32 : DType::kBf16;
    const auto parameters = MakeParameters();
    const auto state = RunAdamW(parameters, device, io, true, 0);
    size_t at = 0;
    for (const Parameter& p : parameters) {
      for (const Tensor& t : {p.master, p.m, p.v}) {
        EXPECT_TRUE(BitwiseEqual(state[at++], t.To(DType::kFloat32)));
      }
      EXPECT_TRUE(BitwiseEqual(state[at++], p.master.To(io)));
    }
  }
}

}  // namespace
}  // namespace wyvern
