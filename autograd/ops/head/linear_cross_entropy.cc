#include "autograd/ops/head/linear_cross_entropy.h"

#include <algorithm>

#include "kernels/head/linear_cross_entropy.h"
#include "kernels/head/linear_cross_entropy_plan.h"
#include "kernels/matmul/matmul.h"
#include "kernels/pointwise/elementwise.h"
#include "kernels/runtime/dispatch.h"
#include "kernels/runtime/plan_log.h"

namespace wyvern {
namespace {

LinearCrossEntropyDesc DescOf(int64_t num_rows, int64_t vocab, int64_t width, DType io,
                              Device device, const LinearCrossEntropy::Params& params) {
  return {.num_rows = num_rows,
          .vocab = vocab,
          .width = width,
          .io = io,
          .device = device,
          .slice_rows = params.slice_rows,
          .group_rows = params.group_rows};
}

// The op on one device in one type, a slice of rows at a time.
template <typename Io, typename Tag>
struct Slices {
  using Acc = AccOf<Io>;
  Tag device;
  const LinearCrossEntropy::Inputs<Tensor>& in;
  const LinearCrossEntropy::Params& params;
  Tensor d_x, d_weight;     // [T, D] Io, [V, D] Acc; undefined: not wanted
  bool add_weight;          // to what d_weight holds
  Tensor logits, d_logits;  // [slice, V] Acc, [group, V] Io

  int64_t num_classes() const { return in.weight.dim(0); }
  int64_t width() const { return in.x.dim(1); }

  // Calls fn(begin, end, d_logits) for each slice, with its logits multiplied out, to write its
  // rows of d_logits, null without gradients; makes d_x and d_weight of them.
  template <typename F>
  void ForEach(const F& fn) {
    const int64_t T = in.x.dim(0), V = num_classes();
    const LinearCrossEntropyPlan rows =
        ChooseLinearCrossEntropy(DescOf(T, V, width(), in.x.dtype(), in.x.device(), params));
    NotePlan("linear_cross_entropy", rows);
    logits = Tensor::Empty({rows.slice_rows, V}, kDTypeOf<Acc>, in.x.device());
    if (d_x.defined() || d_weight.defined()) {
      d_logits = Tensor::Empty({rows.group_rows, V}, kDTypeOf<Io>, in.x.device());
    }
    if (T == 0 && d_weight.defined() && !add_weight) d_weight.FillZero();
    for (int64_t first = 0; first < T; first += rows.group_rows) {
      const int64_t last = std::min(T, first + rows.group_rows);
      for (int64_t begin = first; begin < last; begin += rows.slice_rows) {
        const int64_t end = std::min(last, begin + rows.slice_rows);
        Gemm(device, GemmParams<Io, Acc>{.m = end - begin,
                                         .n = V,
                                         .k = width(),
                                         .transpose_b = true,
                                         .a = in.x.Rows(begin, end).template data<Io>(),
                                         .b = in.weight.data<Io>(),
                                         .c = logits.data<Acc>(),
                                         .stream = ComputeStream()});
        fn(begin, end, d_logits.defined() ? d_logits.data<Io>() + (begin - first) * V : nullptr);
      }
      if (d_x.defined()) GradientOfX(first, last);
      if (d_weight.defined()) GradientOfWeight(first, last);
    }
  }

  // Rows [begin, end) of d_x from the group's d_logits.
  void GradientOfX(int64_t begin, int64_t end) const {
    Gemm(device, GemmParams<Io, Io>{.m = end - begin,
                                    .n = width(),
                                    .k = num_classes(),
                                    .a = d_logits.data<Io>(),
                                    .b = in.weight.data<Io>(),
                                    .c = d_x.Rows(begin, end).template data<Io>(),
                                    .stream = ComputeStream()});
  }

