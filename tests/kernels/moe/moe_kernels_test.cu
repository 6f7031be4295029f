// The kernels of mixture of experts against the CPU's in fp64, from the same inputs, for sizes of
// groups that a router may give. Grouped GEMMs run in both of their forms on Hopper.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/moe/expert_plan.h"
#include "kernels/moe/grouped_matmul.h"
#include "kernels/moe/moe_rows.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

using Vector = std::vector<double>;
using Ints = std::vector<int32_t>;

class MoeKernels : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (!CudaAvailable(&why)) GTEST_SKIP() << why;
    SetPoison(true);
  }
  void TearDown() override { SetPoison(false); }

  std::mt19937 random_{7};

  int64_t Below(int64_t n) { return std::uniform_int_distribution<int64_t>(0, n - 1)(random_); }
  // Values of the bf16 grid.
  Vector Normal(int64_t n) {
    std::normal_distribution<float> normal;
    Vector x(n);
    for (double& v : x) v = ToFloat(ToBf16(normal(random_)));
    return x;
  }
};

template <typename T>
T Convert(double x) {
  if constexpr (sizeof(T) == 2) {
    return ToBf16(static_cast<float>(x));
  } else {
    return static_cast<T>(x);
  }
}
double Value(float x) { return x; }
double Value(Bf16 x) { return ToFloat(x); }

template <typename T>
Buffer Upload(const std::vector<T>& x) {
  Buffer buffer(Device::kCuda, x.size() * sizeof(T));
  CopyBytes(buffer.data(), Device::kCuda, x.data(), Device::kCpu, buffer.num_bytes());
  return buffer;
}
template <typename T>
Buffer UploadAs(const Vector& x) {
  std::vector<T> converted;
  for (const double v : x) converted.push_back(Convert<T>(v));
  return Upload(converted);
}
template <typename T>
std::vector<T> Download(const Buffer& buffer) {
  std::vector<T> x(buffer.num_bytes() / sizeof(T));
  CopyBytes(x.data(), Device::kCpu, buffer.data(), Device::kCuda, buffer.num_bytes());
  return x;
}

// RMS(x - expected) / RMS(expected) over elements [begin, end); a NaN among them is a NaN here.
template <typename T>
double Error(const Buffer& buffer, const Vector& expected, size_t begin, size_t end) {
  const std::vector<T> x = Download<T>(buffer);
  double difference = 0, size = 0;
  for (size_t i = begin; i < end; ++i) {
    difference += (Value(x[i]) - expected[i]) * (Value(x[i]) - expected[i]);
    size += expected[i] * expected[i];
  }
  return std::sqrt(difference / std::max(size, 1e-300));
}
template <typename T>
double Error(const Buffer& buffer, const Vector& expected) {
  return Error<T>(buffer, expected, 0, expected.size());
}

TEST_F(MoeKernels, PlanIsTheOneStableSort) {
  struct Case {
    int64_t pairs, experts;
    bool one_expert = false;
  };
  for (const Case& c : {Case{0, 5}, Case{1, 1}, Case{1000, 1, true}, Case{70000, 256},
                        Case{5000, 1024}, Case{4099, 7}, Case{3000, 64, true}}) {
    SCOPED_TRACE(std::to_string(c.pairs) + " pairs, " + std::to_string(c.experts) + " experts");
    Ints indices(c.pairs);
    for (int32_t& e : indices) {
      e = static_cast<int32_t>(c.one_expert ? c.experts / 2 : Below(c.experts));
    }
    Ints offsets(c.experts + 1), position(c.pairs), source(c.pairs);
    MakeExpertPlan(CpuTag{}, {.num_pairs = c.pairs,
                              .num_experts = c.experts,
                              .indices = indices.data(),
                              .offsets = offsets.data(),
                              .position = position.data(),
                              .source = source.data()});
    const Buffer in = Upload(indices), d_offsets = Upload(offsets), d_position = Upload(position),
                 d_source = Upload(source);
    for (const Buffer* out : {&d_offsets, &d_position, &d_source}) {
      FillBytes(out->data(), Device::kCuda, 0xff, out->num_bytes());
    }
    MakeExpertPlan(CudaTag{}, {.num_pairs = c.pairs,
                               .num_experts = c.experts,
                               .indices = in.as<int32_t>(),
                               .offsets = d_offsets.as<int32_t>(),
                               .position = d_position.as<int32_t>(),
                               .source = d_source.as<int32_t>(),
                               .stream = ComputeStream()});
    EXPECT_EQ(Download<int32_t>(d_offsets), offsets);
    EXPECT_EQ(Download<int32_t>(d_position), position);
    EXPECT_EQ(Download<int32_t>(d_source), source);
  }
}

