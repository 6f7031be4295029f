// Calls ops of `wyvern bench ops` for a profiler, times them, or reads the energy that they take.
//
//   profile_ops list
//   profile_ops profile OP=CASE ...           one forward and one backward of each, between
//                                             cudaProfilerStart and cudaProfilerStop
//   profile_ops time OP=CASE ...              milliseconds, as `wyvern bench ops` takes them
//   profile_ops energy SECONDS OP=CASE ...    each direction in a loop: power, clock, energy a call
//   profile_ops check OP=CASE ...             sum and norm of each output and gradient
//
// CASE is part of the name of one of the op's bench cases. Of the delta rule it may also be
// KIND:DOCSxLENGTHxHEADS[:K[:V[:STEP]]] with KIND delta, gdn, kda or bounded and STEP the mean of
// dt_bias (-4.6): the larger, the faster the state is forgotten. `copy` is a copy of 2 GiB.
//
// Before each direction a kernel DelayKernel runs, so that a list of kernels shows where it begins;
// `profile` prints the directions in their order.
#include <cuda_profiler_api.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "autograd/check/bench_inputs.h"
#include "autograd/check/op_bench.h"
#include "autograd/ops/attention/attention.h"
#include "autograd/ops/conv/short_conv.h"
#include "autograd/ops/delta_rule/gated_delta_rule.h"
#include "autograd/ops/head/linear_cross_entropy.h"
#include "autograd/ops/matmul/matmul.h"
#include "autograd/ops/moe/grouped_matmul.h"
#include "autograd/ops/norm/gated_rms_norm.h"
#include "autograd/ops/norm/rms_norm.h"
#include "autograd/ops/pointwise/swiglu.h"
#include "kernels/common/delay.h"
#include "kernels/runtime/allocator.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

using Call = std::function<void()>;

// The counter of the card's energy and its clocks, from the driver's management library.
class Meter {
 public:
  Meter() {
    void* const library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (library == nullptr) return;
    const auto init = reinterpret_cast<int (*)()>(dlsym(library, "nvmlInit_v2"));
    const auto handle = reinterpret_cast<int (*)(unsigned, void**)>(
        dlsym(library, "nvmlDeviceGetHandleByIndex_v2"));
    energy_ = reinterpret_cast<int (*)(void*, unsigned long long*)>(
        dlsym(library, "nvmlDeviceGetTotalEnergyConsumption"));
    clock_ =
        reinterpret_cast<int (*)(void*, int, unsigned*)>(dlsym(library, "nvmlDeviceGetClockInfo"));
    if (init == nullptr || init() != 0 || handle(0, &device_) != 0) energy_ = nullptr;
  }
  double Joules() const {
    unsigned long long mj = 0;
    if (energy_ == nullptr || energy_(device_, &mj) != 0) return NAN;
    return 1e-3 * static_cast<double>(mj);
  }
  double SmMhz() const {
    unsigned mhz = 0;
    if (energy_ == nullptr || clock_(device_, /*SM=*/1, &mhz) != 0) return NAN;
    return mhz;
  }

 private:
  void* device_ = nullptr;
  int (*energy_)(void*, unsigned long long*) = nullptr;
  int (*clock_)(void*, int, unsigned*) = nullptr;
};

