// The table of ops: one row each, made from the op's cases. It drives the op tests, `wyvern
// selftest` and `wyvern bench ops`.
#ifndef WYVERN_AUTOGRAD_CHECK_OP_REGISTRY_H_
#define WYVERN_AUTOGRAD_CHECK_OP_REGISTRY_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "autograd/check/bench_shape.h"
#include "autograd/tape.h"

namespace wyvern {

// One comparison of one output or gradient of one case.
struct CheckResult {
  std::string op, case_name;
  std::string check;     // "finite differences", "cpu fp32", "cuda bf16", "repeat cuda bf16", ...
  std::string quantity;  // an output ("o") or a gradient ("d_q")
  double error = 0;      // relative RMS; NaN never passes
  double limit = 0;
  bool passed() const { return error <= limit; }
};

struct BenchResult {
  std::string op, case_name, direction;  // "forward" or "backward"
  double ms = 0;                         // median after warm-up; of device events on CUDA
  double flops = 0, bytes = 0;           // necessary work, from EstimateCost
};

// Which path a kernel takes.
struct BenchPlan {
  std::string op, case_name, direction;
  std::string kernel, plan;
};

struct OpRow {
  std::string name;
  // Runs every case on `device`. On the CPU: finite differences in fp64 and fp32 against fp64. On
  // CUDA: bf16 and fp32 against the CPU's fp64, poisoned outputs and bitwise repetition.
  std::function<std::vector<CheckResult>(Device device)> check;
  // The shapes that are timed unless one is asked for; the first one's sizes are the defaults.
  std::function<std::vector<BenchShape>(Device device)> bench_shapes;
  // Times both directions in bf16 on CUDA, in fp32 on the CPU. Error: sizes that do not fit
  // together.
  std::function<absl::StatusOr<std::vector<BenchResult>>(const BenchShape&, Device)> bench;
  // Runs both directions once, on any device, the meta device included, and tells the plans of the
  // kernels.
  std::function<absl::StatusOr<std::vector<BenchPlan>>(const BenchShape&, Device)> explain;
};

const std::vector<OpRow>& OpRegistry();

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_CHECK_OP_REGISTRY_H_