// Pairs of no expert get the last rows, so that all positions still differ.
TEST_F(MoeKernels, PlanKeepsStrayIndicesApart) {
  const Ints indices = {3, -1, 0, 7, 3};
  const Buffer in = Upload(indices), offsets = Upload(Ints(5)), position = Upload(Ints(5)),
               source = Upload(Ints(5));
  MakeExpertPlan(CudaTag{}, {.num_pairs = 5,
                             .num_experts = 4,
                             .indices = in.as<int32_t>(),
                             .offsets = offsets.as<int32_t>(),
                             .position = position.as<int32_t>(),
                             .source = source.as<int32_t>(),
                             .stream = ComputeStream()});
  EXPECT_EQ(Download<int32_t>(offsets), (Ints{0, 1, 1, 1, 3}));
  EXPECT_EQ(Download<int32_t>(position), (Ints{1, 3, 0, 4, 2}));
  EXPECT_EQ(Download<int32_t>(source), (Ints{2, 0, 4, 1, 3}));
}

// Inputs, and what the CPU makes of them in fp64.
struct Products {
  GroupedMatmulShape shape;
  Ints offsets;
  Vector x, weight, d_y, old;
  Vector y, d_x, d_weight, sum;  // sum: old + d_weight

  int64_t num_weights() const {
    return shape.num_matrices * shape.num_experts * shape.dim_in * shape.dim_out;
  }
  void Compute() {
    const int64_t R = shape.num_rows, width = shape.num_matrices * shape.dim_out;
    y.resize(R * width);
    d_x.resize(R * shape.dim_in);
    d_weight.resize(num_weights());
    sum = old;
    GroupedMatmulFwd(CpuTag{}, GroupedMatmulFwdParams<double>{.shape = shape,
                                                              .offsets = offsets.data(),
                                                              .x = x.data(),
                                                              .weight = weight.data(),
                                                              .y = y.data()});
    GroupedMatmulInputGrad(CpuTag{}, GroupedMatmulInputGradParams<double>{.shape = shape,
                                                                          .offsets = offsets.data(),
                                                                          .d_y = d_y.data(),
                                                                          .weight = weight.data(),
                                                                          .d_x = d_x.data()});
    for (Vector* to : {&d_weight, &sum}) {
      GroupedMatmulWeightGrad(
          CpuTag{}, GroupedMatmulWeightGradParams<double, double>{.shape = shape,
                                                                  .offsets = offsets.data(),
                                                                  .d_y = d_y.data(),
                                                                  .x = x.data(),
                                                                  .d_weight = to->data(),
                                                                  .add = to == &sum});
    }
  }
};

// The GPU's results.
template <typename Io>
struct GpuProducts {
  explicit GpuProducts(const Products& c)
      : y(Device::kCuda, c.y.size() * sizeof(Io)),
        d_x(Device::kCuda, c.d_x.size() * sizeof(Io)),
        d_weight(Device::kCuda, c.d_weight.size() * sizeof(float)),
        sum(UploadAs<float>(c.old)),
        rounded(Device::kCuda, c.d_weight.size() * sizeof(Io)) {
    const Buffer offsets = Upload(c.offsets), x = UploadAs<Io>(c.x),
                 weight = UploadAs<Io>(c.weight), d_y = UploadAs<Io>(c.d_y);
    GroupedMatmulFwd(CudaTag{}, GroupedMatmulFwdParams<Io>{.shape = c.shape,
                                                           .offsets = offsets.as<int32_t>(),
                                                           .x = x.as<Io>(),
                                                           .weight = weight.as<Io>(),
                                                           .y = y.as<Io>(),
                                                           .stream = ComputeStream()});
    GroupedMatmulInputGrad(CudaTag{},
                           GroupedMatmulInputGradParams<Io>{.shape = c.shape,
                                                            .offsets = offsets.as<int32_t>(),
                                                            .d_y = d_y.as<Io>(),
                                                            .weight = weight.as<Io>(),
                                                            .d_x = d_x.as<Io>(),
                                                            .stream = ComputeStream()});
    const auto weight_grad = [&](auto* to, bool add) {
      using Out = std::remove_pointer_t<decltype(to)>;
      GroupedMatmulWeightGrad(
          CudaTag{}, GroupedMatmulWeightGradParams<Io, Out>{.shape = c.shape,
                                                            .offsets = offsets.as<int32_t>(),
                                                            .d_y = d_y.as<Io>(),
                                                            .x = x.as<Io>(),
                                                            .d_weight = to,
                                                            .add = add,
                                                            .stream = ComputeStream()});
    };
    weight_grad(d_weight.as<float>(), false);
    weight_grad(sum.as<float>(), true);
    weight_grad(rounded.as<Io>(), false);
  }
  Buffer y, d_x, d_weight, sum, rounded;
};

