#include "absl/strings/str_cat.h"
#include "autograd/ops/conv/short_conv.h"

namespace wyvern {

std::vector<OpCase<ShortConv>> ShortConv::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<ShortConv>> cases;
  const auto add = [&](const std::vector<int64_t>& lengths, int64_t D, int64_t W, bool silu,
                       bool initial, bool final, const std::vector<int64_t>& parts = {}) {
    OpCase<ShortConv> c;
    const int64_t N = static_cast<int64_t>(lengths.size());
    std::vector<int32_t> cu_seqlens{0};
    c.name = absl::StrCat(N, " documents:");
    for (const int64_t length : lengths) {
      cu_seqlens.push_back(cu_seqlens.back() + static_cast<int32_t>(length));
      if (N <= 8) absl::StrAppend(&c.name, " ", length);
    }
    absl::StrAppend(&c.name, ", D ", D, ", W ", W, silu ? ", silu" : "",
                    initial ? ", initial state" : "", final ? ", final state" : "");
    if (!parts.empty()) absl::StrAppend(&c.name, ", parts ", ToString(parts));
    c.in.x = random.Normal({cu_seqlens.back(), D});
    c.in.weight = random.Normal({D, W});
    if (initial) c.in.initial_state = random.Normal({N, W - 1, D});
    c.params.cu_seqlens = Tensor::FromVector(cu_seqlens, {N + 1});
    c.params.parts = parts;
    c.params.silu = silu;
    c.params.output_final_state = final;
    c.finite_differences = c.in.x.numel() < 1000;
    cases.push_back(std::move(c));
  };
  add({1}, 1, 4, true, false, false);
  add({5}, 3, 1, true, false, false);
  add({7}, 5, 4, true, true, true);
  add({0, 3, 0, 1, 2, 9, 0}, 4, 4, true, true, true);
  add({0, 3, 0, 1, 2, 9, 0}, 8, 4, false, false, true);
  add({2, 10}, 24, 3, true, true, false);
  add({12, 1, 8}, 2, 8, true, true, true);
  add({3, 0, 5}, 16, 5, false, true, true);
  add({33, 64, 1, 200}, 72, 4, true, true, true);
  add({129, 130}, 40, 2, true, false, true);
  add({9, 0, 4}, 11, 4, true, true, true, {5, 4, 2});
  add({200, 33}, 96, 4, true, false, false, {32, 32, 32});
  add({1, 300}, 80, 3, true, true, true, {48, 32});
  add({4001, 0, 4250}, 4, 4, true, true, true);
  std::vector<int64_t> many;
  for (int64_t n = 0; n < 150; ++n) many.push_back(n % 7);
  add(many, 24, 4, true, true, true);
  return cases;
}

}  // namespace wyvern
