#include "absl/strings/str_cat.h"
#include "autograd/ops/attention/mla_keys.h"

namespace wyvern {

std::vector<OpCase<MlaKeys>> MlaKeys::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<MlaKeys>> cases;
  struct Size {
    int64_t tokens, heads, own, shared;
  };
  for (const Size& s : {Size{1, 1, 1, 1}, Size{0, 2, 8, 8}, Size{5, 3, 7, 2}, Size{9, 2, 16, 8},
                        Size{3, 5, 8, 24}, Size{70, 32, 128, 64}}) {
    OpCase<MlaKeys> c;
    c.name = absl::StrCat(s.tokens, " tokens, ", s.heads, " heads of ", s.own, " + ", s.shared);
    c.in.own = random.Normal({s.tokens, s.heads, s.own});
    c.in.shared = random.Normal({s.tokens, s.shared});
    c.finite_differences = c.in.own.numel() < 1000;
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace wyvern
