#include "autograd/ops/delta_rule/gated_delta_rule.h"

#include <cmath>

#include "autograd/documents.h"
#include "kernels/delta_rule/gated_delta_rule.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

using Op = GatedDeltaRule;

struct Sizes {
  int64_t N, T, H, HV, K, V;
  int64_t G;  // gate values per head: 0 without decay, 1 or K
};

// Says which input has which shape where another was expected.
void CheckShape(const char* name, const Tensor& t, const Shape& expected) {
  CHECK(t.shape() == expected, "gated_delta_rule: ", name, " is ", ToString(t.shape()),
        ", expected ", ToString(expected));
}

Sizes CheckedSizes(const Op::Inputs<Tensor>& in, const Op::Params& params) {
  CHECK(in.q.rank() == 3, "gated_delta_rule: q is ", ToString(in.q.shape()),
        ", expected [tokens, heads, key dim]");
  CHECK(in.v.rank() == 3, "gated_delta_rule: v is ", ToString(in.v.shape()),
        ", expected [tokens, value heads, value dim]");
  Sizes s{.N = static_cast<int64_t>(params.cu_seqlens_host.size()) - 1,
          .T = in.q.dim(0),
          .H = in.q.dim(1),
          .HV = in.v.dim(1),
          .K = in.q.dim(2),
          .V = in.v.dim(2)};
  CHECK(s.H > 0 && s.HV > 0 && s.HV % s.H == 0, "gated_delta_rule: ", s.HV,
        " value heads are not a multiple of ", s.H, " key heads");
  CHECK(s.K > 0 && s.V > 0, "gated_delta_rule: key dim ", s.K, ", value dim ", s.V);
  CheckShape("k", in.k, in.q.shape());
  CheckShape("v", in.v, {s.T, s.HV, s.V});
  if (in.beta.defined()) CheckShape("beta", in.beta, {s.T, s.HV});
  if (in.h0.defined()) CheckShape("h0", in.h0, {s.N, s.HV, s.K, s.V});

  const bool decays = params.decay != DeltaDecay::kNone;
  const bool raw = decays && params.gate != DeltaGate::kLogDecay;
  CHECK(in.gate.defined() == decays, "gated_delta_rule: a gate goes with a decay, and only then");
  CHECK(in.a_log.defined() == raw && in.dt_bias.defined() == raw,
        "gated_delta_rule: a_log and dt_bias go with a softplus or bounded gate, and only then");
  if (decays) {
    const bool per_channel = params.decay == DeltaDecay::kPerChannel;
    s.G = per_channel ? s.K : 1;
    CheckShape("gate", in.gate, per_channel ? Shape{s.T, s.HV, s.K} : Shape{s.T, s.HV});
    if (raw) {
      CheckShape("a_log", in.a_log, {s.HV});
      CheckShape("dt_bias", in.dt_bias, per_channel ? Shape{s.HV, s.K} : Shape{s.HV});
    }
  }
  if (decays && params.gate == DeltaGate::kBounded) {
    CHECK(params.lower_bound >= -5 && params.lower_bound < 0, "gated_delta_rule: lower_bound ",
          params.lower_bound, " is outside [-5, 0)");
  }

  CheckDocuments(Op::kName, params.cu_seqlens_host, params.cu_seqlens, s.T);
  return s;
}

template <typename Io>
GatedDeltaRuleInputs<Io> KernelInputs(const Op::Inputs<Tensor>& in, const Op::Params& params,
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
          .beta_form = params.beta,
          .l2_norm = params.l2_norm,
          .l2_norm_eps = params.l2_norm_eps,
          .lower_bound = params.lower_bound,
          .scale = params.scale != 0 ? params.scale : 1 / std::sqrt(static_cast<double>(s.K)),
          .cu_seqlens_host = params.cu_seqlens_host.data(),
          .cu_seqlens = params.cu_seqlens.data<int32_t>(),
          .q = in.q.data<Io>(),
          .k = in.k.data<Io>(),
          .v = in.v.data<Io>(),
          .beta = in.beta.data<Io>(),
          .gate = in.gate.data<Io>(),
          .a_log = in.a_log.data<Acc>(),
          .dt_bias = in.dt_bias.data<Acc>(),
          .h0 = in.h0.data<Acc>()};
}

}  // namespace

