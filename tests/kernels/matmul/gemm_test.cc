// Tests of Gemm that the op matmul does not cover: batches, and an addend apart from the result.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "autograd/check/op_check.h"
#include "kernels/matmul/matmul.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

struct Shapes {
  int64_t batch, m, n, k;
  bool transpose_a, transpose_b;
};

void ExpectBatched(const Shapes& s, Device device, DType io, double tolerance) {
  SCOPED_TRACE(absl::StrCat(s.batch, " of ", s.m, " x ", s.n, " x ", s.k));
  constexpr double kAlpha = 2.0315, kBeta = -4.775;
  CaseRandom random("gemm");
  const auto rounded = [&](Shape shape) {
    return random.Normal(std::move(shape)).To(io).To(DType::kFloat64);
  };
  const Tensor a = rounded(s.transpose_a ? Shape{s.batch, s.k, s.m} : Shape{s.batch, s.m, s.k});
  const Tensor b = rounded(s.transpose_b ? Shape{s.batch, s.n, s.k} : Shape{s.batch, s.k, s.n});
  const Tensor z = rounded({s.batch, s.m, s.n});
  const Tensor expected = z.Clone();
  for (int64_t i = 0; i < s.batch; ++i) {
    for (int64_t row = 0; row < s.m; ++row) {
      for (int64_t column = 0; column < s.n; ++column) {
        double sum = 0;
        for (int64_t j = 0; j < s.k; ++j) {
          sum += a.data<double>()[i * s.m * s.k + (s.transpose_a ? j * s.m + row : row * s.k + j)] *
                 b.data<double>()[i * s.k * s.n +
                                  (s.transpose_b ? column * s.k + j : j * s.n + column)];
        }
        double& c = expected.data<double>()[(i * s.m + row) * s.n + column];
        c = kAlpha * sum + kBeta * c;
      }
    }
  }
  const Tensor a_io = ToTypeOn(a, io, device), b_io = ToTypeOn(b, io, device);
  const Tensor z_io = ToTypeOn(z, io, device), c = Tensor::Empty({s.batch, s.m, s.n}, io, device);
  Dispatch(device, io, [&](auto tag, auto type) {
    using T = typename decltype(type)::type;
    Gemm(tag, GemmParams<T, T>{.m = s.m,
                               .n = s.n,
                               .k = s.k,
                               .batch = s.batch,
                               .transpose_a = s.transpose_a,
                               .transpose_b = s.transpose_b,
                               .alpha = kAlpha,
                               .beta = kBeta,
                               .a = a_io.data<T>(),
                               .b = b_io.data<T>(),
                               .c = c.data<T>(),
                               .addend = z_io.data<T>(),
                               .stream = ComputeStream()});
  });
  EXPECT_LE(RelativeRmsError(c.To(Device::kCpu).To(DType::kFloat64), expected), tolerance);
  EXPECT_TRUE(BitwiseEqual(z_io.To(Device::kCpu), z.To(io)));
}

// The last ones begin at addresses that no vector access may assume.
const Shapes kShapes[] = {{1, 16, 24, 8, false, false},
                          {3, 64, 32, 128, false, true},
                          {4, 40, 40, 72, true, false},
                          {5, 7, 9, 11, false, true},
                          {2, 13, 13, 3, true, false}};

TEST(Gemm, MultipliesBatchesOnTheCpu) {
  for (const Shapes& s : kShapes) {
    ExpectBatched(s, Device::kCpu, DType::kFloat64, 1e-14);
    ExpectBatched(s, Device::kCpu, DType::kFloat32, 1e-6);
  }
}

TEST(Gemm, MultipliesBatchesOnTheGpu) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  for (const Shapes& s : kShapes) {
    ExpectBatched(s, Device::kCuda, DType::kFloat32, 1e-6);
    ExpectBatched(s, Device::kCuda, DType::kBf16, 5e-3);
  }
}

}  // namespace
}  // namespace wyvern
