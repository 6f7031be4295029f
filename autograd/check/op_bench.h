// How a registry row times an op; see op_registry.h.
#ifndef WYVERN_AUTOGRAD_CHECK_OP_BENCH_H_
#define WYVERN_AUTOGRAD_CHECK_OP_BENCH_H_

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "autograd/check/op_check.h"

namespace wyvern {

// A tensor of normal numbers: a million are drawn and repeated, as drawing billions on the host
// would take longer than the timing.
Tensor BenchTensor(const BenchInput& input, DType dtype, Device device);

// Median milliseconds of one call, after warm-up. On CUDA several calls are queued between two
// events, so that the time to launch them is hidden as it is in training.
double MedianMilliseconds(Device device, const std::function<void()>& call);

// Bytes per second, read plus written, of a large copy inside the device's memory.
double MeasureCopyBandwidth(Device device);

template <class Op>
std::vector<BenchResult> BenchOp(Device device) {
  const DType io = device == Device::kCuda ? DType::kBf16 : DType::kFloat32;
  std::vector<BenchResult> results;
  for (const BenchCase<Op>& c : Op::BenchCases(device)) {
    typename Op::template Inputs<Tensor> in;
    typename Op::template Inputs<GradRequest> want;
    size_t i = 0;
    ForEachField(
        [&](const char*, Tensor& x, const BenchInput& input, GradRequest& request) {
          const DType dtype = DTypeOfRole(Op::kInputRoles[i++], io);
          if (input.shape.empty()) return;
          x = BenchTensor(input, dtype, device);
          request.wanted = true;
          if (input.parameter) request.into = Tensor::Zeros(input.shape, AccDType(io), device);
        },
        in, c.in, want);
    const auto params = ParamsOn<Op>(c.params, device);
    typename Op::Saved saved;
    SetWanted<Op>(want, &saved);
    Cost cost;
    if constexpr (requires { saved.wanted; }) {
      // Its forward does part of the backward's work: reported as forward is one without gradients,
      // and as backward all that they add.
      cost = Op::EstimateCost(in, params, {});
      const Cost all = Op::EstimateCost(in, params, saved.wanted);
      cost.backward_flops = all.forward_flops + all.backward_flops - cost.forward_flops;
      cost.backward_bytes = all.forward_bytes + all.backward_bytes - cost.forward_bytes;
    } else {
      cost = Op::EstimateCost(in, params);
    }
    if (c.forward_only) {
      const double ms = MedianMilliseconds(device, [&] { Op::Forward(in, params, nullptr); });
      results.push_back({Op::kName, c.name, "forward", ms, cost.forward_flops, cost.forward_bytes});
      continue;
    }
    typename Op::template Outputs<Tensor> d_out;
    i = 0;
    ForEachField(
        [&](const char* name, Tensor& d, const Tensor& y) {
          const DType dtype = DTypeOfRole(Op::kOutputRoles[i++], io);
          const auto& unused = c.unused_outputs;
          if (!y.defined() || dtype == DType::kInt32) return;
          if (std::find(unused.begin(), unused.end(), name) != unused.end()) return;
          d = BenchTensor({.shape = y.shape()}, dtype, device);
        },
        d_out, Op::Forward(in, params, &saved));
    const auto record = [&] {
      typename Op::Saved unread;
      SetWanted<Op>(want, &unread);
      Op::Forward(in, params, &unread);
    };
    double forward, backward;
    if constexpr (requires { saved.wanted; }) {
      forward = MedianMilliseconds(device, [&] { Op::Forward(in, params, nullptr); });
      backward = MedianMilliseconds(device,
                                    [&] {
                                      record();
                                      Op::Backward(saved, d_out, want);
                                    }) -
                 forward;
    } else {
      forward = MedianMilliseconds(device, record);
      backward = MedianMilliseconds(device, [&] { Op::Backward(saved, d_out, want); });
    }
    results.push_back(
        {Op::kName, c.name, "forward", forward, cost.forward_flops, cost.forward_bytes});
    results.push_back(
        {Op::kName, c.name, "backward", backward, cost.backward_flops, cost.backward_bytes});
  }
  return results;
}

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_CHECK_OP_BENCH_H_
