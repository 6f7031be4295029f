#include "autograd/ops/matmul/matmul.h"

#include "kernels/matmul/matmul.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

int64_t NumRows(const Tensor& x) { return x.dim(-1) == 0 ? 0 : x.numel() / x.dim(-1); }

}  // namespace

MatMul::Outputs<Tensor> MatMul::Forward(const Inputs<Tensor>& in, const Params&, Saved* saved) {
  const int64_t K = in.x.dim(-1), N = in.weight.dim(0);
  CHECK(in.weight.shape() == (Shape{N, K}) && in.weight.dtype() == in.x.dtype(), "weight ",
        ToString(in.weight.shape()), " ", Name(in.weight.dtype()), " for x ",
        ToString(in.x.shape()), " ", Name(in.x.dtype()));
  CHECK(!in.bias.defined() || in.bias.shape() == Shape{N}, "bias ", ToString(in.bias.shape()),
        " for weight ", ToString(in.weight.shape()));
  Shape shape = in.x.shape();
  shape.back() = N;
  Outputs<Tensor> out{.y = Tensor::Empty(std::move(shape), in.x.dtype(), in.x.device())};
  Recompute({.in = in}, out);
  if (saved != nullptr) *saved = {.in = in};
  return out;
}

void MatMul::Recompute(const Saved& saved, const Outputs<Tensor>& out) {
  const Inputs<Tensor>& in = saved.in;
  const int64_t K = in.x.dim(-1), N = in.weight.dim(0), T = NumRows(in.x);
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    Gemm(device, GemmParams<Io, Io>{.m = T,
                                    .n = N,
                                    .k = K,
                                    .transpose_b = true,
                                    .a = in.x.data<Io>(),
                                    .b = in.weight.data<Io>(),
                                    .c = out.y.data<Io>(),
                                    .stream = ComputeStream()});
    if (!in.bias.defined()) return;
    AddRow(device, AddRowParams<Io>{.num_rows = T,
                                    .dim = N,
                                    .bias = in.bias.data<Acc>(),
                                    .y = out.y.data<Io>(),
                                    .stream = ComputeStream()});
  });
}

MatMul::Inputs<Tensor> MatMul::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                        const Inputs<GradRequest>& want) {
  const Tensor& x = saved.in.x;
  const Tensor& weight = saved.in.weight;
  const Tensor& bias = saved.in.bias;
  const int64_t K = x.dim(-1), N = weight.dim(0), T = NumRows(x);
  Inputs<Tensor> grad;
  Dispatch(x.device(), x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    const Io* dy = d_out.y.data<Io>();
    if (want.x.wanted) {
      grad.x = Tensor::EmptyLike(x);
      Gemm(device, GemmParams<Io, Io>{.m = T,
                                      .n = K,
                                      .k = N,
                                      .a = dy,
                                      .b = weight.data<Io>(),
                                      .c = grad.x.data<Io>(),
                                      .stream = ComputeStream()});
    }
    if (want.weight.wanted) {
      const auto weight_gradient = [&]<typename Out>(Out* d_weight, double beta) {
        Gemm(device, GemmParams<Io, Out>{.m = N,
                                         .n = K,
                                         .k = T,
                                         .transpose_a = true,
                                         .beta = beta,
                                         .a = dy,
                                         .b = x.data<Io>(),
                                         .c = d_weight,
                                         .stream = ComputeStream()});
      };
      if (want.weight.into.defined()) {
        weight_gradient(want.weight.into.data<Acc>(), want.weight.TakeCleared() ? 0 : 1);
      } else {
        grad.weight = Tensor::EmptyLike(weight);
        weight_gradient(grad.weight.data<Io>(), 0);
      }
    }
    if (want.bias.wanted) {
      grad.bias = Tensor::EmptyLike(bias);
      ColumnSum(device, ColumnSumParams<Io>{.num_rows = T,
                                            .dim = N,
                                            .x = dy,
                                            .out = grad.bias.data<Acc>(),
                                            .stream = ComputeStream()});
    }
  });
  return grad;
}

Cost MatMul::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double T = static_cast<double>(NumRows(in.x));
  const double N = static_cast<double>(in.weight.dim(0)), K = static_cast<double>(in.x.dim(-1));
  const double bytes = (T * K + N * K + T * N) * static_cast<double>(SizeOf(in.x.dtype()));
  return {.forward_flops = 2 * T * N * K,
          .backward_flops = 4 * T * N * K,
          .forward_bytes = bytes,
          .backward_bytes = 2 * bytes};
}

}  // namespace wyvern