struct Options {
  std::string mode;
  double seconds = 0;
};

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void Run(const Options& options, const std::string& op, const std::string& name,
         const char* direction, double flops, double bytes, const Call& call) {
  if (options.mode == "profile") {
    Dispatch(Device::kCuda, DType::kFloat32,
             [](auto tag, auto) { QueueDelay(tag, 1, ComputeStream()); });
    call();
    Synchronize(Device::kCuda);
    std::printf("%s\t%s\t%s\n", op.c_str(), name.c_str(), direction);
  } else if (options.mode == "time") {
    std::printf(
        "{\"op\": \"%s\", \"case\": \"%s\", \"direction\": \"%s\", \"ms\": %.4f, "
        "\"flops\": %.6g, \"bytes\": %.6g}\n",
        op.c_str(), name.c_str(), direction, MedianMilliseconds(Device::kCuda, call), flops, bytes);
  } else {
    static const Meter meter;
    const double ms = MedianMilliseconds(Device::kCuda, call);
    const int batch = std::max(1, static_cast<int>(20 / ms));
    const auto loop = [&](double seconds, int* calls, double* clocks, int* reads) {
      const double begin = Now();
      while (Now() - begin < seconds) {
        for (int i = 0; i < batch; ++i) call();
        Synchronize(Device::kCuda);
        *calls += batch;
        *clocks += meter.SmMhz();
        ++*reads;
      }
      return Now() - begin;
    };
    int calls = 0, reads = 0;
    double clocks = 0;
    loop(0.4, &calls, &clocks, &reads);
    calls = reads = 0;
    clocks = 0;
    const double before = meter.Joules();
    const double seconds = loop(options.seconds, &calls, &clocks, &reads);
    const double joules = meter.Joules() - before;
    std::printf(
        "{\"op\": \"%s\", \"case\": \"%s\", \"direction\": \"%s\", \"ms\": %.4f, "
        "\"ms_in_loop\": %.4f, \"watts\": %.1f, \"joules\": %.5f, \"sm_mhz\": %.0f, "
        "\"flops\": %.6g, \"bytes\": %.6g}\n",
        op.c_str(), name.c_str(), direction, ms, 1e3 * seconds / calls, joules / seconds,
        joules / calls, clocks / reads, flops, bytes);
  }
  std::fflush(stdout);
}

// As BenchOp in autograd/check/op_bench.h, with forward and backward handed to Run.
template <class Op>
void RunCase(const Options& options, const BenchCase<Op>& c) {
  const Device device = Device::kCuda;
  typename Op::template Inputs<Tensor> in;
  typename Op::template Inputs<GradRequest> want;
  size_t i = 0;
  ForEachField(
      [&](const char*, Tensor& x, const BenchInput& input, GradRequest& request) {
        const DType dtype = DTypeOfRole(Op::kInputRoles[i++], DType::kBf16);
        if (input.shape.empty()) return;
        x = BenchTensor(input, dtype, device);
        request.wanted = true;
        if (input.parameter) {
          request.into = Tensor::Zeros(input.shape, AccDType(DType::kBf16), device);
        }
      },
      in, c.in, want);
  const auto params = ParamsOn<Op>(c.params, device);
  typename Op::Saved saved;
  SetWanted<Op>(want, &saved);
  Cost cost;
  if constexpr (requires { saved.wanted; }) {
    cost = Op::EstimateCost(in, params, saved.wanted);
  } else {
    cost = Op::EstimateCost(in, params);
  }
  typename Op::template Outputs<Tensor> d_out;
  i = 0;
  ForEachField(
      [&](const char* name, Tensor& d, const Tensor& y) {
        const DType dtype = DTypeOfRole(Op::kOutputRoles[i++], DType::kBf16);
        const auto& unused = c.unused_outputs;
        if (!y.defined() || dtype == DType::kInt32) return;
        if (std::find(unused.begin(), unused.end(), name) != unused.end()) return;
        d = BenchTensor({.shape = y.shape()}, dtype, device);
      },
      d_out, Op::Forward(in, params, &saved));
  const Call forward = [&] {
    typename Op::Saved unread;
    SetWanted<Op>(want, &unread);
    Op::Forward(in, params, &unread);
  };
  const Call backward = [&] { Op::Backward(saved, d_out, want); };
  if (!c.forward_only) backward();
  Synchronize(device);
  if (options.mode == "check") {
    typename Op::Saved again;
    SetWanted<Op>(want, &again);
    const auto show = [](const char* name, const Tensor& t) {
      if (!t.defined()) return;
      const Tensor x = t.To(DType::kFloat32).To(Device::kCpu);
      double sum = 0, squares = 0;
      for (int64_t j = 0; j < x.numel(); ++j) {
        const double value = x.data<float>()[j];
        sum += value;
        squares += value * value;
      }
      std::printf("%s %.6g %.8g; ", name, sum, std::sqrt(squares));
    };
    std::printf("%s: ", c.name.c_str());
    ForEachField(show, Op::Forward(in, params, &again));
    ForEachField(show, Op::Backward(again, d_out, want));
    std::printf("\n");
    return;
  }
  if (options.mode == "profile") cudaProfilerStart();
  Run(options, Op::kName, c.name, "forward", cost.forward_flops, cost.forward_bytes, forward);
  if (!c.forward_only) {
    Run(options, Op::kName, c.name, "backward", cost.backward_flops, cost.backward_bytes, backward);
  }
  if (options.mode == "profile") cudaProfilerStop();
}