Op::Outputs<Tensor> Op::Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved) {
  const Sizes s = CheckedSizes(in, params);
  const Device device = in.q.device();
  const DType acc = AccDType(in.q.dtype());
  Outputs<Tensor> out;
  out.o = Tensor::EmptyLike(in.v);
  if (params.final_state_in_place) {
    CHECK(saved == nullptr && in.h0.defined() && params.output_final_state,
          "no initial state, or a backward that would read it");
    for (int64_t n = 0; n < s.N; ++n) {
      const int64_t length = params.cu_seqlens_host[n + 1] - params.cu_seqlens_host[n];
      CHECK(length <= 1, "a document of ", length, " tokens in place");
    }
    out.ht = in.h0;
  } else if (params.output_final_state) {
    out.ht = Tensor::Empty({s.N, s.HV, s.K, s.V}, acc, device);
  }
  Tensor workspace;
  Dispatch(device, in.q.dtype(), [&](auto tag, auto io) {
    using Io = typename decltype(io)::type;
    const auto inputs = KernelInputs<Io>(in, params, s);
    const size_t bytes = saved == nullptr ? 0 : GatedDeltaRuleWorkspaceBytes(tag, inputs);
    if (bytes > 0) {
      workspace = Tensor::Empty({static_cast<int64_t>(bytes)}, DType::kUint8, device);
    }
    GatedDeltaRuleFwd(tag, GatedDeltaRuleFwdParams<Io>{.in = inputs,
                                                       .o = out.o.data<Io>(),
                                                       .ht = out.ht.data<AccOf<Io>>(),
                                                       .workspace = workspace.raw(),
                                                       .stream = ComputeStream()});
  });
  if (saved != nullptr) *saved = {.in = in, .params = params, .workspace = workspace};
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
    GatedDeltaRuleBwd(tag, GatedDeltaRuleBwdParams<Io>{.in = KernelInputs<Io>(in, saved.params, s),
                                                       .workspace = saved.workspace.raw(),
                                                       .d_o = d_out.o.data<Io>(),
                                                       .d_ht = d_out.ht.data<Acc>(),
                                                       .dq = grad.q.data<Io>(),
                                                       .dk = grad.k.data<Io>(),
                                                       .dv = grad.v.data<Io>(),
                                                       .d_beta = grad.beta.data<Io>(),
                                                       .d_gate = grad.gate.data<Io>(),
                                                       .d_a_log = grad.a_log.data<Acc>(),
                                                       .d_dt_bias = grad.dt_bias.data<Acc>(),
                                                       .d_h0 = grad.h0.data<Acc>(),
                                                       .stream = ComputeStream()});
  });
  return grad;
}

// FLOPs of one token and value head: 6 K V for the state's matmuls and 3 C (K + V) / 2 + C^2 for
// those inside a chunk of C = 64 tokens (arXiv 2510.26692 eq. 13), twice that backward. Bytes: each
// activation once; backward also writes and reads one state per chunk and the chunk's triangular
// inverse, and reads k, v and the gate a second time to recompute them. States that enter and leave
// documents are counted forward, where they matter for decoding.
Cost Op::EstimateCost(const Inputs<Tensor>& in, const Params& params) {
  constexpr double kChunk = 64;
  const Sizes s = CheckedSizes(in, params);
  const double token_heads = static_cast<double>(s.T * s.HV);
  const double K = static_cast<double>(s.K), V = static_cast<double>(s.V);
  const double io = SizeOf(in.q.dtype());
  const auto bytes = [](const Tensor& t) {
    return t.defined() ? static_cast<double>(t.nbytes()) : 0.0;
  };
  const double q = bytes(in.q), v = bytes(in.v), small = bytes(in.beta);
  const double gate = bytes(in.gate);
  const double final_state =
      params.output_final_state ? static_cast<double>(s.N * s.HV) * K * V * 4 : 0;
  const double state = token_heads * K * V / kChunk * io, inverse = token_heads * kChunk * io;
  const double flops = token_heads * (6 * K * V + 1.5 * kChunk * (K + V) + kChunk * kChunk);
  return {.forward_flops = flops,
          .backward_flops = 2 * flops,
          .forward_bytes = 2 * q + 2 * v + small + gate + bytes(in.h0) + final_state,
          .backward_bytes = 5 * q + 4 * v + 3 * small + 3 * gate + 2 * state + 2 * inverse};
}

}  // namespace wyvern
