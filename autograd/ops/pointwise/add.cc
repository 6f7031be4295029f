#include "autograd/ops/pointwise/add.h"

#include "kernels/pointwise/elementwise.h"

namespace wyvern {

Add::Outputs<Tensor> Add::Forward(const Inputs<Tensor>& in, const Params&, Saved*) {
  CHECK(in.a.shape() == in.b.shape() && in.a.dtype() == in.b.dtype(), "a ", ToString(in.a.shape()),
        " and b ", ToString(in.b.shape()));
  Outputs<Tensor> out{.y = Tensor::EmptyLike(in.a)};
  out.y.CopyFrom(in.a);
  AddInto(out.y.device(), out.y.raw(), out.y.dtype(), in.b.raw(), in.b.dtype(), in.b.numel(),
          ComputeStream());
  return out;
}

Add::Inputs<Tensor> Add::Backward(const Saved&, const Outputs<Tensor>& d_out,
                                  const Inputs<GradRequest>&) {
  return {.a = d_out.y, .b = d_out.y};
}

Cost Add::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  // The copy, then the sum in its place.
  return {.forward_bytes = 5 * static_cast<double>(in.a.nbytes())};
}

}  // namespace wyvern