bool ParseDelta(const std::string& text, BenchCase<GatedDeltaRule>* c) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  if (parts.size() < 2) return false;
  int docs = 0, length = 0, heads = 0;
  if (std::sscanf(parts[1].c_str(), "%dx%dx%d", &docs, &length, &heads) != 3) return false;
  const int64_t K = parts.size() > 2 ? std::stoi(parts[2]) : 128;
  const int64_t V = parts.size() > 3 ? std::stoi(parts[3]) : K;
  const double step = parts.size() > 4 ? std::stod(parts[4]) : -4.6;
  const std::vector<int32_t> offsets = Offsets(docs, length);
  const int64_t T = offsets.back();
  c->name = text;
  c->in.q.shape = c->in.k.shape = {T, heads, K};
  c->in.v.shape = {T, heads, V};
  c->in.beta.shape = {T, heads};
  c->params.cu_seqlens_host = offsets;
  c->params.cu_seqlens = ToTensor(offsets);
  c->params.beta = DeltaBeta::kSigmoid;
  if (parts[0] == "delta") return true;
  const bool per_channel = parts[0] != "gdn";
  c->params.decay = per_channel ? DeltaDecay::kPerChannel : DeltaDecay::kPerHead;
  c->params.gate = parts[0] == "bounded" ? DeltaGate::kBounded : DeltaGate::kSoftplus;
  c->in.gate.shape = per_channel ? c->in.k.shape : Shape{T, heads};
  c->in.a_log = Weight({heads}, std::log(8.0), 0.5);
  c->in.dt_bias = Weight(per_channel ? Shape{heads, K} : Shape{heads}, step, 1);
  return true;
}

template <class Op>
bool RunOp(const Options& options, const std::string& op, const std::string& wanted) {
  if (options.mode != "list" && op != Op::kName) return false;
  if constexpr (std::is_same_v<Op, GatedDeltaRule>) {
    BenchCase<Op> c;
    if (ParseDelta(wanted, &c)) {
      RunCase<Op>(options, c);
      return true;
    }
  }
  bool found = false;
  for (const BenchShape& shape : Op::BenchShapes(Device::kCuda)) {
    const BenchCase<Op> c = *Op::BenchCaseOf(shape);
    if (options.mode == "list") {
      std::printf("%s=%s\n", Op::kName, c.name.c_str());
    } else if (absl::StrContains(c.name, wanted) && !found) {
      RunCase<Op>(options, c);
      found = true;
    }
  }
  return found;
}

template <class... Ops>
bool RunAny(const Options& options, const std::string& op, const std::string& wanted) {
  return (RunOp<Ops>(options, op, wanted) | ...);
}

int Main(int argc, char** argv) {
  Options options;
  if (argc < 2) return 2;
  options.mode = argv[1];
  int first = 2;
  if (options.mode == "energy") options.seconds = std::stod(argv[first++]);
  if (options.mode == "list") argc = first;
  for (int i = first; i < argc || (options.mode == "list" && i == first); ++i) {
    const std::string text = options.mode == "list" ? "" : argv[i];
    if (text == "copy") {
      const int64_t bytes = int64_t{1} << 31;
      const Buffer from(Device::kCuda, bytes), to(Device::kCuda, bytes);
      FillBytes(from.data(), Device::kCuda, 0x3a, bytes);
      Run(options, "copy", "2 GiB", "forward", 0, 2.0 * static_cast<double>(bytes),
          [&] { CopyBytes(to.data(), Device::kCuda, from.data(), Device::kCuda, bytes); });
      continue;
    }
    const size_t equals = text.find('=');
    const std::string op = text.substr(0, equals);
    const std::string wanted = equals == std::string::npos ? "" : text.substr(equals + 1);
    if (!RunAny<Attention, GatedDeltaRule, GatedRmsNorm, GroupedMatMul, LinearCrossEntropy, MatMul,
                RmsNorm, ShortConv, SwiGlu>(options, op, wanted)) {
      std::fprintf(stderr, "no case %s\n", text.c_str());
      return 1;
    }
  }
  return 0;
}

}  // namespace
}  // namespace wyvern

int main(int argc, char** argv) { return wyvern::Main(argc, argv); }
