#include "absl/strings/str_cat.h"
#include "autograd/ops/norm/gated_rms_norm.h"

namespace wyvern {

std::vector<OpCase<GatedRmsNorm>> GatedRmsNorm::Cases() {
  CaseRandom random(kName);
  std::vector<OpCase<GatedRmsNorm>> cases;
  const auto add = [&](const Shape& shape, bool gated, GateActivation activation) {
    OpCase<GatedRmsNorm> c;
    c.name = absl::StrCat(ToString(shape), !gated                                ? ", no gate"
                                           : activation == GateActivation::kSilu ? ", silu"
                                                                                 : ", sigmoid");
    c.in.x = random.Normal(shape, 0.2);
    if (gated) c.in.gate = random.Normal(shape, 0, 2);
    c.in.weight = random.Normal({shape.back()}, 1, 0.3);
    c.params.activation = activation;
    c.finite_differences = c.in.x.numel() < 2000;
    cases.push_back(std::move(c));
  };
  for (const Shape& shape : {Shape{1, 1, 16}, Shape{0, 2, 8}, Shape{3, 2, 5}, Shape{5, 3, 24},
                             Shape{600, 4, 128}, Shape{40, 2, 256}, Shape{3, 1, 700}}) {
    add(shape, true, GateActivation::kSilu);
    add(shape, true, GateActivation::kSigmoid);
    add(shape, false, GateActivation::kSilu);
  }
  OpCase<GatedRmsNorm> c;  // the eps counts: a mean square near it
  c.name = "small values";
  c.in.x = random.Normal({4, 2, 32}, 0, 1e-3);
  c.in.gate = random.Normal({4, 2, 32});
  c.in.weight = random.Normal({32}, 1, 0.3);
  c.finite_differences = false;  // their step is as large as the values
  cases.push_back(std::move(c));
  return cases;
}

}  // namespace wyvern
