#include "absl/strings/str_cat.h"
#include "autograd/ops/norm/rms_norm.h"

namespace wyvern {

std::vector<OpCase<RmsNorm>> RmsNorm::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<RmsNorm>> cases;
  for (const Shape& shape : {Shape{1, 4}, Shape{3, 5}, Shape{7, 130}, Shape{9, 256}, Shape{3, 512},
                             Shape{3, 5120}, Shape{300, 2048}}) {
    for (const bool residual : {false, true}) {
      OpCase<RmsNorm> c;
      c.name = absl::StrCat(ToString(shape), residual ? ", residual" : "");
      c.in.x = random.Normal(shape, 0.2);
      if (residual) c.in.residual = random.Normal(shape);
      c.in.weight = random.Normal({shape.back()}, 1, 0.3);
      c.finite_differences = NumElements(shape) < 1000;
      cases.push_back(c);
      c.name += ", weight centred at zero";
      c.in.weight = random.Normal({shape.back()}, 0, 0.3);
      c.params.weight_offset = 1;
      cases.push_back(std::move(c));
    }
  }
  return cases;
}

}  // namespace wyvern
