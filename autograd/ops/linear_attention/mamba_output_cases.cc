#include "absl/strings/str_cat.h"
#include "autograd/ops/linear_attention/mamba_output.h"

namespace wyvern {

std::vector<OpCase<MambaOutput>> MambaOutput::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<MambaOutput>> cases;
  for (const auto& [shape, groups] : std::vector<std::pair<Shape, int64_t>>{{{1, 1, 4}, 1},
                                                                            {{0, 2, 4}, 2},
                                                                            {{5, 4, 3}, 2},
                                                                            {{9, 2, 6}, 4},
                                                                            {{33, 3, 10}, 1},
                                                                            {{300, 8, 64}, 2}}) {
    OpCase<MambaOutput> c;
    c.name = absl::StrCat(ToString(shape), " in ", groups, " groups");
    c.in.o = random.Normal(shape);
    c.in.x = random.Normal(shape);
    c.in.gate = random.Normal({shape[0], shape[1] * shape[2]}, 0, 2);
    c.in.skip = random.Normal({shape[1]}, 1, 0.3);
    c.in.weight = random.Normal({shape[1] * shape[2]}, 1, 0.3);
    c.params = {.num_groups = groups, .eps = 1e-5};
    c.finite_differences = c.in.o.numel() < 2000;
    cases.push_back(std::move(c));
  }
  return cases;
}

}  // namespace wyvern