template <typename Io>
void CheckProducts(const Products& c) {
  const GpuProducts<Io> gpu(c);
  const double limit = sizeof(Io) == 2 ? 4e-3 : 2e-6;
  EXPECT_LE(Error<Io>(gpu.y, c.y), limit);
  EXPECT_LE(Error<Io>(gpu.d_x, c.d_x), limit);
  EXPECT_LE(Error<float>(gpu.d_weight, c.d_weight), 2e-6);
  EXPECT_LE(Error<float>(gpu.sum, c.sum), 2e-6);
  EXPECT_LE(Error<Io>(gpu.rounded, c.d_weight), limit);
  const GpuProducts<Io> again(c);
  EXPECT_EQ(Download<float>(again.d_weight), Download<float>(gpu.d_weight));
  EXPECT_EQ(Download<uint16_t>(again.y), Download<uint16_t>(gpu.y));
  EXPECT_EQ(Download<uint16_t>(again.d_x), Download<uint16_t>(gpu.d_x));
}

struct GroupCase {
  std::string name;
  std::vector<int> rows;
  int64_t matrices, dim_in, dim_out;
};

TEST_F(MoeKernels, GroupedProducts) {
  std::vector<int> many(300);  // more experts than blocks, most of them without rows
  for (size_t e = 0; e < many.size(); e += 3) many[e] = static_cast<int>(e % 7);
  std::vector<int> busy(150);  // many tiles to a block, no two experts alike
  for (size_t e = 0; e < busy.size(); ++e) busy[e] = static_cast<int>(e * 37 % 149);
  for (const GroupCase& g :
       std::vector<GroupCase>{{"wide", {130, 0, 64, 1, 63, 200, 0}, 2, 320, 192},
                              {"one_tile", {64, 128, 65}, 1, 64, 64},
                              {"all_on_one", {0, 0, 700, 0}, 1, 128, 320},
                              {"many", many, 1, 128, 64},
                              {"busy", busy, 2, 128, 576},
                              {"tall", {2400, 150, 515}, 1, 576, 320},
                              {"long", {3000, 17}, 1, 256, 256},
                              {"no_rows", {0, 0}, 2, 64, 128},
                              {"narrow", {33, 0, 70}, 2, 40, 24},
                              {"odd", {33, 5, 0, 90}, 1, 37, 75}}) {
    SCOPED_TRACE(g.name);
    Products c;
    c.offsets = {0};
    for (const int rows : g.rows) c.offsets.push_back(c.offsets.back() + rows);
    c.shape = {.num_rows = c.offsets.back(),
               .num_experts = static_cast<int64_t>(g.rows.size()),
               .num_matrices = g.matrices,
               .dim_in = g.dim_in,
               .dim_out = g.dim_out};
    c.x = Normal(c.shape.num_rows * g.dim_in);
    c.weight = Normal(c.num_weights());
    c.d_y = Normal(c.shape.num_rows * g.matrices * g.dim_out);
    c.old = Normal(c.num_weights());
    c.Compute();
    CheckProducts<Bf16>(c);
    CheckProducts<float>(c);
  }
}

