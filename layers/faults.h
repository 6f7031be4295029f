#ifndef WYVERN_LAYERS_FAULTS_H_
#define WYVERN_LAYERS_FAULTS_H_

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// Bounds that several configurations share. Widths and heads are bounded far beyond any model:
// below these no count of elements, bytes or operations overflows.
inline constexpr int64_t kMaxHeadDim = 256;  // that the attention and delta kernels serve
inline constexpr int64_t kMaxHeads = int64_t{1} << 14;
inline constexpr int64_t kMaxWidth = int64_t{1} << 18;  // of hidden states, low-rank projections

// Gathers errors of a configuration, "key: message" each, under a prefix of their keys. Copies
// gather in the same list.
class Faults {
 public:
  Faults(std::string prefix, std::vector<std::string>* all)
      : prefix_(std::move(prefix)), all_(all) {}

  template <class... Parts>
  void Add(absl::string_view key, const Parts&... parts) {
    all_->push_back(absl::StrCat(prefix_, key, ": ", parts...));
  }
  template <class... Parts>
  void Unless(bool condition, absl::string_view key, const Parts&... parts) {
    if (!condition) Add(key, parts...);
  }
  // A number from `least` to `most`.
  void Range(absl::string_view key, int64_t value, int64_t least, int64_t most) {
    Unless(value >= least, key, "expected at least ", least, ", got ", value);
    AtMost(key, value, most);
  }
  void Positive(absl::string_view key, int64_t value, int64_t most) {
    Unless(value >= 1, key, "expected a positive number, got ", value);
    AtMost(key, value, most);
  }
  void NotNegative(absl::string_view key, int64_t value, const char* zero_means, int64_t most) {
    Unless(value >= 0, key, "expected a positive number or 0 (", zero_means, "), got ", value);
    AtMost(key, value, most);
  }
  void PositiveReal(absl::string_view key, double value) {
    Unless(value > 0 && std::isfinite(value), key, "expected a positive number, got ", value);
  }
  void HeadDim(absl::string_view key, int64_t value) {
    Unless(value >= 1 && value <= kMaxHeadDim, key, "expected 1 to ", kMaxHeadDim,
           " (what the kernels serve), got ", value);
  }

 private:
  void AtMost(absl::string_view key, int64_t value, int64_t most) {
    Unless(value <= most, key, "expected at most ", most, ", got ", value);
  }

  std::string prefix_;
  std::vector<std::string>* all_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_FAULTS_H_
