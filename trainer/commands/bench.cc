#include "trainer/commands/bench.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "autograd/op_registry.h"
#include "autograd/ops/matmul.h"
#include "trainer/commands/command.h"
#include "trainer/nearest.h"

namespace wyvern {
namespace {

// The least time of a few runs, in seconds.
template <class F>
double BestSeconds(Device device, const F& work) {
  double best = 1e30;
  for (int i = 0; i < 5; ++i) {
    Synchronize(device);
    const auto begin = std::chrono::steady_clock::now();
    work();
    Synchronize(device);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::min(best, seconds.count());
  }
  return best;
}

// Bytes read and written per second by a copy that no cache holds.
double CopyRate(Device device) {
  const int64_t num_bytes = device == Device::kCuda ? int64_t{1} << 30 : int64_t{1} << 27;
  const Tensor from = Tensor::Zeros({num_bytes}, DType::kUint8, device);
  const Tensor to = Tensor::Zeros({num_bytes}, DType::kUint8, device);
  return 2.0 * static_cast<double>(num_bytes) / BestSeconds(device, [&] { to.CopyFrom(from); });
}

// FLOPs per second of a large matrix product.
double ProductRate(Device device) {
  const int64_t n = device == Device::kCuda ? 8192 : 1024;
  const DType type = device == Device::kCuda ? DType::kBf16 : DType::kFloat32;
  const Tensor a = Tensor::Zeros({n, n}, type, device), b = Tensor::Zeros({n, n}, type, device);
  const double flops =
      2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
  return flops / BestSeconds(device, [&] { MatMul::Forward({.x = a, .weight = b}, {}, nullptr); });
}

absl::Status RunBench(const std::string& device_name, const std::string& op) {
  const Device device = device_name == "cuda" ? Device::kCuda : Device::kCpu;
  std::string why;
  if (device == Device::kCuda && !CudaAvailable(&why)) {
    return absl::FailedPreconditionError(
        absl::StrCat("bench: --device cuda: ", why, "; use --device cpu"));
  }
  std::vector<std::string> names;
  for (const OpRow& row : OpRegistry()) names.push_back(row.name);
  if (!op.empty() && std::find(names.begin(), names.end(), op) == names.end()) {
    const std::string nearest = Nearest(op, names);
    return absl::NotFoundError(absl::StrCat(
        "bench: no op is named '", op, "'",
        nearest.empty() ? std::string() : absl::StrCat("; did you mean '", nearest, "'?")));
  }
  const double bytes_rate = CopyRate(device);
  double flops_rate = device == Device::kCuda ? CurrentGpu().peak_bf16_flops : 0;
  const bool data_sheet = flops_rate > 0;
  if (!data_sheet) flops_rate = ProductRate(device);
  std::printf("%s: %.0f GB/s (measured copy), %.2f TFLOP/s (%s)\n",
              device == Device::kCuda ? CurrentGpu().name.c_str() : "cpu", bytes_rate / 1e9,
              flops_rate / 1e12, data_sheet ? "data sheet, dense bf16" : "measured matrix product");
  std::printf("%-21s %-44s %-9s %10s %13s %15s\n", "op", "case", "direction", "ms", "% byte bound",
              "% product bound");
  for (const OpRow& row : OpRegistry()) {
    if ((!op.empty() && row.name != op) || row.bench == nullptr) continue;
    for (const BenchResult& r : row.bench(device)) {
      const double seconds = r.ms / 1e3;
      std::printf("%-21s %-44s %-9s %10.4f %13.1f %15.1f\n", r.op.c_str(), r.case_name.c_str(),
                  r.direction.c_str(), r.ms, 100 * r.bytes / bytes_rate / seconds,
                  100 * r.flops / flops_rate / seconds);
    }
    std::fflush(stdout);
  }
  return absl::OkStatus();
}

}  // namespace

void AddBenchCommand(CLI::App& app, int* exit_code) {
  struct Options {
    std::string device = "cpu", op;
  };
  auto options = std::make_shared<Options>();
  CLI::App* bench = app.add_subcommand("bench", "Measure speed");
  bench->require_subcommand(1);
  CLI::App* ops = bench->add_subcommand(
      "ops", "Time every op, as a share of what its bytes and its products allow");
  ops->add_option("--device", options->device, "cpu or cuda (default cpu)")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  ops->add_option("--op", options->op, "Only the op of this name");
  ops->callback([=] { *exit_code = ExitCode(RunBench(options->device, options->op)); });
}

}  // namespace wyvern
