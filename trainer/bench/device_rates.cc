#include "trainer/bench/device_rates.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "autograd/check/op_bench.h"
#include "autograd/ops/matmul/matmul.h"
#include "kernels/runtime/gpu.h"

namespace wyvern {
namespace {

// FLOPs per second of a large matmul.
double ProductRate(Device device) {
  const int64_t n = device == Device::kCuda ? 8192 : 1024;
  const DType type = device == Device::kCuda ? DType::kBf16 : DType::kFloat32;
  const Tensor a = Tensor::Zeros({n, n}, type, device), b = Tensor::Zeros({n, n}, type, device);
  const double size = static_cast<double>(n);
  const double ms =
      MedianMilliseconds(device, [&] { MatMul::Forward({.x = a, .weight = b}, {}, nullptr); });
  return 2 * size * size * size / (ms * 1e-3);
}

}  // namespace

double DeviceRates::BoundMs(double num_flops, double num_bytes) const {
  return 1e3 * std::max(num_flops / flops, num_bytes / bytes);
}

std::string DeviceRates::Describe() const {
  return absl::StrFormat("%s: %.0f GB/s (measured copy), %.2f TFLOP/s (%s)", device, bytes / 1e9,
                         flops / 1e12,
                         data_sheet ? "data sheet, dense bf16" : "measured matrix product");
}

DeviceRates MeasureRates(Device device) {
  DeviceRates rates;
  rates.device = device == Device::kCuda ? CurrentGpu().name : Name(device);
  rates.bytes = MeasureCopyBandwidth(device);
  rates.flops = device == Device::kCuda ? CurrentGpu().peak_bf16_flops : 0;
  rates.data_sheet = rates.flops > 0;
  if (!rates.data_sheet) rates.flops = ProductRate(device);
  return rates;
}

}  // namespace wyvern
