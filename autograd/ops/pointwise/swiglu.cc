#include "autograd/ops/pointwise/swiglu.h"

#include <tuple>

#include "kernels/pointwise/swiglu.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

// Contiguous tensors of any shape are one row.
template <typename... Tensors>
int64_t NumRows(const Tensors&... tensors) {
  if ((... && (!tensors.defined() || tensors.contiguous()))) return 1;
  return std::get<0>(std::tie(tensors...)).dim(0);
}

}  // namespace

SwiGlu::Outputs<Tensor> SwiGlu::Forward(const Inputs<Tensor>& in, const Params&, Saved* saved) {
  CHECK(in.gate.shape() == in.up.shape(), "gate ", ToString(in.gate.shape()), " and up ",
        ToString(in.up.shape()));
  Outputs<Tensor> out{.y = Tensor::EmptyLike(in.gate)};
  Recompute({.in = in}, out);
  if (saved != nullptr) *saved = {.in = in};
  return out;
}

void SwiGlu::Recompute(const Saved& saved, const Outputs<Tensor>& out) {
  const Tensor& gate = saved.in.gate;
  const Tensor& up = saved.in.up;
  if (gate.numel() == 0) return;
  const int64_t rows = NumRows(gate, up);
  Dispatch(gate.device(), gate.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    SwiGluFwd(device, SwiGluFwdParams<Io>{.num_rows = rows,
                                          .dim = gate.numel() / rows,
                                          .gate_stride = gate.row_stride(),
                                          .up_stride = up.row_stride(),
                                          .gate = gate.columns<Io>(),
                                          .up = up.columns<Io>(),
                                          .y = out.y.data<Io>(),
                                          .stream = ComputeStream()});
  });
}

SwiGlu::Inputs<Tensor> SwiGlu::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                        const Inputs<GradRequest>& want) {
  return BackwardAndRecompute(saved, d_out, want, {});
}

SwiGlu::Inputs<Tensor> SwiGlu::BackwardAndRecompute(const Saved& saved,
                                                    const Outputs<Tensor>& d_out,
                                                    const Inputs<GradRequest>& want,
                                                    const Outputs<Tensor>& out) {
  const Tensor& gate = saved.in.gate;
  const Tensor& up = saved.in.up;
  const auto place = [](const Tensor& x, const GradRequest& request) {
    return request.place.defined() ? request.place : Tensor::EmptyLike(x);
  };
  Inputs<Tensor> grad{.gate = place(gate, want.gate), .up = place(up, want.up)};
  if (gate.numel() == 0) return grad;
  const int64_t rows = NumRows(gate, up, grad.gate, grad.up);
  Dispatch(gate.device(), gate.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    SwiGluBwd(device, SwiGluBwdParams<Io>{.num_rows = rows,
                                          .dim = gate.numel() / rows,
                                          .gate_stride = gate.row_stride(),
                                          .up_stride = up.row_stride(),
                                          .d_gate_stride = grad.gate.row_stride(),
                                          .d_up_stride = grad.up.row_stride(),
                                          .gate = gate.columns<Io>(),
                                          .up = up.columns<Io>(),
                                          .dy = d_out.y.data<Io>(),
                                          .d_gate = grad.gate.columns<Io>(),
                                          .d_up = grad.up.columns<Io>(),
                                          .y = out.y.data<Io>(),
                                          .stream = ComputeStream()});
  });
  return grad;
}

Cost SwiGlu::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.gate.nbytes());
  return {.forward_bytes = 3 * bytes, .backward_bytes = 5 * bytes};
}

}  // namespace wyvern
