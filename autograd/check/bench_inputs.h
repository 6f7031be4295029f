// Sizes and inputs that benchmarks of several ops share.
#ifndef WYVERN_AUTOGRAD_CHECK_BENCH_INPUTS_H_
#define WYVERN_AUTOGRAD_CHECK_BENCH_INPUTS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "autograd/check/op_case.h"
#include "kernels/runtime/status.h"

namespace wyvern {

// The sizes of ops, unless their own bench file has others: a model of 1.3 billion
// parameters on 32,768 packed tokens; on the CPU a small one.
struct BenchModel {
  int64_t documents, tokens, width, hidden, heads, head_dim, vocab;
};
BenchModel BenchModelOn(Device device);

// Offsets of documents of equal length.
std::vector<int32_t> Offsets(int32_t num_docs, int32_t length);
// The same of the sizes `tokens` and `documents`. Error: the one is no multiple of the other.
absl::StatusOr<std::vector<int32_t>> OffsetsOf(const BenchShape& shape);

Tensor ToTensor(const std::vector<int32_t>& values);
// `count` random numbers below `bound`.
Tensor RandomIds(int64_t count, int64_t bound);

// "16 x 2048"
std::string DocsName(const std::vector<int32_t>& offsets);

inline BenchInput Weight(Shape shape, double mean = 0, double stddev = 0.02) {
  return {.shape = std::move(shape), .mean = mean, .stddev = stddev, .parameter = true};
}

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_CHECK_BENCH_INPUTS_H_
