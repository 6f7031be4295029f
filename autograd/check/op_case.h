// A case is one concrete application of an op: inputs in fp64 on the CPU, parameters, tolerances.
// Cases stand in autograd/ops/<family>/<op>_cases.cc and drive gradient checks, CPU against CUDA,
// repeatability, `wyvern selftest` and `wyvern bench ops`.
#ifndef WYVERN_AUTOGRAD_CHECK_OP_CASE_H_
#define WYVERN_AUTOGRAD_CHECK_OP_CASE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "autograd/check/bench_shape.h"
#include "autograd/tensor.h"
#include "kernels/runtime/random.h"

namespace wyvern {

template <class Op>
struct OpCase {
  std::string name;                         // what is special about it: "ragged tail, K 24"
  typename Op::template Inputs<Tensor> in;  // fp64, CPU; undefined for an absent optional input
  typename Op::Params params;               // index tensors on the CPU
  std::vector<std::string> unused_outputs;  // those that send no gradient back
  // Largest relative RMS error ||x - ref|| / ||ref|| against the fp64 CPU result on the same
  // rounded inputs, by output name ("o") or gradient name ("d_q"); others take the default.
  double fp32_tolerance = 2e-5;
  double bf16_tolerance = 5e-3;
  std::map<std::string, double> fp32_tolerances, bf16_tolerances;
  // Against finite differences in fp64.
  double gradient_tolerance = 1e-7;
  // False: too large for the fp64 oracle with finite differences; the other comparisons remain.
  bool finite_differences = true;
};

// How an input of a bench case is drawn. An empty shape: the optional input is absent.
struct BenchInput {
  Shape shape;
  double mean = 0, stddev = 1;
  bool parameter = false;  // its gradient is added into a buffer, as in training
};

// An application of an op at the size of real work, for timing.
template <class Op>
struct BenchCase {
  std::string name;
  typename Op::template Inputs<BenchInput> in;
  typename Op::Params params;               // index tensors on the CPU
  std::vector<std::string> unused_outputs;  // those that send no gradient back
  bool forward_only = false;                // timed as without gradient
};

// An op has, in x_bench.cc beside its cases,
//
//   // The shapes that are timed without --shape; the first one's sizes are the defaults of a shape
//   // that the command line gives. All have the same keys.
//   static std::vector<BenchShape> BenchShapes(Device device);
//   // Error: sizes that do not fit together.
//   static absl::StatusOr<BenchCase<X>> BenchCaseOf(const BenchShape& shape);

// Draws for cases: normal or uniform fp64 CPU tensors. Each call advances the stream.
class CaseRandom {
 public:
  explicit CaseRandom(const std::string& name) : random_(20260601, name) {}
  Tensor Normal(Shape shape, double mean = 0, double stddev = 1);
  Tensor Uniform(Shape shape, double low, double high);
  int64_t Below(int64_t bound);

 private:
  Random random_;
  uint64_t index_ = 0;
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_CHECK_OP_CASE_H_
