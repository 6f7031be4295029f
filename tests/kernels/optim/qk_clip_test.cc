#include "kernels/optim/qk_clip.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "autograd/check/op_check.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

constexpr int64_t kHeads = 5, kRows = 6, kColumns = 7;  // rows of a head
constexpr double kTau = 2;

struct Rows {
  int64_t begin, end;
  double exponent;
};

Tensor Back(const Tensor& t) { return t.To(Device::kCpu).To(DType::kFloat64); }

void ExpectClipped(Device device, DType io, double tolerance) {
  const DType acc = AccDType(io);
  CaseRandom random("qk clip");
  const Tensor weight = ToTypeOn(random.Normal({kHeads * kRows * kColumns}), acc, device);
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> logits = {8, 2, -infinity, 2.5, -3};
  const Tensor max_logit = ToTypeOn(Tensor::FromVector(logits, {kHeads}), acc, device);
  const int64_t size = weight.numel();
  for (const int32_t finite_value : {1, 0}) {
    // All of the weight, and a piece of it that begins and ends inside heads.
    for (const auto& [first, end] : {std::pair<int64_t, int64_t>(0, size), {53, 171}}) {
      const Tensor master = weight.Rows(first, end).Clone();
      const Tensor copy = master.To(io).Clone();
      const Tensor finite = Tensor::FromVector<int32_t>({finite_value}, {1}).To(device);
      const std::vector<Rows> rows = {{0, 4, 0.5}, {4, 6, 1}};  // as of MLA's queries
      Dispatch(device, io, [&](auto tag, auto type) {
        using Io = typename decltype(type)::type;
        using Acc = AccOf<Io>;
        QkClipParams<Io> params{
            .tau = kTau, .finite = finite.data<int32_t>(), .stream = ComputeStream()};
        for (const Rows& r : rows) {
          params.tensors.push_back({.num_elements = end - first,
                                    .first = first,
                                    .head_elements = kRows * kColumns,
                                    .begin = r.begin * kColumns,
                                    .end = r.end * kColumns,
                                    .exponent = r.exponent,
                                    .max_logit = max_logit.data<Acc>(),
                                    .master = master.data<Acc>(),
                                    .copy = copy.data<Io>()});
        }
        QkClip(tag, params);
      });
      const Tensor expected = Back(weight.Rows(first, end)).Clone();
      for (int64_t i = 0; i < expected.numel() && finite_value != 0; ++i) {
        const int64_t row = (first + i) / kColumns;
        const double gamma = std::min(1.0, kTau / std::max(logits[row / kRows], 1e-9));
        expected.data<double>()[i] *= std::pow(gamma, row % kRows < 4 ? 0.5 : 1);
      }
      EXPECT_LE(RelativeRmsError(Back(master), expected), finite_value ? tolerance : 0);
      EXPECT_TRUE(BitwiseEqual(copy.To(Device::kCpu), master.To(io).To(Device::kCpu)));
    }
  }
}

TEST(QkClip, ScalesRowsOfTheHeadsThatAreAboveTheLimit) {
  ExpectClipped(Device::kCpu, DType::kFloat64, 1e-15);
  ExpectClipped(Device::kCpu, DType::kFloat32, 1e-6);
}

TEST(QkClip, ScalesRowsOfTheHeadsThatAreAboveTheLimitOnTheGpu) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  ExpectClipped(Device::kCuda, DType::kFloat32, 1e-6);
  ExpectClipped(Device::kCuda, DType::kBf16, 1e-6);
}

void ExpectMaximum(Device device) {
  const float infinity = std::numeric_limits<float>::infinity();
  const Tensor x = Tensor::FromVector<float>({1, -2, 3, -infinity}, {4}).To(device);
  const Tensor y = Tensor::FromVector<float>({-infinity, 5, 2, -infinity}, {4}).To(device);
  Dispatch(device, DType::kFloat32, [&](auto tag, auto) {
    MaxInto(tag, MaxIntoParams<float>{4, x.data<float>(), y.data<float>(), ComputeStream()});
  });
  EXPECT_EQ(y.ToVector<float>(), std::vector<float>({1, 5, 3, -infinity}));
}

TEST(QkClip, TakesTheMaximumInPlace) { ExpectMaximum(Device::kCpu); }

TEST(QkClip, TakesTheMaximumInPlaceOnTheGpu) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  ExpectMaximum(Device::kCuda);
}

}  // namespace
}  // namespace wyvern
