// Times a whole layer of experts at the size of Kimi Linear 48B-A3B's, beside a dense product.
// Asserts nothing, so it runs only when asked for (experiments/moe_kernels).
#ifdef WYVERN_CUDA
#include <gtest/gtest.h>

#include <cstdio>
#include <string>
#include <vector>

#include "autograd/check/op_bench.h"
#include "kernels/matmul/matmul.h"
#include "layers/moe.h"
#include "layers/unit.h"

namespace wyvern {
namespace {

constexpr int64_t kTokens = 16384, kExperts = 256, kSlots = 8, kWidth = 2304, kInner = 1024;

Tensor Normal(const Shape& shape, double stddev, DType dtype) {
  return BenchTensor({.shape = shape, .stddev = stddev}, dtype, Device::kCuda);
}

// FLOPs per second of one product of as many rows as all experts have, to both of their
// projections.
double DenseRate() {
  const int64_t rows = kTokens * kSlots, columns = 2 * kInner;
  const Tensor x = Normal({rows, kWidth}, 1, DType::kBf16);
  const Tensor weight = Normal({columns, kWidth}, 1, DType::kBf16);
  const Tensor y = Tensor::Empty({rows, columns}, DType::kBf16, Device::kCuda);
  const double ms = MedianMilliseconds(Device::kCuda, [&] {
    Gemm(CudaTag{}, GemmParams<Bf16, Bf16>{.m = rows,
                                           .n = columns,
                                           .k = kWidth,
                                           .transpose_b = true,
                                           .a = x.data<Bf16>(),
                                           .b = weight.data<Bf16>(),
                                           .c = y.data<Bf16>(),
                                           .stream = ComputeStream()});
  });
  return 2.0 * static_cast<double>(rows * columns) * kWidth / (ms * 1e-3);
}

// The layer, with parameters in memory of its own, as its model would give it.
struct Layer {
  explicit Layer(const ModelConfig& config) : moe(config) {
    std::vector<Parameter*> large, small;
    for (Parameter* p : moe.parameters()) (IsLarge(p->kind) ? large : small).push_back(p);
    flats[0].Allocate(large, DType::kBf16, DType::kFloat32, Device::kCuda, true, {});
    flats[1].Allocate(small, DType::kFloat32, DType::kFloat32, Device::kCuda, true, {});
    moe.bias()->value = Tensor::Zeros(moe.bias()->shape, DType::kFloat32, Device::kCuda);
    for (Parameter* p : moe.parameters()) {
      p->Assign(Normal(p->shape, config.initializer_range, DType::kFloat32));
    }
  }
  void ClearGradients() {
    for (const Parameter* p : moe.parameters()) p->ClearGrad();
  }
  Moe moe;
  FlatParameters flats[2];
};

TEST(MoeRates, DISABLED_LayerOfKimiLinear48b) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  const double dense = DenseRate();
  ModelConfig config;
  config.hidden_size = kWidth;
  config.moe = MoeConfig{.num_experts = kExperts,
                         .experts_per_token = kSlots,
                         .intermediate_size = kInner,
                         .scale = 2.446};
  Layer layer(config);
  const Packing packing = Packing::FromDocuments({0, kTokens}, Device::kCuda);
  const Tensor x = Normal({kTokens, kWidth}, 1, DType::kBf16);
  const Tensor dy = Normal({kTokens, kWidth}, 1, DType::kBf16);
  // FLOPs of the routed and the shared experts and the router.
  const double forward = 2.0 * kTokens * kWidth * (3 * kInner * (kSlots + 1) + kExperts);
  const auto print = [&](const char* what, double flops, double ms) {
    std::printf("%-39s %8.3f ms %7.1f TFLOP/s %6.1f%% of dense\n", what, ms, flops / ms * 1e-9,
                100 * flops / (ms * 1e-3) / dense);
  };
  print("layer, forward", forward, MedianMilliseconds(Device::kCuda, [&] {
          Tape tape(/*recording=*/false);
          layer.moe.Forward(tape, Var(x), packing, /*balance_factor=*/0);
        }));
  const auto step = [&] {
    Tape tape;
    tape.Backward({{layer.moe.Forward(tape, Var::Leaf(x), packing, /*balance_factor=*/0), dy}});
  };
  print("layer, forward and backward", 3 * forward, MedianMilliseconds(Device::kCuda, [&] {
          layer.ClearGradients();
          step();
        }));
  print("layer, the same, gradients added", 3 * forward, MedianMilliseconds(Device::kCuda, step));
}

}  // namespace
}  // namespace wyvern
#endif  // WYVERN_CUDA