// Tiles reach beyond a group's end; what lies there is other experts' and must not count.
TEST_F(MoeKernels, GroupedProductsOfOneExpertDoNotReachTheNext) {
  Products c;
  c.offsets = {0, 70, 75, 203};
  c.shape = {.num_rows = 203, .num_experts = 3, .num_matrices = 1, .dim_in = 128, .dim_out = 192};
  c.x = Normal(203 * 128);
  c.weight = Normal(c.num_weights());
  c.d_y = Normal(203 * 192);
  c.old = Vector(c.num_weights());
  c.Compute();
  std::fill(c.x.begin() + 70 * 128, c.x.begin() + 75 * 128, NAN);
  std::fill(c.d_y.begin() + 70 * 192, c.d_y.begin() + 75 * 192, NAN);
  const GpuProducts<Bf16> gpu(c);
  constexpr size_t kMatrix = 128 * 192;
  EXPECT_LE(Error<Bf16>(gpu.y, c.y, 0, 70 * 192), 4e-3);
  EXPECT_LE(Error<Bf16>(gpu.y, c.y, 75 * 192, 203 * 192), 4e-3);
  EXPECT_LE(Error<Bf16>(gpu.d_x, c.d_x, 0, 70 * 128), 4e-3);
  EXPECT_LE(Error<Bf16>(gpu.d_x, c.d_x, 75 * 128, 203 * 128), 4e-3);
  for (const size_t e : {0, 2}) {
    EXPECT_LE(Error<float>(gpu.d_weight, c.d_weight, e * kMatrix, (e + 1) * kMatrix), 2e-6) << e;
    EXPECT_LE(Error<Bf16>(gpu.rounded, c.d_weight, e * kMatrix, (e + 1) * kMatrix), 4e-3) << e;
  }
}

TEST_F(MoeKernels, CombineOfManySlots) {
  for (const auto& [tokens, dim, slots] :
       std::vector<std::array<int64_t, 3>>{{5, 264, 1}, {9, 2304, 8}, {3, 33, 11}, {4, 512, 32}}) {
    SCOPED_TRACE(std::to_string(slots) + " slots of " + std::to_string(dim));
    const int64_t rows = tokens * slots;
    Ints position(rows);
    std::iota(position.begin(), position.end(), 0);
    std::shuffle(position.begin(), position.end(), random_);
    const Vector x = Normal(rows * dim), weights = Normal(rows), shared = Normal(tokens * dim),
                 dy = Normal(tokens * dim);
    Vector y(tokens * dim), d_rows(rows * dim), d_weights(rows);
    MoeGather(CpuTag{}, MoeGatherParams<double>{.num_tokens = tokens,
                                                .dim = dim,
                                                .experts_per_token = slots,
                                                .rows = x.data(),
                                                .weights = weights.data(),
                                                .shared = shared.data(),
                                                .position = position.data(),
                                                .y = y.data()});
    MoeScatter(CpuTag{}, MoeScatterParams<double>{.num_tokens = tokens,
                                                  .dim = dim,
                                                  .experts_per_token = slots,
                                                  .rows = x.data(),
                                                  .weights = weights.data(),
                                                  .position = position.data(),
                                                  .x = dy.data(),
                                                  .to = d_rows.data(),
                                                  .dots = d_weights.data()});
    const Buffer g_position = Upload(position), g_x = UploadAs<Bf16>(x),
                 g_weights = UploadAs<float>(weights), g_shared = UploadAs<Bf16>(shared),
                 g_dy = UploadAs<Bf16>(dy);
    const Buffer g_y(Device::kCuda, y.size() * 2), g_d_rows(Device::kCuda, d_rows.size() * 2),
        g_d_weights(Device::kCuda, rows * 4);
    MoeGather(CudaTag{}, MoeGatherParams<Bf16>{.num_tokens = tokens,
                                               .dim = dim,
                                               .experts_per_token = slots,
                                               .rows = g_x.as<Bf16>(),
                                               .weights = g_weights.as<float>(),
                                               .shared = g_shared.as<Bf16>(),
                                               .position = g_position.as<int32_t>(),
                                               .y = g_y.as<Bf16>(),
                                               .stream = ComputeStream()});
    MoeScatter(CudaTag{}, MoeScatterParams<Bf16>{.num_tokens = tokens,
                                                 .dim = dim,
                                                 .experts_per_token = slots,
                                                 .rows = g_x.as<Bf16>(),
                                                 .weights = g_weights.as<float>(),
                                                 .position = g_position.as<int32_t>(),
                                                 .x = g_dy.as<Bf16>(),
                                                 .to = g_d_rows.as<Bf16>(),
                                                 .dots = g_d_weights.as<float>(),
                                                 .stream = ComputeStream()});
    EXPECT_LE(Error<Bf16>(g_y, y), 4e-3);
    EXPECT_LE(Error<Bf16>(g_d_rows, d_rows), 4e-3);
    EXPECT_LE(Error<float>(g_d_weights, d_weights), 2e-6);
  }
}

}  // namespace
}  // namespace wyvern
