#include "autograd/ops/conv/short_conv.h"

#include <algorithm>
#include <numeric>

#include "kernels/conv/short_conv.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

using Op = ShortConv;

// The parts' tensors and channels for the kernel. Undefined tensors become null.
template <typename Io>
ShortConvParts<Io> Parts(const Op::Outputs<Tensor>& y, int64_t dim, const Op::Params& params) {
  ShortConvParts<Io> parts;
  const Tensor* tensors[] = {&y.y, &y.y1, &y.y2};
  parts.num = std::max<int>(1, static_cast<int>(params.parts.size()));
  for (int j = 0; j < parts.num; ++j) {
    parts.begin[j + 1] = parts.begin[j] + (params.parts.empty() ? dim : params.parts[j]);
    parts.data[j] = tensors[j]->data<std::remove_const_t<Io>>();
  }
  return parts;
}

void Convolve(const Op::Inputs<Tensor>& in, const Op::Params& params,
              const Op::Outputs<Tensor>& out) {
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    ShortConvFwd(device, ShortConvFwdParams<Io>{.num_tokens = in.x.dim(0),
                                                .num_documents = params.cu_seqlens.numel() - 1,
                                                .dim = in.x.dim(1),
                                                .width = in.weight.dim(1),
                                                .silu = params.silu,
                                                .cu_seqlens = params.cu_seqlens.data<int32_t>(),
                                                .x_stride = in.x.row_stride(),
                                                .x = in.x.columns<Io>(),
                                                .weight = in.weight.data<Acc>(),
                                                .initial_state = in.initial_state.data<Io>(),
                                                .y = Parts<Io>(out, in.x.dim(1), params),
                                                .final_state = out.final_state.data<Io>(),
                                                .stream = ComputeStream()});
  });
}

}  // namespace

Op::Outputs<Tensor> Op::Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved) {
  const int64_t T = in.x.dim(0), D = in.x.dim(1), W = in.weight.dim(1);
  const int64_t N = params.cu_seqlens.numel() - 1;
  CHECK(in.weight.dim(0) == D && W >= 1 && W <= kMaxShortConvWidth, "weight ",
        ToString(in.weight.shape()), " for x ", ToString(in.x.shape()), "; at most ",
        kMaxShortConvWidth, " taps");
  CHECK(N >= 0 && (T == 0 || N > 0), "cu_seqlens holds no document");
  const Shape state{N, W - 1, D};
  CHECK(!in.initial_state.defined() || in.initial_state.shape() == state, "initial_state ",
        ToString(in.initial_state.shape()), ", expected ", ToString(state));
  const std::vector<int64_t> parts = params.parts.empty() ? std::vector{D} : params.parts;
  CHECK(parts.size() <= kMaxShortConvParts &&
            std::accumulate(parts.begin(), parts.end(), int64_t{0}) == D,
        "parts ", ToString(parts), " of ", D, " channels");
  Outputs<Tensor> out;
  Tensor* const tensors[] = {&out.y, &out.y1, &out.y2};
  for (size_t j = 0; j < parts.size(); ++j) {
    *tensors[j] = Tensor::Empty({T, parts[j]}, in.x.dtype(), in.x.device());
  }
  if (params.output_final_state) {
    out.final_state = params.final_state_in_place
                          ? in.initial_state
                          : Tensor::Empty(state, in.x.dtype(), in.x.device());
  }
  CHECK(!params.final_state_in_place || (saved == nullptr && out.final_state.defined()),
        "no initial state, or a backward that would read it");
  Convolve(in, params, out);
  if (saved != nullptr) *saved = {.in = in, .params = params};
  return out;
}

void Op::Recompute(const Saved& saved, const Outputs<Tensor>& out) {
  CHECK(!out.final_state.defined(), "the final state is kept");
  Convolve(saved.in, saved.params, out);
}

Op::Inputs<Tensor> Op::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                const Inputs<GradRequest>& want) {
  const Inputs<Tensor>& in = saved.in;
  Inputs<Tensor> grad{.x = want.x.place.defined() ? want.x.place : Tensor::EmptyLike(in.x)};
  const auto target = want.weight.WriteOrAdd(in.weight);
  const Tensor& d_weight = target.first;
  const bool add = target.second;
  if (!want.weight.into.defined()) grad.weight = d_weight;
  if (in.initial_state.defined() && want.initial_state.wanted) {
    grad.initial_state = Tensor::EmptyLike(in.initial_state);
  }
  Dispatch(in.x.device(), in.x.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    ShortConvBwd(device,
                 ShortConvBwdParams<Io>{.num_tokens = in.x.dim(0),
                                        .num_documents = saved.params.cu_seqlens.numel() - 1,
                                        .dim = in.x.dim(1),
                                        .width = in.weight.dim(1),
                                        .silu = saved.params.silu,
                                        .cu_seqlens = saved.params.cu_seqlens.data<int32_t>(),
                                        .x_stride = in.x.row_stride(),
                                        .dx_stride = grad.x.row_stride(),
                                        .x = in.x.columns<Io>(),
                                        .weight = in.weight.data<Acc>(),
                                        .initial_state = in.initial_state.data<Io>(),
                                        .dy = Parts<const Io>(d_out, in.x.dim(1), saved.params),
                                        .d_final_state = d_out.final_state.data<Io>(),
                                        .dx = grad.x.columns<Io>(),
                                        .d_weight = d_weight.template data<Acc>(),
                                        .add_d_weight = add,
                                        .d_initial_state = grad.initial_state.data<Io>(),
                                        .stream = ComputeStream()});
  });
  return grad;
}

Cost ShortConv::EstimateCost(const Inputs<Tensor>& in, const Params&) {
  const double bytes = static_cast<double>(in.x.nbytes());
  return {.forward_bytes = 2 * bytes, .backward_bytes = 3 * bytes};
}

}  // namespace wyvern
