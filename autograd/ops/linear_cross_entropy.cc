#include "autograd/ops/linear_cross_entropy.h"

#include <algorithm>

#include "kernels/ops/linear_cross_entropy.h"
#include "kernels/ops/matmul.h"

namespace wyvern {
namespace {

// Rows whose logits exist at once.
int64_t SliceRows(const LinearCrossEntropy::Params& params, const Tensor& x, int64_t vocab) {
  if (params.slice_rows > 0) return params.slice_rows;
  // On the CPU a slice should stay near the caches; on the GPU it should fill the machine.
  const int64_t budget_bytes = x.device() == Device::kCpu ? int64_t{16} << 20 : int64_t{256} << 20;
  const int64_t rows = budget_bytes / (std::max<int64_t>(1, vocab) * SizeOf(AccDType(x.dtype())));
  return std::max<int64_t>(1, rows < 128 ? rows : rows / 128 * 128);
}

// logits [R, V] of rows [begin, end) of x, in Acc.
template <typename Io, typename Tag>
void Logits(Tag device, const LinearCrossEntropy::Inputs<Tensor>& in, int64_t begin, int64_t end,
            const Tensor& logits) {
  using Acc = AccOf<Io>;
  Gemm(device, GemmParams<Io, Acc>{.m = end - begin,
                                   .n = in.weight.dim(0),
                                   .k = in.x.dim(1),
                                   .transpose_b = true,
                                   .a = in.x.Rows(begin, end).template data<Io>(),
                                   .b = in.weight.data<Io>(),
                                   .c = logits.data<Acc>(),
                                   .stream = ComputeStream()});
}

}  // namespace

LinearCrossEntropy::Outputs<Tensor> LinearCrossEntropy::Forward(const Inputs<Tensor>& in,
                                                                const Params& params,
                                                                Saved* saved) {
  const int64_t T = in.x.dim(0), V = in.weight.dim(0);
  CHECK(in.x.rank() == 2 && in.weight.shape() == (Shape{V, in.x.dim(1)}), "weight ",
        ToString(in.weight.shape()), " for x ", ToString(in.x.shape()));
  CHECK(params.targets.shape() == Shape{T}, "targets ", ToString(params.targets.shape()), " for x ",
        ToString(in.x.shape()));
  const DType acc = AccDType(in.x.dtype());
  Outputs<Tensor> out{.loss = Tensor::Empty({1}, acc, in.x.device()),
                      .token_loss = Tensor::Empty({T}, acc, in.x.device())};
  const Tensor lse = Tensor::Empty({T}, acc, in.x.device());
  const int64_t R = std::min(T, SliceRows(params, in.x, V));
  const Tensor logits = Tensor::Empty({R, V}, acc, in.x.device());
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    for (int64_t begin = 0; begin < T; begin += R) {
      const int64_t end = std::min(T, begin + R);
      Logits<Io>(device, in, begin, end, logits);
      CrossEntropyFwd(device,
                      CrossEntropyFwdParams<Io>{
                          .num_rows = end - begin,
                          .vocab = V,
                          .logits = logits.data<Acc>(),
                          .targets = params.targets.Rows(begin, end).template data<int32_t>(),
                          .lse = lse.Rows(begin, end).template data<Acc>(),
                          .token_loss = out.token_loss.Rows(begin, end).template data<Acc>(),
                          .stream = ComputeStream()});
    }
    MeanLoss(device, MeanLossParams<Io>{.num_rows = T,
                                        .denominator = params.denominator,
                                        .token_loss = out.token_loss.data<Acc>(),
                                        .loss = out.loss.data<Acc>(),
                                        .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.in = in, .params = params, .lse = lse};
  return out;
}

LinearCrossEntropy::Inputs<Tensor> LinearCrossEntropy::Backward(const Saved& saved,
                                                                const Outputs<Tensor>& d_out,
                                                                const Inputs<GradRequest>& want) {
  const Inputs<Tensor>& in = saved.in;
  const int64_t T = in.x.dim(0), V = in.weight.dim(0), D = in.x.dim(1);
  const DType acc = AccDType(in.x.dtype());
  Inputs<Tensor> grad;
  if (want.x.wanted) grad.x = Tensor::EmptyLike(in.x);
  // Summed over the slices in Acc.
  Tensor d_weight = want.weight.into;
  if (want.weight.wanted && !d_weight.defined()) {
    d_weight = Tensor::Zeros(in.weight.shape(), acc, in.x.device());
  }
  const int64_t R = std::min(T, SliceRows(saved.params, in.x, V));
  const Tensor logits = Tensor::Empty({R, V}, acc, in.x.device());
  const Tensor d_logits = Tensor::Empty({R, V}, in.x.dtype(), in.x.device());
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    for (int64_t begin = 0; begin < T; begin += R) {
      const int64_t end = std::min(T, begin + R);
      Logits<Io>(device, in, begin, end, logits);
      CrossEntropyBwd(
          device, CrossEntropyBwdParams<Io>{
                      .num_rows = end - begin,
                      .vocab = V,
                      .denominator = saved.params.denominator,
                      .logits = logits.data<Acc>(),
                      .targets = saved.params.targets.Rows(begin, end).template data<int32_t>(),
                      .lse = saved.lse.Rows(begin, end).template data<Acc>(),
                      .d_loss = d_out.loss.data<Acc>(),
                      .d_token_loss = d_out.token_loss.defined()
                                          ? d_out.token_loss.Rows(begin, end).template data<Acc>()
                                          : nullptr,
                      .d_logits = d_logits.data<Io>(),
                      .stream = ComputeStream()});
      if (want.x.wanted) {
        Gemm(device, GemmParams<Io, Io>{.m = end - begin,
                                        .n = D,
                                        .k = V,
                                        .a = d_logits.data<Io>(),
                                        .b = in.weight.data<Io>(),
                                        .c = grad.x.Rows(begin, end).template data<Io>(),
                                        .stream = ComputeStream()});
      }
      if (want.weight.wanted) {
        Gemm(device, GemmParams<Io, Acc>{.m = V,
                                         .n = D,
                                         .k = end - begin,
                                         .transpose_a = true,
                                         .beta = 1,
                                         .a = d_logits.data<Io>(),
                                         .b = in.x.Rows(begin, end).template data<Io>(),
                                         .c = d_weight.data<Acc>(),
                                         .stream = ComputeStream()});
      }
    }
  });
  if (want.weight.wanted && !want.weight.into.defined()) {
    grad.weight = d_weight.To(in.weight.dtype());
  }
  return grad;
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
