// Times the kernels of mixture of experts at the size of Kimi Linear 48B-A3B's layer, beside dense
// products of the same FLOPs and a copy. Asserts nothing, so it runs only when asked for
// (experiments/moe_kernels).
#ifdef WYVERN_CUDA
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "autograd/check/op_bench.h"
#include "kernels/matmul/matmul.h"
#include "kernels/moe/expert_plan.h"
#include "kernels/moe/grouped_matmul.h"
#include "kernels/moe/moe_route.h"
#include "kernels/moe/moe_rows.h"

namespace wyvern {
namespace {

constexpr int64_t kTokens = 16384, kExperts = 256, kSlots = 8, kWidth = 2304, kInner = 1024;
constexpr int64_t kRows = kTokens * kSlots;

Tensor Normal(const Shape& shape, DType dtype = DType::kBf16) {
  return BenchTensor({.shape = shape}, dtype, Device::kCuda);
}

double Time(const std::function<void()>& call) { return MedianMilliseconds(Device::kCuda, call); }

// How the rows are spread over the experts.
enum class Spread { kRandom, kEven, kSkewed, kOneExpert };
constexpr const char* Name(Spread spread) {
  switch (spread) {
    case Spread::kRandom:
      return "random";
    case Spread::kEven:
      return "even";
    case Spread::kSkewed:
      return "skewed";
    case Spread::kOneExpert:
      return "one expert";
  }
  return "?";
}

std::vector<int32_t> Indices(Spread spread) {
  std::mt19937 random(11);
  std::vector<int32_t> indices(kRows);
  std::vector<int32_t> experts(kExperts);
  std::iota(experts.begin(), experts.end(), 0);
  std::uniform_real_distribution<double> uniform;
  for (int64_t pair = 0; pair < kRows; ++pair) {
    const int64_t slot = pair % kSlots;
    if (spread == Spread::kRandom) {  // kSlots different experts
      std::uniform_int_distribution<int64_t> rest(slot, kExperts - 1);
      std::swap(experts[slot], experts[rest(random)]);
      indices[pair] = experts[slot];
    } else if (spread == Spread::kEven) {
      indices[pair] = static_cast<int32_t>(pair % kExperts);
    } else if (spread == Spread::kSkewed) {  // the busiest has some 16 times the mean
      const double u = uniform(random);
      indices[pair] = static_cast<int32_t>(kExperts * u * u);
    } else {
      indices[pair] = kExperts / 2;
    }
  }
  return indices;
}

struct Plan {
  explicit Plan(Spread spread)
      : indices(Tensor::FromVector(Indices(spread), {kRows}).To(Device::kCuda)),
        offsets(Tensor::Empty({kExperts + 1}, DType::kInt32, Device::kCuda)),
        position(Tensor::Empty({kRows}, DType::kInt32, Device::kCuda)),
        source(Tensor::Empty({kRows}, DType::kInt32, Device::kCuda)) {
    Make();
  }
  void Make() const {
    MakeExpertPlan(CudaTag{}, {.num_pairs = kRows,
                               .num_experts = kExperts,
                               .indices = indices.data<int32_t>(),
                               .offsets = offsets.data<int32_t>(),
                               .position = position.data<int32_t>(),
                               .source = source.data<int32_t>(),
                               .stream = ComputeStream()});
  }
  Tensor indices, offsets, position, source;
};

// Grouped products of one projection, and the dense product of the same FLOPs.
void TimeProducts(const char* name, int64_t matrices, int64_t dim_in, int64_t dim_out) {
  const int64_t width = matrices * dim_out;
  const Tensor x = Normal({kRows, dim_in}), y = Normal({kRows, width});
  const Tensor weight = Normal({matrices * kExperts, dim_out, dim_in});
  const Tensor d_weight = Tensor::Zeros(weight.shape(), DType::kFloat32, Device::kCuda);
  const Tensor out = Tensor::EmptyLike(y), d_x = Tensor::EmptyLike(x);
  const double flops = 2.0 * kRows * static_cast<double>(width * dim_in);
  const double dense = Time([&] {
    Gemm(CudaTag{}, GemmParams<Bf16, Bf16>{.m = kRows,
                                           .n = width,
                                           .k = dim_in,
                                           .transpose_b = true,
                                           .a = x.data<Bf16>(),
                                           .b = weight.data<Bf16>(),
                                           .c = out.data<Bf16>(),
                                           .stream = ComputeStream()});
  });
  const auto print = [&](const std::string& what, double ms) {
    std::printf("%-6s %-32s %8.3f ms %7.1f TFLOP/s %6.1f%% of dense\n", name, what.c_str(), ms,
                flops / ms * 1e-9, 100 * dense / ms);
  };
  print("dense", dense);
  const GroupedMatmulShape shape = {.num_rows = kRows,
                                    .num_experts = kExperts,
                                    .num_matrices = matrices,
                                    .dim_in = dim_in,
                                    .dim_out = dim_out};
  for (const Spread spread :
       {Spread::kRandom, Spread::kEven, Spread::kSkewed, Spread::kOneExpert}) {
    const Plan plan(spread);
    const int32_t* offsets = plan.offsets.data<int32_t>();
    const std::string suffix = std::string(", ") + Name(spread);
    print("forward" + suffix, Time([&] {
            GroupedMatmulFwd(CudaTag{}, GroupedMatmulFwdParams<Bf16>{.shape = shape,
                                                                     .offsets = offsets,
                                                                     .x = x.data<Bf16>(),
                                                                     .weight = weight.data<Bf16>(),
                                                                     .y = out.data<Bf16>(),
                                                                     .stream = ComputeStream()});
          }));
    print("d_x" + suffix, Time([&] {
            GroupedMatmulInputGrad(CudaTag{},
                                   GroupedMatmulInputGradParams<Bf16>{.shape = shape,
                                                                      .offsets = offsets,
                                                                      .d_y = y.data<Bf16>(),
                                                                      .weight = weight.data<Bf16>(),
                                                                      .d_x = d_x.data<Bf16>(),
                                                                      .stream = ComputeStream()});
          }));
    for (const bool add : {false, true}) {
      print((add ? "d_weight added" : "d_weight written") + suffix, Time([&] {
              GroupedMatmulWeightGrad(CudaTag{}, GroupedMatmulWeightGradParams<Bf16, float>{
                                                     .shape = shape,
                                                     .offsets = offsets,
                                                     .d_y = y.data<Bf16>(),
                                                     .x = x.data<Bf16>(),
                                                     .d_weight = d_weight.data<float>(),
                                                     .add = add,
                                                     .stream = ComputeStream()});
            }));
    }
  }
}

void TimeMoves() {
  const double copy = MeasureCopyBandwidth(Device::kCuda);
  const Plan plan(Spread::kRandom);
  const Tensor x = Normal({kTokens, kWidth}), rows = Normal({kRows, kWidth});
  const Tensor weights = Normal({kTokens, kSlots}, DType::kFloat32);
  const Tensor y = Tensor::EmptyLike(x), d_rows = Tensor::EmptyLike(rows);
  const Tensor d_weights = Tensor::EmptyLike(weights);
  const int32_t* position = plan.position.data<int32_t>();
  // `bytes`: each tensor read or written once.
  const auto print = [&](const char* what, double bytes, double ms) {
    std::printf("%-24s %8.3f ms %7.1f GB/s %6.1f%% of copy\n", what, ms, bytes / ms * 1e-6,
                100 * bytes / (ms * 1e-3) / copy);
  };
  const double tokens = static_cast<double>(x.nbytes()), pairs = static_cast<double>(rows.nbytes());
  print("copy", copy * 1e-3, 1);
  print("permute", tokens + pairs, Time([&] {
          MoeScatter(CudaTag{}, MoeScatterParams<Bf16>{.num_tokens = kTokens,
                                                       .dim = kWidth,
                                                       .experts_per_token = kSlots,
                                                       .position = position,
                                                       .x = x.data<Bf16>(),
                                                       .to = d_rows.data<Bf16>(),
                                                       .stream = ComputeStream()});
        }));
  print("permute backward", tokens + pairs, Time([&] {
          MoeGather(CudaTag{}, MoeGatherParams<Bf16>{.num_tokens = kTokens,
                                                     .dim = kWidth,
                                                     .experts_per_token = kSlots,
                                                     .rows = rows.data<Bf16>(),
                                                     .position = position,
                                                     .y = y.data<Bf16>(),
                                                     .stream = ComputeStream()});
        }));
  print("combine", 2 * tokens + pairs, Time([&] {
          MoeGather(CudaTag{}, MoeGatherParams<Bf16>{.num_tokens = kTokens,
                                                     .dim = kWidth,
                                                     .experts_per_token = kSlots,
                                                     .rows = rows.data<Bf16>(),
                                                     .weights = weights.data<float>(),
                                                     .shared = x.data<Bf16>(),
                                                     .position = position,
                                                     .y = y.data<Bf16>(),
                                                     .stream = ComputeStream()});
        }));
  print("combine backward", tokens + 2 * pairs, Time([&] {
          MoeScatter(CudaTag{}, MoeScatterParams<Bf16>{.num_tokens = kTokens,
                                                       .dim = kWidth,
                                                       .experts_per_token = kSlots,
                                                       .rows = rows.data<Bf16>(),
                                                       .weights = weights.data<float>(),
                                                       .position = position,
                                                       .x = x.data<Bf16>(),
                                                       .to = d_rows.data<Bf16>(),
                                                       .dots = d_weights.data<float>(),
                                                       .stream = ComputeStream()});
        }));
  std::printf("%-24s %8.3f ms\n", "plan", Time([&] { plan.Make(); }));
}

void TimeRoute() {
  const Tensor x = Normal({kTokens, kWidth});
  const Tensor weight =
      BenchTensor({.shape = {kExperts, kWidth}, .stddev = 0.02}, DType::kFloat32, Device::kCuda);
  const Tensor scores = Tensor::Empty({kTokens, kExperts}, DType::kFloat32, Device::kCuda);
  const Tensor d_logits = Tensor::EmptyLike(scores), d_x = Tensor::EmptyLike(x);
  const Tensor weights = Tensor::Empty({kTokens, kSlots}, DType::kFloat32, Device::kCuda);
  const Tensor d_weights = Normal({kTokens, kSlots}, DType::kFloat32);
  const Tensor d_weight = Tensor::EmptyLike(weight);
  const Tensor indices = Tensor::Empty({kTokens, kSlots}, DType::kInt32, Device::kCuda);
  const MoeRouteShape shape = {.num_tokens = kTokens,
                               .dim = kWidth,
                               .num_experts = kExperts,
                               .experts_per_token = kSlots,
                               .scale = 2.446};
  std::printf("%-24s %8.3f ms\n", "route", Time([&] {
                MoeRouteFwd(CudaTag{}, MoeRouteFwdParams<Bf16>{.shape = shape,
                                                               .x = x.data<Bf16>(),
                                                               .weight = weight.data<float>(),
                                                               .scores = scores.data<float>(),
                                                               .indices = indices.data<int32_t>(),
                                                               .weights = weights.data<float>(),
                                                               .stream = ComputeStream()});
              }));
  std::printf("%-24s %8.3f ms\n", "route backward", Time([&] {
                MoeRouteBwd(CudaTag{}, MoeRouteBwdParams<Bf16>{.shape = shape,
                                                               .x = x.data<Bf16>(),
                                                               .weight = weight.data<float>(),
                                                               .scores = scores.data<float>(),
                                                               .indices = indices.data<int32_t>(),
                                                               .weights = weights.data<float>(),
                                                               .d_weights = d_weights.data<float>(),
                                                               .d_logits = d_logits.data<float>(),
                                                               .d_x = d_x.data<Bf16>(),
                                                               .d_weight = d_weight.data<float>(),
                                                               .stream = ComputeStream()});
              }));
}

TEST(MoeRates, DISABLED_OfKimiLinear48b) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  std::printf("%s, %d tokens, top %d of %d experts of width %d, hidden %d\n",
              CurrentGpu().name.c_str(), static_cast<int>(kTokens), static_cast<int>(kSlots),
              static_cast<int>(kExperts), static_cast<int>(kInner), static_cast<int>(kWidth));
  TimeProducts("up", 2, kWidth, kInner);
  TimeProducts("down", 1, kInner, kWidth);
  TimeMoves();
  TimeRoute();
}

}  // namespace
}  // namespace wyvern
#endif  // WYVERN_CUDA
