#include "autograd/ops/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "kernels/attention/attention.h"
#include "kernels/runtime/dispatch.h"

namespace wyvern {
namespace {

// The shape that the kernels see; it points into `params`.
AttentionShape MakeShape(const Attention::Inputs<Tensor>& in, const Attention::Params& params) {
  const std::vector<int32_t>& cu_q = params.cu_seqlens_q_host;
  const bool own_keys = !params.cu_seqlens_k_host.empty();
  const std::vector<int32_t>& cu_k = own_keys ? params.cu_seqlens_k_host : cu_q;
  const std::string shapes = absl::StrCat("q ", ToString(in.q.shape()), ", k ",
                                          ToString(in.k.shape()), ", v ", ToString(in.v.shape()));
  CHECK(in.q.rank() == 3 && in.k.rank() == 3 && in.v.rank() == 3, shapes);
  AttentionShape s = {.num_docs = static_cast<int64_t>(cu_q.size()) - 1,
                      .num_queries = in.q.dim(0),
                      .num_keys = in.k.dim(0),
                      .num_heads = in.q.dim(1),
                      .num_kv_heads = in.k.dim(1),
                      .key_dim = in.q.dim(2),
                      .value_dim = in.v.dim(2),
                      .window = params.window,
                      .scale = params.scale,
                      .max_logit = params.want_max_logit,
                      .forward_only = params.forward_only,
                      .q_stride = in.q.row_stride(),
                      .k_stride = in.k.row_stride(),
                      .v_stride = in.v.row_stride(),
                      .cu_seqlens_q = cu_q.data(),
                      .cu_seqlens_k = cu_k.data()};
  if (s.scale == 0) s.scale = 1 / std::sqrt(static_cast<double>(s.key_dim));
  CHECK(in.k.dim(2) == s.key_dim && in.v.dim(0) == s.num_keys && in.v.dim(1) == s.num_kv_heads &&
            s.num_kv_heads > 0 && s.num_heads % s.num_kv_heads == 0 && s.key_dim > 0 &&
            s.value_dim > 0,
        shapes);
  CHECK(s.window >= 0, "window ", s.window);
  CHECK(s.num_docs >= 0 && cu_q.front() == 0 && cu_q.back() == s.num_queries,
        "cu_seqlens do not match ", shapes);
  if (!params.key_ends_host.empty()) {
    s.key_ends = params.key_ends_host.data();
    CHECK(cu_k.size() == cu_q.size() - 1 && params.key_ends_host.size() == cu_k.size(),
          "ranges of keys do not match ", shapes);
  } else {
    CHECK(cu_k.size() == cu_q.size() && cu_k.front() == 0 && cu_k.back() == s.num_keys,
          "cu_seqlens do not match ", shapes);
  }
  for (int64_t n = 0; n < s.num_docs; ++n) {
    const int64_t num_q = cu_q[n + 1] - cu_q[n], num_k = s.KeyEnd(n) - cu_k[n];
    CHECK(num_q >= 0 && num_k >= num_q && cu_k[n] >= 0 && s.KeyEnd(n) <= s.num_keys, "document ", n,
          " has ", num_q, " queries and ", num_k, " keys");
  }
  if (in.q.device() == Device::kCuda) {
    CHECK(std::max(s.key_dim, s.value_dim) <= kMaxAttentionHeadDim, shapes,
          ": head dims above 256 have no CUDA kernel");
    CHECK(params.cu_seqlens_q.defined() && params.cu_seqlens_q.device() == Device::kCuda);
    s.device_cu_seqlens_q = params.cu_seqlens_q.data<int32_t>();
    s.device_cu_seqlens_k = s.device_cu_seqlens_q;
    if (own_keys) {
      CHECK(params.cu_seqlens_k.defined() && params.cu_seqlens_k.device() == Device::kCuda);
      s.device_cu_seqlens_k = params.cu_seqlens_k.data<int32_t>();
    }
    if (s.key_ends != nullptr) {
      CHECK(params.key_ends.defined() && params.key_ends.device() == Device::kCuda);
      s.device_key_ends = params.key_ends.data<int32_t>();
    }
  }
  return s;
}

// Whether the kernels take the rows of x where they lie.
bool InPlace(const Tensor& x) {
  if (x.contiguous()) return true;
  if (x.row_stride() * SizeOf(x.dtype()) % kAttentionRowBytes != 0) return false;
  return reinterpret_cast<uintptr_t>(x.address()) % kAttentionRowBytes == 0;
}

}  // namespace

Attention::Outputs<Tensor> Attention::Forward(const Inputs<Tensor>& inputs, const Params& params,
                                              Saved* saved) {
  Inputs<Tensor> in = inputs;
  ForEachField(
      [](const char*, Tensor& x) {
        if (!InPlace(x)) x = x.Contiguous();
      },
      in);
  const AttentionShape shape = MakeShape(in, params);
  const Shape o_shape = {shape.num_queries, shape.num_heads, shape.value_dim};
  Outputs<Tensor> out{.o = Tensor::Empty(o_shape, in.q.dtype(), in.q.device())};
  const Tensor lse =
      Tensor::Empty({shape.num_queries, shape.num_heads}, AccDType(in.q.dtype()), in.q.device());
  if (shape.max_logit) {
    out.max_logit = Tensor::Empty({shape.num_heads}, lse.dtype(), in.q.device());
  }
  if (shape.num_queries > 0) {
    Dispatch(in.q.device(), in.q.dtype(), [&](auto device, auto io) {
      using Io = typename decltype(io)::type;
      AttentionFwd(device, AttentionFwdParams<Io>{.shape = shape,
                                                  .q = in.q.columns<Io>(),
                                                  .k = in.k.columns<Io>(),
                                                  .v = in.v.columns<Io>(),
                                                  .o = out.o.data<Io>(),
                                                  .lse = lse.data<AccOf<Io>>(),
                                                  .max_logit = out.max_logit.data<AccOf<Io>>(),
                                                  .stream = ComputeStream()});
    });
  } else if (shape.max_logit) {
    const std::vector<double> none(shape.num_heads, -std::numeric_limits<double>::infinity());
    out.max_logit.CopyFrom(Tensor::FromVector(none, {shape.num_heads}));
  }
  CHECK(saved == nullptr || shape.key_ends == nullptr, "ranges of keys have no backward");
  if (saved != nullptr) *saved = {.in = in, .params = params, .o = out.o, .lse = lse};
  return out;
}

Attention::Inputs<Tensor> Attention::Backward(const Saved& saved, const Outputs<Tensor>& d_out,
                                              const Inputs<GradRequest>& want) {
  const Inputs<Tensor>& in = saved.in;
  Inputs<Tensor> grad;
  if (in.q.numel() == 0) {
    // Zeros, not nothing: what gave the keys may have an exchange of ranks in its backward.
    return {
        .q = Tensor::ZerosLike(in.q), .k = Tensor::ZerosLike(in.k), .v = Tensor::ZerosLike(in.v)};
  }
  grad = {.q = Tensor::EmptyLike(in.q),
          .k = Tensor::EmptyLike(in.k),
          .v = want.v.place.defined() && InPlace(want.v.place) ? want.v.place
                                                               : Tensor::EmptyLike(in.v)};
  Dispatch(in.q.device(), in.q.dtype(), [&](auto device, auto io) {
    using Io = typename decltype(io)::type;
    AttentionBwd(device, AttentionBwdParams<Io>{.shape = MakeShape(in, saved.params),
                                                .dv_stride = grad.v.row_stride(),
                                                .q = in.q.columns<Io>(),
                                                .k = in.k.columns<Io>(),
                                                .v = in.v.columns<Io>(),
                                                .o = saved.o.data<Io>(),
                                                .lse = saved.lse.data<AccOf<Io>>(),
                                                .d_o = d_out.o.data<Io>(),
                                                .dq = grad.q.data<Io>(),
                                                .dk = grad.k.data<Io>(),
                                                .dv = grad.v.columns<Io>(),
                                                .stream = ComputeStream()});
  });
  return grad;
}

Cost Attention::EstimateCost(const Inputs<Tensor>& in, const Params& params) {
  return EstimateCost(MakeShape(in, params), in.q.dtype());
}

Cost Attention::EstimateCost(const AttentionShape& s, DType io) {
  double pairs = 0;      // visible (query, key) pairs
  int64_t num_keys = 0;  // of all documents
  for (int64_t n = 0; n < s.num_docs; ++n) {
    const int64_t num_k = s.KeyEnd(n) - s.cu_seqlens_k[n];
    num_keys += num_k;
    const int64_t num_q = s.cu_seqlens_q[n + 1] - s.cu_seqlens_q[n];
    // The query at position i sees min(i + 1, window) keys: a triangle, then a band.
    const auto seen_by_first = [&](int64_t num) {
      const double rising = static_cast<double>(s.window == 0 ? num : std::min(num, s.window));
      return rising * (rising + 1) / 2 +
             (static_cast<double>(num) - rising) * static_cast<double>(s.window);
    };
    pairs += seen_by_first(num_k) - seen_by_first(num_k - num_q);
  }
  const double flops = 2.0 * static_cast<double>((s.key_dim + s.value_dim) * s.num_heads) * pairs;
  const int64_t elements = s.num_queries * s.num_heads * (s.key_dim + s.value_dim) +
                           num_keys * s.num_kv_heads * (s.key_dim + s.value_dim);
  const double bytes = static_cast<double>(elements * SizeOf(io));
  // Training counts as three times the forward: recomputing the scores is not necessary work.
  return {.forward_flops = flops,
          .backward_flops = 2 * flops,
          .forward_bytes = bytes,
          .backward_bytes = 2 * bytes};
}

}  // namespace wyvern
