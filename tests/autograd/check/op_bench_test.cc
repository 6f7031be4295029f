// The bench half of the registry: every op has cases that run, and a cost to compare with.
#include "autograd/check/op_bench.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/check/op_registry.h"
#include "kernels/runtime/event.h"
#include "kernels/runtime/gpu.h"

namespace wyvern {
namespace {

class OpBench : public testing::TestWithParam<OpRow> {};

TEST_P(OpBench, TimesBothDirections) {
  for (const BenchShape& shape : GetParam().bench_shapes(Device::kCpu)) {
    const auto results = GetParam().bench(shape, Device::kCpu);
    ASSERT_TRUE(results.ok()) << results.status();
    ASSERT_EQ(results->size(), 2u);
    for (const BenchResult& r : *results) {
      EXPECT_EQ(r.op, GetParam().name);
      EXPECT_EQ(r.direction, &r == &results->front() ? "forward" : "backward");
      EXPECT_TRUE(std::isfinite(r.ms)) << r.case_name << ": " << r.ms;
      // Some backward times are a difference of two medians, which a busy machine makes negative.
      if (r.direction == "forward") {
        EXPECT_GT(r.ms, 0) << r.case_name;
      }
      // Add's backward hands its gradient on, and moves nothing.
      const bool moves_nothing = r.op == "add" && r.direction == "backward";
      EXPECT_EQ(r.bytes > 0, !moves_nothing) << r.case_name;
      EXPECT_GE(r.flops, 0) << r.case_name;
    }
  }
}

TEST_P(OpBench, RunsEveryShapeOnTheMetaDevice) {
  for (const BenchShape& shape : GetParam().bench_shapes(Device::kMeta)) {
    const auto plans = GetParam().explain(shape, Device::kMeta);
    ASSERT_TRUE(plans.ok()) << plans.status();
    for (const BenchPlan& p : *plans) EXPECT_FALSE(p.plan.empty()) << p.case_name;
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, OpBench, testing::ValuesIn(OpRegistry()),
                         [](const auto& info) { return info.param.name; });

TEST(BenchTensor, RepeatsItsDrawsWithMeanAndDeviation) {
  constexpr int64_t kSize = (int64_t{1} << 20) + 100;
  const auto x =
      BenchTensor({.shape = {kSize}, .mean = 3, .stddev = 2}, DType::kFloat32, Device::kCpu)
          .ToVector<float>();
  for (int64_t i = 0; i < 100; ++i) ASSERT_EQ(x[i], x[(int64_t{1} << 20) + i]);
  double sum = 0, square = 0;
  for (const float value : x) sum += value, square += (value - 3.0) * (value - 3.0);
  EXPECT_NEAR(sum / kSize, 3, 0.01);
  EXPECT_NEAR(std::sqrt(square / kSize), 2, 0.01);
}

TEST(MeasureCopyBandwidth, IsThatOfThisMachine) {
  const double cpu = MeasureCopyBandwidth(Device::kCpu);
  EXPECT_GT(cpu, 1e8);
  EXPECT_LT(cpu, 1e13);
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  // A GPU that others use too may have little left.
  const double nominal = CurrentGpu().peak_bandwidth,
               measured = MeasureCopyBandwidth(Device::kCuda);
  EXPECT_GT(measured, 0.01 * nominal);
  EXPECT_LT(measured, 1.05 * nominal);
}

TEST(Event, MeasuresWhatLiesBetween) {
  const Tensor t = Tensor::Empty({1 << 20}, DType::kFloat32, Device::kCpu);
  Event start(Device::kCpu), end(Device::kCpu);
  start.Record();
  for (int i = 0; i < 10; ++i) t.FillZero();
  end.Record();
  EXPECT_GT(end.MillisecondsSince(start), 0);
}

}  // namespace
}  // namespace wyvern
