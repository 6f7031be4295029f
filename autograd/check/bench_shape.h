// The sizes of a bench case by key: what `wyvern bench ops --shape tokens=32768,heads=16` changes.
#ifndef WYVERN_AUTOGRAD_CHECK_BENCH_SHAPE_H_
#define WYVERN_AUTOGRAD_CHECK_BENCH_SHAPE_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace wyvern {

class BenchShape {
 public:
  struct Size {
    std::string key;
    int64_t value = 0;  // of a choice its place among them
    int64_t least = 1;
    std::vector<std::string> choices = {};  // empty: a number
  };

  explicit BenchShape(std::vector<Size> sizes) : sizes_(std::move(sizes)) {}

  // CHECK-fails for a key that the shape has not.
  int64_t operator[](absl::string_view key) const;
  // The same shape with other values, each at least its key's least or the place of a choice.
  BenchShape With(std::initializer_list<std::pair<absl::string_view, int64_t>> values) const;

  const std::vector<Size>& sizes() const { return sizes_; }
  // "tokens=32768,documents=16,kind=gdn"
  std::string ToString() const;

 private:
  std::vector<Size> sizes_;
};

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_CHECK_BENCH_SHAPE_H_
