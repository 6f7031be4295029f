#include "autograd/ops/attention/latent_attention.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "autograd/ops/attention/attention.h"
#include "autograd/ops/attention/mla_keys.h"
#include "autograd/ops/matmul/matmul.h"
#include "kernels/attention/latent_attention.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

using Op = LatentAttention;

struct Sizes {
  int64_t T, Tk, H, P, R, V, L;
  double scale;
};

Sizes SizesOf(const Op::Inputs<Tensor>& in, const Op::Params& params) {
  const std::string shapes =
      absl::StrCat("q ", ToString(in.q.shape()), ", latent ", ToString(in.latent.shape()),
                   ", weight ", ToString(in.weight.shape()), ", value_dim ", params.value_dim);
  CHECK(in.q.rank() == 3 && in.latent.rank() == 2 && in.weight.rank() == 2, shapes);
  Sizes s{.T = in.q.dim(0),
          .Tk = in.latent.dim(0),
          .H = in.q.dim(1),
          .V = params.value_dim,
          .L = in.weight.dim(1)};
  s.R = in.latent.dim(1) - s.L;
  s.P = in.q.dim(2) - s.R;
  const bool ranges = params.key_begins.defined();
  CHECK(s.V > 0 && s.R >= 0 && s.P >= 0 && (ranges || s.T <= s.Tk) &&
            in.weight.dim(0) == s.H * (s.P + s.V),
        shapes);
  if (ranges) {
    CHECK(params.key_begins.numel() == s.T && params.key_ends.numel() == s.T &&
              params.key_begins_host.size() == static_cast<size_t>(s.T) &&
              params.key_ends_host.size() == static_cast<size_t>(s.T),
          "ranges of keys for ", shapes);
    for (int64_t i = 0; i < s.T; ++i) {
      const int32_t begin = params.key_begins_host[i], end = params.key_ends_host[i];
      CHECK(0 <= begin && begin < end && end <= s.Tk, "keys from ", begin, " to ", end, " of ",
            s.Tk);
    }
  }
  s.scale = params.scale != 0 ? params.scale : 1 / std::sqrt(static_cast<double>(s.P + s.R));
  return s;
}

}  // namespace

Op::Outputs<Tensor> Op::Forward(const Inputs<Tensor>& in, const Params& params, Saved* saved) {
  const Sizes s = SizesOf(in, params);
  const bool cuda = in.q.device() == Device::kCuda;
  CHECK(!cuda || (s.L <= kMaxLatentRank && s.R <= kMaxLatentSharedDim), "latent vectors of ", s.L,
        " + ", s.R, " have no CUDA kernel");
  Outputs<Tensor> out{.o = Tensor::Empty({s.T, s.H, s.V}, in.q.dtype(), in.q.device())};
  if (s.T > 0) {
    Dispatch(in.q.device(), in.q.dtype(), [&](auto device, auto io) {
      using Io = typename decltype(io)::type;
      LatentAttentionFwd(device,
                         LatentAttentionParams<Io>{.num_queries = s.T,
                                                   .num_keys = s.Tk,
                                                   .num_heads = s.H,
                                                   .own_dim = s.P,
                                                   .shared_dim = s.R,
                                                   .value_dim = s.V,
                                                   .rank = s.L,
                                                   .scale = s.scale,
                                                   .q_stride = in.q.row_stride(),
                                                   .q = in.q.columns<Io>(),
                                                   .latent = in.latent.data<Io>(),
                                                   .weight = in.weight.data<Io>(),
                                                   .key_begins = params.key_begins.data<int32_t>(),
                                                   .key_ends = params.key_ends.data<int32_t>(),
                                                   .o = out.o.data<Io>(),
                                                   .stream = ComputeStream()});
    });
  }
  CHECK(saved == nullptr || !params.key_begins.defined(), "ranges of keys have no backward");
  if (saved != nullptr) *saved = {.in = in, .params = params};
  return out;
}

Op::Inputs<Tensor> Op::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                const Inputs<GradRequest>& want) {
  const Inputs<Tensor>& in = saved.in;
  const Sizes s = SizesOf(in, saved.params);
  const Device device = in.q.device();
  const auto values_of = [&](const Tensor& kv) { return kv.Columns(s.H * s.P, s.H * (s.P + s.V)); };
  // The other form's forward.
  MatMul::Saved product;
  const Tensor kv =
      MatMul::Forward({.x = in.latent.Columns(0, s.L).Contiguous(), .weight = in.weight}, {},
                      &product)
          .y;
  MlaKeys::Saved keys;
  const Tensor k = MlaKeys::Forward({.own = kv.Columns(0, s.H * s.P).Reshape({s.Tk, s.H, s.P}),
                                     .shared = in.latent.Columns(s.L, s.L + s.R)},
                                    {}, &keys)
                       .k;
  Attention::Params params{.cu_seqlens_q_host = {0, static_cast<int32_t>(s.T)},
                           .cu_seqlens_k_host = {0, static_cast<int32_t>(s.Tk)},
                           .scale = s.scale};
  params.cu_seqlens_q = Tensor::FromVector(params.cu_seqlens_q_host, {2}).To(device);
  params.cu_seqlens_k = Tensor::FromVector(params.cu_seqlens_k_host, {2}).To(device);
  Attention::Saved attention;
  Attention::Forward({.q = in.q, .k = k, .v = values_of(kv).Reshape({s.Tk, s.H, s.V})}, params,
                     &attention);
  // And its backward.
  const Tensor d_kv = Tensor::EmptyLike(kv), d_latent = Tensor::EmptyLike(in.latent);
  const Attention::Inputs<Tensor> d =
      Attention::Backward(attention, {.o = d_out.o},
                          {.q = {.wanted = true}, .k = {.wanted = true}, .v = {.wanted = true}});
  values_of(d_kv).CopyFrom(d.v.Reshape({s.Tk, s.H * s.V}));
  MlaKeys::Backward(keys, {.k = d.k},
                    {.own = {.wanted = true, .place = d_kv.Columns(0, s.H * s.P)},
                     .shared = {.wanted = true, .place = d_latent.Columns(s.L, s.L + s.R)}});
  const MatMul::Inputs<Tensor> d_product =
      MatMul::Backward(product, {.y = d_kv}, {.x = {.wanted = true}, .weight = want.weight});
  d_latent.Columns(0, s.L).CopyFrom(d_product.x);
  return {.q = d.q, .latent = d_latent, .weight = d_product.weight};
}

Cost Op::EstimateCost(const Inputs<Tensor>& in, const Params& params) {
  const Sizes s = SizesOf(in, params);
  const auto number = [](int64_t x) { return static_cast<double>(x); };
  double pairs = number(s.T) * number(2 * s.Tk - s.T + 1) / 2;
  double latent_bytes = number(in.latent.nbytes());
  if (params.key_begins.defined()) {
    pairs = 0;
    for (int64_t i = 0; i < s.T; ++i) {
      pairs += number(params.key_ends_host[i] - params.key_begins_host[i]);
    }
    latent_bytes *= pairs / number(s.Tk);
  }
  const double flops =
      2 * number(s.H) * (pairs * number(2 * s.L + s.R) + number(s.T * s.L * (s.P + s.V)));
  const double bytes = latent_bytes + number(in.weight.nbytes() + in.q.nbytes() +
                                             s.T * s.H * s.V * SizeOf(in.q.dtype()));
  return {.forward_flops = flops,
          .backward_flops = 2 * flops,
          .forward_bytes = bytes,
          .backward_bytes = 2 * bytes};
}

}  // namespace wyvern