  // The group's share of d_weight.
  void GradientOfWeight(int64_t begin, int64_t end) const {
    Gemm(device, GemmParams<Io, Acc>{.m = num_classes(),
                                     .n = width(),
                                     .k = end - begin,
                                     .transpose_a = true,
                                     .beta = begin == 0 && !add_weight ? 0.0 : 1.0,
                                     .a = d_logits.data<Io>(),
                                     .b = in.x.Rows(begin, end).template data<Io>(),
                                     .c = d_weight.data<Acc>(),
                                     .stream = ComputeStream()});
  }
};

}  // namespace

int64_t LinearCrossEntropySliceBytes(int64_t num_rows, int64_t vocab, int64_t width, DType io,
                                     Device device) {
  const LinearCrossEntropyPlan rows =
      ChooseLinearCrossEntropy(DescOf(num_rows, vocab, width, io, device, {}));
  return vocab * (rows.slice_rows * SizeOf(AccDType(io)) + rows.group_rows * SizeOf(io));
}

LinearCrossEntropy::Outputs<Tensor> LinearCrossEntropy::Forward(const Inputs<Tensor>& in,
                                                                const Params& params,
                                                                Saved* saved) {
  const int64_t T = in.x.dim(0), V = in.weight.dim(0);
  CHECK(in.x.rank() == 2 && in.weight.shape() == (Shape{V, in.x.dim(1)}), "weight ",
        ToString(in.weight.shape()), " for x ", ToString(in.x.shape()));
  CHECK(params.targets.shape() == Shape{T}, "targets ", ToString(params.targets.shape()), " for x ",
        ToString(in.x.shape()));
  const DType acc = AccDType(in.x.dtype());
  const Device on = in.x.device();
  Outputs<Tensor> out{.loss = Tensor::Empty({1}, acc, on),
                      .token_loss = Tensor::Empty({T}, acc, on)};
  const Tensor lse = Tensor::Empty({T}, acc, on);
  Tensor d_x, d_weight;
  if (saved != nullptr && saved->wanted.x) d_x = Tensor::EmptyLike(in.x);
  if (saved != nullptr && saved->wanted.weight) {
    d_weight = Tensor::Empty(in.weight.shape(), acc, on);
  }
  Dispatch(on, in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    Slices<Io, decltype(device)> slices{device, in, params, d_x, d_weight, /*add_weight=*/false,
                                        {},     {}};
    slices.ForEach([&](int64_t begin, int64_t end, Io* d_logits) {
      CrossEntropyFwd(device,
                      CrossEntropyFwdParams<Io>{
                          .num_rows = end - begin,
                          .vocab = V,
                          .denominator = params.denominator,
                          .logits = slices.logits.template data<Acc>(),
                          .targets = params.targets.Rows(begin, end).template data<int32_t>(),
                          .lse = lse.Rows(begin, end).template data<Acc>(),
                          .token_loss = out.token_loss.Rows(begin, end).template data<Acc>(),
                          .d_logits = d_logits,
                          .stream = ComputeStream()});
    });
    MeanLoss(device, MeanLossParams<Io>{.num_rows = T,
                                        .denominator = params.denominator,
                                        .token_loss = out.token_loss.data<Acc>(),
                                        .loss = out.loss.data<Acc>(),
                                        .stream = ComputeStream()});
  });
  if (saved != nullptr) {
    saved->in = in;
    saved->params = params;
    saved->lse = lse;
    saved->d_x = d_x;
    saved->d_weight = d_weight;
  }
  return out;
}

