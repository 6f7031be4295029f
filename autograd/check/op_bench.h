// How a registry row times and explains an op, and the row itself; see op_registry.h.
#ifndef WYVERN_AUTOGRAD_CHECK_OP_BENCH_H_
#define WYVERN_AUTOGRAD_CHECK_OP_BENCH_H_

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "autograd/check/op_check.h"
#include "kernels/runtime/plan_log.h"
#include "kernels/runtime/status.h"

namespace wyvern {

// A tensor of normal numbers: a million are drawn and repeated, as drawing billions on the host
// would take longer than the timing.
Tensor BenchTensor(const BenchInput& input, DType dtype, Device device);

// Median milliseconds of one call, after warm-up. On CUDA several calls are queued between two
// events, so that the time to launch them is hidden as it is in training.
double MedianMilliseconds(Device device, const std::function<void()>& call);

// Bytes per second, read plus written, of a large copy inside the device's memory.
double MeasureCopyBandwidth(Device device);

// A bench case with its tensors on a device, ready to run.
template <class Op>
class BenchRun {
 public:
  BenchRun(const BenchCase<Op>& c, Device device)
      : io_(device == Device::kCpu ? DType::kFloat32 : DType::kBf16),
        params_(ParamsOn<Op>(c.params, device)) {
    size_t i = 0;
    ForEachField(
        [&](const char*, Tensor& x, const BenchInput& input, GradRequest& request) {
          const DType dtype = DTypeOfRole(Op::kInputRoles[i++], io_);
          if (input.shape.empty()) return;
          x = BenchTensor(input, dtype, device);
          request.wanted = true;
          if (input.parameter) request.into = Tensor::Zeros(input.shape, AccDType(io_), device);
        },
        in_, c.in, want_);
    if (c.forward_only) return;
    SetWanted<Op>(want_, &saved_);
    i = 0;
    ForEachField(
        [&](const char* name, Tensor& d, const Tensor& y) {
          const DType dtype = DTypeOfRole(Op::kOutputRoles[i++], io_);
          const auto& unused = c.unused_outputs;
          if (!y.defined() || dtype == DType::kInt32) return;
          if (std::find(unused.begin(), unused.end(), name) != unused.end()) return;
          d = BenchTensor({.shape = y.shape()}, dtype, device);
        },
        d_out_, Op::Forward(in_, params_, &saved_));
  }

  // Whether the forward works on gradients already, so that both directions are timed together.
  static constexpr bool kGradientsInForward = requires(typename Op::Saved saved) { saved.wanted; };

  void Forward() const { Op::Forward(in_, params_, nullptr); }
  void RecordedForward() const {
    typename Op::Saved unread;
    SetWanted<Op>(want_, &unread);
    Op::Forward(in_, params_, &unread);
  }
  void Backward() const { Op::Backward(saved_, d_out_, want_); }

  // Where the forward works on gradients, the forward's cost is that of one without, and the
  // backward's all that they add.
  Cost EstimateCost() const {
    if constexpr (kGradientsInForward) {
      typename Op::Saved saved;
      SetWanted<Op>(want_, &saved);
      Cost cost = Op::EstimateCost(in_, params_, {});
      const Cost all = Op::EstimateCost(in_, params_, saved.wanted);
      cost.backward_flops = all.forward_flops + all.backward_flops - cost.forward_flops;
      cost.backward_bytes = all.forward_bytes + all.backward_bytes - cost.forward_bytes;
      return cost;
    } else {
      return Op::EstimateCost(in_, params_);
    }
  }

 private:
  DType io_;
  typename Op::Params params_;
  typename Op::template Inputs<Tensor> in_;
  typename Op::template Inputs<GradRequest> want_;
  typename Op::Saved saved_;
  typename Op::template Outputs<Tensor> d_out_;
};

template <class Op>
absl::StatusOr<std::vector<BenchResult>> BenchOp(const BenchShape& shape, Device device) {
  ASSIGN_OR_RETURN(const BenchCase<Op> c, Op::BenchCaseOf(shape));
  const BenchRun<Op> run(c, device);
  const Cost cost = run.EstimateCost();
  const auto time = [&](const auto& call) { return MedianMilliseconds(device, call); };
  double forward, backward = 0;
  if (c.forward_only) {
    forward = time([&] { run.Forward(); });
  } else if constexpr (BenchRun<Op>::kGradientsInForward) {
    forward = time([&] { run.Forward(); });
    backward = time([&] {
                 run.RecordedForward();
                 run.Backward();
               }) -
               forward;
  } else {
    forward = time([&] { run.RecordedForward(); });
    backward = time([&] { run.Backward(); });
  }
  std::vector<BenchResult> results = {
      {Op::kName, c.name, "forward", forward, cost.forward_flops, cost.forward_bytes}};
  if (!c.forward_only) {
    results.push_back(
        {Op::kName, c.name, "backward", backward, cost.backward_flops, cost.backward_bytes});
  }
  return results;
}

template <class Op>
absl::StatusOr<std::vector<BenchPlan>> ExplainOp(const BenchShape& shape, Device device) {
  ASSIGN_OR_RETURN(const BenchCase<Op> c, Op::BenchCaseOf(shape));
  const BenchRun<Op> run(c, device);
  std::vector<BenchPlan> plans;
  PlanLog log;
  const auto take = [&](const char* direction) {
    for (const ChosenPlan& chosen : log.Take()) {
      plans.push_back({Op::kName, c.name, direction, chosen.kernel, chosen.plan});
    }
  };
  if (c.forward_only) {
    run.Forward();
    take("forward");
    return plans;
  }
  run.RecordedForward();
  take("forward");
  run.Backward();
  take("backward");
  return plans;
}

template <class Op>
OpRow MakeOpRow() {
  return {.name = Op::kName,
          .check = CheckOp<Op>,
          .bench_shapes = Op::BenchShapes,
          .bench = BenchOp<Op>,
          .explain = ExplainOp<Op>};
}

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_CHECK_OP_BENCH_H_
