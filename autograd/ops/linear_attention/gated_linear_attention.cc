#include "autograd/ops/linear_attention/gated_linear_attention.h"

#include <cmath>

#include "autograd/documents.h"
#include "kernels/linear_attention/gated_linear_attention_plan.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

using Op = GatedLinearAttention;

struct Sizes {
  int64_t N, T, H, HV, K, V;
};

// Says which input has which shape where another was expected.
void CheckShape(const char* name, const Tensor& t, const Shape& expected) {
  CHECK(t.shape() == expected, "gated_linear_attention: ", name, " is ", ToString(t.shape()),
        ", expected ", ToString(expected));
}

Sizes CheckedSizes(const Op::Inputs<Tensor>& in, const Op::Params& params) {
  CHECK(in.q.rank() == 3, "gated_linear_attention: q is ", ToString(in.q.shape()),
        ", expected [tokens, heads, key dim]");
  CHECK(in.v.rank() == 3, "gated_linear_attention: v is ", ToString(in.v.shape()),
        ", expected [tokens, value heads, value dim]");
  const Sizes s{.N = static_cast<int64_t>(params.cu_seqlens_host.size()) - 1,
                .T = in.q.dim(0),
                .H = in.q.dim(1),
                .HV = in.v.dim(1),
                .K = in.q.dim(2),
                .V = in.v.dim(2)};
  CHECK(s.H > 0 && s.HV > 0 && s.HV % s.H == 0, "gated_linear_attention: ", s.HV,
        " value heads are not a multiple of ", s.H, " key heads");
  CHECK(s.K > 0 && s.V > 0, "gated_linear_attention: key dim ", s.K, ", value dim ", s.V);
  CheckShape("k", in.k, in.q.shape());
  CheckShape("v", in.v, {s.T, s.HV, s.V});
  if (in.h0.defined()) CheckShape("h0", in.h0, {s.N, s.HV, s.K, s.V});

  const bool decays = params.decay != LinearDecay::kNone;
  CHECK(in.gate.defined() == decays,
        "gated_linear_attention: a gate goes with a decay, and only then");
  if (decays) {
    const bool per_channel = params.decay == LinearDecay::kPerChannel;
    CheckShape("gate", in.gate, per_channel ? Shape{s.T, s.HV, s.K} : Shape{s.T, s.HV});
    CHECK(params.normalizer > 0, "gated_linear_attention: normalizer ", params.normalizer,
          " is not positive");
  }

  CheckDocuments(Op::kName, params.cu_seqlens_host, params.cu_seqlens, s.T);
  return s;
}

template <typename Io>
GatedLinearAttentionInputs<Io> KernelInputs(const Op::Inputs<Tensor>& in, const Op::Params& params,
                                            const Sizes& s) {
  using Acc = AccOf<Io>;
  return {.num_docs = s.N,
          .num_tokens = s.T,
          .num_heads = s.H,
          .num_value_heads = s.HV,
          .key_dim = s.K,
          .value_dim = s.V,
          .decay = params.decay,
          .gate_form = params.gate,
          .normalizer = params.normalizer,
          .min_log_decay = params.min_log_decay,
          .scale = params.scale != 0 ? params.scale : 1 / std::sqrt(static_cast<double>(s.K)),
          .cu_seqlens_host = params.cu_seqlens_host.data(),
          .cu_seqlens = params.cu_seqlens.data<int32_t>(),
          .q = in.q.data<Io>(),
          .k = in.k.data<Io>(),
          .v = in.v.data<Io>(),
          .gate = in.gate.data<Io>(),
          .h0 = in.h0.data<Acc>()};
}

}  // namespace

Op::Outputs<Tensor> Op::Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved) {
  const Sizes s = CheckedSizes(in, params);
  const Device device = in.q.device();
  Outputs<Tensor> out;
  out.o = Tensor::EmptyLike(in.v);
  if (params.output_final_state) {
    out.ht = Tensor::Empty({s.N, s.HV, s.K, s.V}, AccDType(in.q.dtype()), device);
  }
  Dispatch(device, in.q.dtype(), [&](auto tag, auto io) {
    using Io = typename decltype(io)::type;
    GatedLinearAttentionFwd(tag,
                            GatedLinearAttentionFwdParams<Io>{.in = KernelInputs<Io>(in, params, s),
                                                              .o = out.o.data<Io>(),
                                                              .ht = out.ht.data<AccOf<Io>>(),
                                                              .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.in = in, .params = params};
  return out;
}

Op::Inputs<Tensor> Op::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                const Inputs<GradRequest>& want) {
  const Inputs<Tensor>& in = saved.in;
  const Sizes s = CheckedSizes(in, saved.params);
  Inputs<Tensor> grad;
  ForEachField(
      [](const char*, Tensor& g, const Tensor& x, const GradRequest& request) {
        if (request.wanted) g = Tensor::EmptyLike(x);
      },
      grad, in, want);
  Dispatch(in.q.device(), in.q.dtype(), [&](auto tag, auto io) {
    using Io = typename decltype(io)::type;
    using Acc = AccOf<Io>;
    GatedLinearAttentionBwd(
        tag, GatedLinearAttentionBwdParams<Io>{.in = KernelInputs<Io>(in, saved.params, s),
                                               .d_o = d_out.o.data<Io>(),
                                               .d_ht = d_out.ht.data<Acc>(),
                                               .dq = grad.q.data<Io>(),
                                               .dk = grad.k.data<Io>(),
                                               .dv = grad.v.data<Io>(),
                                               .d_gate = grad.gate.data<Io>(),
                                               .d_h0 = grad.h0.data<Acc>(),
                                               .stream = ComputeStream()});
  });
  return grad;
}

// FLOPs of one token and value head: 4 K V for the state's two matmuls and C (K + V) for those
// inside a chunk of C = 64 tokens (arXiv 2312.06635 section 4), twice that backward. Bytes: each
// activation once. States that enter and leave documents are counted forward, where they matter
// for decoding.
Cost Op::EstimateCost(const Inputs<Tensor>& in, const Params& params) {
  constexpr double kChunk = kLinearAttentionChunk;
  const Sizes s = CheckedSizes(in, params);
  const double token_heads = static_cast<double>(s.T * s.HV);
  const double K = static_cast<double>(s.K), V = static_cast<double>(s.V);
  const auto bytes = [](const Tensor& t) {
    return t.defined() ? static_cast<double>(t.nbytes()) : 0.0;
  };
  const double q = bytes(in.q), v = bytes(in.v), gate = bytes(in.gate);
  const double final_state =
      params.output_final_state ? static_cast<double>(s.N * s.HV) * K * V * 4 : 0;
  const double flops = token_heads * (4 * K * V + kChunk * (K + V));
  return {.forward_flops = flops,
          .backward_flops = 2 * flops,
          .forward_bytes = 2 * q + 2 * v + gate + bytes(in.h0) + final_state,
          .backward_bytes = 4 * q + 3 * v + 2 * gate};
}

}  // namespace wyvern
