#include "absl/strings/str_cat.h"
#include "autograd/check/bench_inputs.h"
#include "autograd/ops/conv/short_conv.h"
#include "kernels/conv/short_conv.h"

namespace wyvern {

// One tensor, and q, k and v as columns of one projection.
std::vector<BenchShape> ShortConv::BenchShapes(Device device) {
  const BenchModel m = BenchModelOn(device);
  const BenchShape shape({{"tokens", m.tokens},
                          {"documents", m.documents},
                          {"width", m.width},
                          {"parts", 1},
                          {"taps", 4}});
  return {shape, shape.With({{"parts", 3}})};
}

absl::StatusOr<BenchCase<ShortConv>> ShortConv::BenchCaseOf(const BenchShape& s) {
  ASSIGN_OR_RETURN(const std::vector<int32_t> offsets, OffsetsOf(s));
  const int64_t parts = s["parts"], channels = parts * s["width"];
  if (parts > kMaxShortConvParts || s["taps"] > kMaxShortConvWidth) {
    return absl::InvalidArgumentError(absl::StrCat("parts ", parts, " and taps ", s["taps"],
                                                   "; at most ", kMaxShortConvParts, " and ",
                                                   kMaxShortConvWidth));
  }
  BenchCase<ShortConv> c;
  c.name = absl::StrCat("[", s["tokens"], ", ", parts > 1 ? absl::StrCat(parts, " x ") : "",
                        s["width"], "], width ", s["taps"]);
  c.in.x.shape = {s["tokens"], channels};
  c.in.weight = Weight({channels, s["taps"]}, 0, 0.5);
  c.params.cu_seqlens = ToTensor(offsets);
  if (parts > 1) c.params.parts.assign(parts, s["width"]);
  return c;
}

}  // namespace wyvern
