#include "autograd/ops/linear_cross_entropy.h"

#include <algorithm>

#include "kernels/ops/elementwise.h"
#include "kernels/ops/linear_cross_entropy.h"
#include "kernels/ops/matmul.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

// Rows whose logits exist at once.
int64_t SliceRows(int64_t vocab, DType io, Device device) {
  // On the CPU a slice should stay near the caches; on the GPU it should fill the machine.
  const int64_t budget_bytes = device == Device::kCpu ? int64_t{16} << 20 : int64_t{512} << 20;
  const int64_t rows = budget_bytes / (std::max<int64_t>(1, vocab) * SizeOf(AccDType(io)));
  return std::max<int64_t>(1, rows < 128 ? rows : rows / 128 * 128);
}

// The op on one device in one type, a slice of rows at a time.
template <typename Io, typename Tag>
struct Slices {
  using Acc = AccOf<Io>;
  Tag device;
  const LinearCrossEntropy::Inputs<Tensor>& in;
  const LinearCrossEntropy::Params& params;
  Tensor logits, d_logits;  // [R, V] Acc, Io

  int64_t num_classes() const { return in.weight.dim(0); }
  int64_t width() const { return in.x.dim(1); }

  // fn(begin, end) for each slice, with its logits multiplied out.
  template <typename F>
  void ForEach(bool with_gradients, const F& fn) {
    const int64_t T = in.x.dim(0), V = num_classes();
    const int64_t R = std::min(
        T, params.slice_rows > 0 ? params.slice_rows : SliceRows(V, in.x.dtype(), in.x.device()));
    logits = Tensor::Empty({R, V}, kDTypeOf<Acc>, in.x.device());
    if (with_gradients) d_logits = Tensor::Empty({R, V}, kDTypeOf<Io>, in.x.device());
    for (int64_t begin = 0; begin < T; begin += R) {
      const int64_t end = std::min(T, begin + R);
      Gemm(device, GemmParams<Io, Acc>{.m = end - begin,
                                       .n = V,
                                       .k = width(),
                                       .transpose_b = true,
                                       .a = in.x.Rows(begin, end).template data<Io>(),
                                       .b = in.weight.data<Io>(),
                                       .c = logits.data<Acc>(),
                                       .stream = ComputeStream()});
      fn(begin, end);
    }
  }

  // Rows [begin, end) of d_x from the slice's d_logits.
  void GradientOfX(int64_t begin, int64_t end, const Tensor& d_x) const {
    Gemm(device, GemmParams<Io, Io>{.m = end - begin,
                                    .n = width(),
                                    .k = num_classes(),
                                    .a = d_logits.data<Io>(),
                                    .b = in.weight.data<Io>(),
                                    .c = d_x.Rows(begin, end).template data<Io>(),
                                    .stream = ComputeStream()});
  }

  // The slice's share of d_weight, added to it unless `first`.
  void GradientOfWeight(int64_t begin, int64_t end, bool first, const Tensor& d_weight) const {
    Gemm(device, GemmParams<Io, Acc>{.m = num_classes(),
                                     .n = width(),
                                     .k = end - begin,
                                     .transpose_a = true,
                                     .beta = first ? 0.0 : 1.0,
                                     .a = d_logits.data<Io>(),
                                     .b = in.x.Rows(begin, end).template data<Io>(),
                                     .c = d_weight.data<Acc>(),
                                     .stream = ComputeStream()});
  }
};

}  // namespace

int64_t LinearCrossEntropySliceBytes(int64_t num_rows, int64_t vocab, DType io, Device device) {
  const int64_t rows = std::min(num_rows, SliceRows(vocab, io, device));
  return rows * vocab * (SizeOf(AccDType(io)) + SizeOf(io));
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
    d_weight = T == 0 ? Tensor::Zeros(in.weight.shape(), acc, on)
                      : Tensor::Empty(in.weight.shape(), acc, on);
  }
  const bool with_gradients = d_x.defined() || d_weight.defined();
  Dispatch(on, in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    Slices<Io, decltype(device)> slices{device, in, params, {}, {}};
    slices.ForEach(with_gradients, [&](int64_t begin, int64_t end) {
      CrossEntropyFwd(device,
                      CrossEntropyFwdParams<Io>{
                          .num_rows = end - begin,
                          .vocab = V,
                          .denominator = params.denominator,
                          .logits = slices.logits.template data<Acc>(),
                          .targets = params.targets.Rows(begin, end).template data<int32_t>(),
                          .lse = lse.Rows(begin, end).template data<Acc>(),
                          .token_loss = out.token_loss.Rows(begin, end).template data<Acc>(),
                          .d_logits = slices.d_logits.template data<Io>(),
                          .stream = ComputeStream()});
      if (d_x.defined()) slices.GradientOfX(begin, end, d_x);
      if (d_weight.defined()) slices.GradientOfWeight(begin, end, begin == 0, d_weight);
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
  // Summed over the slices in Acc.
  Tensor d_weight = want.weight.into;
  if (want.weight.TakeCleared()) d_weight.FillZero();
  if (want.weight.wanted && !d_weight.defined()) {
    d_weight = Tensor::Zeros(in.weight.shape(), AccDType(in.x.dtype()), in.x.device());
  }
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    Slices<Io, decltype(device)> slices{device, in, saved.params, {}, {}};
    slices.ForEach(true, [&](int64_t begin, int64_t end) {
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
                          .d_logits = slices.d_logits.template data<Io>(),
                          .stream = ComputeStream()});
      if (want.x.wanted) slices.GradientOfX(begin, end, grad.x);
      if (want.weight.wanted) slices.GradientOfWeight(begin, end, false, d_weight);
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

Cost LinearCrossEntropy::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double T = static_cast<double>(in.x.dim(0)), V = static_cast<double>(in.weight.dim(0));
  const double D = static_cast<double>(in.x.dim(1));
  const double bytes = static_cast<double>(in.x.nbytes() + in.weight.nbytes());
  return {.forward_flops = 2 * T * V * D,
          .backward_flops = 4 * T * V * D,
          .forward_bytes = bytes,
          .backward_bytes = 2 * bytes};
}

}  // namespace wyvern