namespace {

using Op = LinearCrossEntropy;

// The gradients that the forward left, times d_loss.
Op::Inputs<Tensor> ScaledGradients(const Op::Saved& saved, const Tensor& d_loss,
                                   const Op::Inputs<GradRequest>& want) {
  const auto scale = [&](const Tensor& to, const Tensor& from, bool add) {
    Scale(to.device(), to.raw(), to.dtype(), from.raw(), from.dtype(), d_loss.raw(), add,
          to.numel(), ComputeStream());
  };
  Op::Inputs<Tensor> grad;
  if (want.x.wanted) {
    grad.x = Tensor::EmptyLike(saved.in.x);
    scale(grad.x, saved.d_x, false);
  }
  if (!want.weight.wanted) return grad;
  if (want.weight.into.defined()) {
    scale(want.weight.into, saved.d_weight, !want.weight.TakeCleared());
  } else {
    grad.weight = Tensor::EmptyLike(saved.in.weight);
    scale(grad.weight, saved.d_weight, false);
  }
  return grad;
}

Op::Inputs<Tensor> RecomputedGradients(const Op::Saved& saved, const Op::Outputs<Tensor>& d_out,
                                       const Op::Inputs<GradRequest>& want) {
  const Op::Inputs<Tensor>& in = saved.in;
  Op::Inputs<Tensor> grad;
  if (want.x.wanted) grad.x = Tensor::EmptyLike(in.x);
  Tensor d_weight;
  bool add_weight = false;
  if (want.weight.wanted && want.weight.into.defined()) {
    d_weight = want.weight.into;
    add_weight = !want.weight.TakeCleared();
  } else if (want.weight.wanted) {  // summed over the groups in Acc
    d_weight = Tensor::Empty(in.weight.shape(), AccDType(in.x.dtype()), in.x.device());
  }
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    Slices<Io, decltype(device)> slices{device,   in,         saved.params, grad.x,
                                        d_weight, add_weight, {},           {}};
    slices.ForEach([&](int64_t begin, int64_t end, Io* d_logits) {
      CrossEntropyBwd(device,
                      CrossEntropyBwdParams<Io>{
                          .num_rows = end - begin,
                          .vocab = in.weight.dim(0),
                          .denominator = saved.params.denominator,
                          .logits = slices.logits.template data<Acc>(),
                          .targets = saved.params.targets.Rows(begin, end).template data<int32_t>(),
                          .lse = saved.lse.Rows(begin, end).template data<Acc>(),
                          .d_loss = d_out.loss.data<Acc>(),
                          .d_token_loss = d_out.token_loss.Rows(begin, end).template data<Acc>(),
                          .d_logits = d_logits,
                          .stream = ComputeStream()});
    });
  });
  if (want.weight.wanted && !want.weight.into.defined()) {
    grad.weight = d_weight.To(in.weight.dtype());
  }
  return grad;
}

}  // namespace

LinearCrossEntropy::Inputs<Tensor> LinearCrossEntropy::Backward(const Saved& saved,
                                                                const Outputs<Tensor>& d_out,
                                                                const Inputs<GradRequest>& want) {
  CHECK(saved.wanted.x >= want.x.wanted && saved.wanted.weight >= want.weight.wanted,
        "a gradient that the forward was not told of");
  return d_out.token_loss.defined() ? RecomputedGradients(saved, d_out, want)
                                    : ScaledGradients(saved, d_out.loss, want);
}

Cost LinearCrossEntropy::EstimateCost(const Inputs<Tensor>& in, const Params&,
                                      const Inputs<bool>& wanted) {
  const double T = static_cast<double>(in.x.dim(0)), V = static_cast<double>(in.weight.dim(0));
  const double D = static_cast<double>(in.x.dim(1));
  const double acc_bytes = static_cast<double>(SizeOf(AccDType(in.x.dtype())));
  const double x_bytes = static_cast<double>(in.x.nbytes()), d_weight_bytes = V * D * acc_bytes;
  Cost cost = {.forward_flops = 2 * T * V * D,
               .forward_bytes = x_bytes + static_cast<double>(in.weight.nbytes())};
  // The backward reads each gradient and writes it scaled.
  if (wanted.x) {
    cost.forward_flops += 2 * T * V * D;
    cost.forward_bytes += x_bytes;
    cost.backward_bytes += 2 * x_bytes;
  }
  if (wanted.weight) {
    cost.forward_flops += 2 * T * V * D;
    cost.forward_bytes += d_weight_bytes;
    cost.backward_bytes += 2 * d_weight_bytes;
  }
  return cost;
}

}  // namespace wyvern
