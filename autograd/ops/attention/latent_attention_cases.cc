#include <cmath>

#include "absl/strings/str_cat.h"
#include "autograd/ops/attention/latent_attention.h"

namespace wyvern {

std::vector<OpCase<LatentAttention>> LatentAttention::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<LatentAttention>> cases;
  struct Size {
    int64_t queries, keys, heads, own, shared, values, rank;
    bool finite_differences = true;
  };
  const Size sizes[] = {
      {1, 1, 1, 4, 2, 3, 5},     // rows that no vector load fits
      {1, 70, 3, 8, 8, 8, 16},   // one step
      {5, 5, 2, 8, 4, 12, 24},   // a prefill from nothing
      {7, 66, 4, 16, 8, 8, 32},  // several tokens behind others
      {3, 130, 2, 6, 3, 5, 40},
      {1, 1000, 4, 16, 16, 8, 64, false},
      {1, 150, 32, 32, 64, 32, 512, false},
      {9, 100, 16, 24, 128, 40, 512, false},
      {40, 333, 6, 32, 16, 24, 200, false},
  };
  for (const Size& s : sizes) {
    OpCase<LatentAttention> c;
    c.name = absl::StrCat(s.queries, " of ", s.keys, " tokens, ", s.heads, " heads of ", s.own,
                          " + ", s.shared, " and ", s.values, ", rank ", s.rank);
    // Scores of a few units, whatever the rank.
    const double scale = 1.5 / std::sqrt(static_cast<double>(s.rank));
    c.in.q = random.Normal({s.queries, s.heads, s.own + s.shared});
    c.in.latent = random.Normal({s.keys, s.rank + s.shared});
    c.in.weight = random.Normal({s.heads * (s.own + s.values), s.rank}, 0, scale);
    c.params.value_dim = s.values;
    if (s.queries == 7) c.params.scale = 0.2;  // away from the default
    // Roundings to bf16 as those of attention, and one of the absorbed queries.
    c.bf16_tolerances = {{"o", 6e-3}, {"d_q", 8e-3}, {"d_latent", 8e-3}, {"d_weight", 8e-3}};
    c.finite_differences = s.finite_differences;
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace wyvern
