#include "autograd/ops/attention/mla_keys.h"

#include "kernels/attention/mla_keys.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

MlaKeysShape MakeShape(const Tensor& own, const Tensor& shared) {
  CHECK(own.rank() == 3 && shared.rank() == 2 && own.dim(0) == shared.dim(0), "own ",
        ToString(own.shape()), ", shared ", ToString(shared.shape()));
  return {.num_tokens = own.dim(0),
          .num_heads = own.dim(1),
          .own_dim = own.dim(2),
          .shared_dim = shared.dim(1),
          .own_stride = own.row_stride(),
          .shared_stride = shared.row_stride()};
}

}  // namespace

MlaKeys::Outputs<Tensor> MlaKeys::Forward(const Inputs<Tensor>& in, const Params&, Saved* saved) {
  const MlaKeysShape shape = MakeShape(in.own, in.shared);
  Outputs<Tensor> out{
      .k = Tensor::Empty({shape.num_tokens, shape.num_heads, shape.own_dim + shape.shared_dim},
                         in.own.dtype(), in.own.device())};
  Dispatch(in.own.device(), in.own.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    MlaKeysFwd(device, MlaKeysFwdParams<Io>{.shape = shape,
                                            .own = in.own.columns<Io>(),
                                            .shared = in.shared.columns<Io>(),
                                            .k = out.k.data<Io>(),
                                            .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.own = in.own.shape(), .shared = in.shared.shape()};
  return out;
}

MlaKeys::Inputs<Tensor> MlaKeys::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                          const Inputs<GradRequest>& want) {
  const auto make = [&](const GradRequest& request, const Shape& shape) {
    if (request.place.defined()) return request.place;
    return Tensor::Empty(shape, d_out.k.dtype(), d_out.k.device());
  };
  const Inputs<Tensor> grad{.own = make(want.own, saved.own),
                            .shared = make(want.shared, saved.shared)};
  Dispatch(d_out.k.device(), d_out.k.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    // A place is given in two axes.
    MlaKeysBwd(device, MlaKeysBwdParams<Io>{.shape = MakeShape(grad.own.Reshape(saved.own),
                                                               grad.shared.Reshape(saved.shared)),
                                            .dk = d_out.k.data<Io>(),
                                            .d_own = grad.own.columns<Io>(),
                                            .d_shared = grad.shared.columns<Io>(),
                                            .stream = ComputeStream()});
  });
  return grad;
}

Cost MlaKeys::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const int64_t keys = in.own.numel() + in.shared.numel() * in.own.dim(1);
  const double bytes =
      static_cast<double>((in.own.numel() + in.shared.numel() + keys) * SizeOf(in.own.dtype()));
  return {.forward_bytes = bytes, .backward_bytes = bytes};
}

}  // namespace wyvern
