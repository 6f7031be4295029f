#include "absl/strings/str_cat.h"
#include "autograd/ops/attention/rope.h"

namespace wyvern {

std::vector<OpCase<Rope>> Rope::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<Rope>> cases;
  const auto add = [&](const char* name, const Shape& shape, int64_t rotary_dim, double theta,
                       int64_t largest_position, int64_t rotary_begin = 0) {
    OpCase<Rope> c;
    c.name = absl::StrCat(ToString(shape), ", ", name);
    c.in.x = random.Normal(shape);
    std::vector<int32_t> positions;
    for (int64_t t = 0; t < shape[0]; ++t) {
      positions.push_back(static_cast<int32_t>(random.Below(largest_position + 1)));
    }
    c.params.positions = Tensor::FromVector(positions, {shape[0]});
    c.params.rotary_begin = rotary_begin;
    c.params.rotary_dim = rotary_dim;
    c.params.theta = theta;
    c.finite_differences = c.in.x.numel() < 2000;
    cases.push_back(std::move(c));
  };
  add("one token", {1, 1, 2}, 0, 10000, 3);
  add("no tokens", {0, 2, 8}, 0, 10000, 3);
  add("odd halves", {5, 3, 6}, 0, 10000, 100);
  add("partial", {7, 2, 24}, 8, 10000, 100);
  add("partial, odd rest", {4, 1, 11}, 6, 500, 100);
  add("far positions", {6, 2, 16}, 0, 500000, 1000000);
  add("many heads", {130, 8, 64}, 0, 10000, 4096);
  add("wide", {33, 2, 256}, 64, 10000, 4096);
  add("the last dims", {7, 3, 24}, 0, 10000, 100, 16);
  add("dims in the middle", {5, 2, 11}, 4, 10000, 100, 3);
  return cases;
}

}  // namespace wyvern
