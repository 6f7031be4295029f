// Sizes and inputs that benchmarks of several ops share.
#ifndef WYVERN_AUTOGRAD_CHECK_BENCH_INPUTS_H_
#define WYVERN_AUTOGRAD_CHECK_BENCH_INPUTS_H_

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/check/op_case.h"

namespace wyvern {

// Offsets of documents of equal length.
inline std::vector<int32_t> Offsets(int32_t num_docs, int32_t length) {
  std::vector<int32_t> offsets;
  for (int32_t n = 0; n <= num_docs; ++n) offsets.push_back(n * length);
  return offsets;
}

inline Tensor ToTensor(const std::vector<int32_t>& values) {
  return Tensor::FromVector(values, {static_cast<int64_t>(values.size())});
}

// "16 x 2048"
inline std::string DocsName(const std::vector<int32_t>& offsets) {
  return absl::StrCat(offsets.size() - 1, " x ", offsets[1]);
}

inline BenchInput Weight(Shape shape, double mean = 0, double stddev = 0.02) {
  return {.shape = std::move(shape), .mean = mean, .stddev = stddev, .parameter = true};
}

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_CHECK_BENCH_INPUTS_H_
