#include "autograd/check/op_bench.h"

#include <cmath>

#include "kernels/runtime/event.h"

namespace wyvern {
namespace {

constexpr int64_t kDraws = int64_t{1} << 20;

const std::vector<float>& NormalDraws() {
  static const std::vector<float> draws = [] {
    const Random random(20260601, "bench");
    std::vector<float> values(kDraws);
    for (int64_t i = 0; i < kDraws; ++i) values[i] = static_cast<float>(random.Normal(i));
    return values;
  }();
  return draws;
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

Tensor BenchTensor(const BenchInput& input, DType dtype, Device device) {
  const Tensor t = Tensor::Empty(input.shape, dtype, device);
  const int64_t drawn = std::min(kDraws, t.numel());
  if (drawn == 0 || device == Device::kMeta) return t;  // the meta device keeps no numbers
  std::vector<float> values(drawn);
  for (int64_t i = 0; i < drawn; ++i) {
    values[i] = static_cast<float>(input.mean + input.stddev * NormalDraws()[i]);
  }
  const Tensor once = Tensor::FromVector(values, {drawn}).To(dtype).To(device);
  char* to = static_cast<char*>(t.raw());
  for (int64_t done = 0; done < t.nbytes(); done += once.nbytes()) {
    CopyBytes(to + done, device, once.raw(), device, std::min(once.nbytes(), t.nbytes() - done));
  }
  return t;
}

double MedianMilliseconds(Device device, const std::function<void()>& call) {
  constexpr double kBatchMs = 5;
  constexpr int kMaxCalls = 50;
  const int batches = device == Device::kCuda ? 11 : 5;
  Event start(device), end(device);
  const auto time = [&](int calls) {
    start.Record();
    for (int i = 0; i < calls; ++i) call();
    end.Record();
    return end.MillisecondsSince(start) / calls;
  };
  for (int i = 0; i < (device == Device::kCuda ? 3 : 1); ++i) call();
  const double estimate = time(1);
  const int calls =
      device == Device::kCpu
          ? 1
          : std::clamp(static_cast<int>(std::ceil(kBatchMs / std::max(estimate, 1e-3))), 1,
                       kMaxCalls);
  std::vector<double> times(batches);
  for (double& ms : times) ms = time(calls);
  return Median(times);
}

double MeasureCopyBandwidth(Device device) {
  const int64_t bytes = int64_t{1} << (device == Device::kCuda ? 30 : 26);
  const Buffer from(device, bytes), to(device, bytes);
  FillBytes(from.data(), device, 1, bytes);
  const double ms =
      MedianMilliseconds(device, [&] { CopyBytes(to.data(), device, from.data(), device, bytes); });
  return 2.0 * static_cast<double>(bytes) / (ms * 1e-3);
}

}  // namespace wyvern
