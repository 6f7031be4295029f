#include "kernels/conv/short_conv.h"

#include <algorithm>
#include <vector>

#include "kernels/common/cpu_math.h"
#include "kernels/runtime/check.h"

namespace wyvern {
namespace {

// Where the rows of e, the inputs with their history, lie.
template <typename Io>
class History {
 public:
  template <typename Params>
  explicit History(const Params& p)
      : cu_seqlens_(p.cu_seqlens),
        x_(p.x),
        x_stride_(p.x_stride),
        state_(p.initial_state),
        dim_(p.dim),
        width_(p.width),
        zeros_(p.initial_state == nullptr ? p.dim : 0),
        documents_(p.num_tokens) {
    CHECK(p.cu_seqlens[0] == 0 && p.cu_seqlens[p.num_documents] == p.num_tokens,
          "cu_seqlens must run from 0 to ", p.num_tokens);
    for (int64_t n = 0; n < p.num_documents; ++n) {
      CHECK(p.cu_seqlens[n] <= p.cu_seqlens[n + 1], "cu_seqlens falls at document ", n);
      std::fill(documents_.begin() + p.cu_seqlens[n], documents_.begin() + p.cu_seqlens[n + 1],
                static_cast<int32_t>(n));
    }
  }

  // [D], row j of e of document n.
  const Io* Row(int64_t n, int64_t j) const {
    if (j >= width_ - 1) return x_ + (cu_seqlens_[n] + j - (width_ - 1)) * x_stride_;
    return state_ == nullptr ? zeros_.data() : state_ + (n * (width_ - 1) + j) * dim_;
  }
  int64_t Document(int64_t t) const { return documents_[t]; }
  int64_t Begin(int64_t n) const { return cu_seqlens_[n]; }
  int64_t Length(int64_t n) const { return cu_seqlens_[n + 1] - cu_seqlens_[n]; }

 private:
  const int32_t* cu_seqlens_;
  const Io* x_;
  int64_t x_stride_;
  const Io* state_;
  int64_t dim_, width_;
  std::vector<Io> zeros_;
  std::vector<int32_t> documents_;  // [T]
};

// [W, D] from [D, W], so that loops over channels are contiguous.
template <typename Io>
std::vector<Io> TransposeWeight(const Io* weight, int64_t dim, int64_t width) {
  std::vector<Io> result(dim * width);
  for (int64_t d = 0; d < dim; ++d) {
    for (int64_t i = 0; i < width; ++i) result[i * dim + d] = weight[d * width + i];
  }
  return result;
}

// u[d] = sum_i weight[i, d] e[t + i, d] for d in [begin, end); u begins at `begin`.
template <typename Io>
void Convolve(const History<Io>& e, const std::vector<Io>& weight, int64_t t, int64_t dim,
              int64_t width, int64_t begin, int64_t end, Io* u) {
  const int64_t n = e.Document(t), j = t - e.Begin(n), count = end - begin;
  std::fill_n(u, count, Io{0});
  for (int64_t i = 0; i < width; ++i) {
    const Io *row = e.Row(n, j + i) + begin, *w = weight.data() + i * dim + begin;
    for (int64_t d = 0; d < count; ++d) u[d] += w[d] * row[d];
  }
}

}  // namespace

template <typename Io>
void ShortConvFwd(CpuTag, const ShortConvFwdParams<Io>& p) {
  const int64_t D = p.dim, W = p.width;
  const History<Io> e(p);
  const std::vector<Io> weight = TransposeWeight(p.weight, D, W);
#pragma omp parallel for schedule(static) if (p.num_tokens * D > 16384)
  for (int64_t t = 0; t < p.num_tokens; ++t) {
    for (int j = 0; j < p.y.num; ++j) {
      const int64_t begin = p.y.begin[j], end = p.y.begin[j + 1], count = end - begin;
      Io* y = p.y.data[j] + t * count;
      Convolve(e, weight, t, D, W, begin, end, y);
      if (!p.silu) continue;
#pragma omp simd
      for (int64_t d = 0; d < count; ++d) y[d] *= Sigmoid(y[d]);
    }
  }
  if (p.final_state == nullptr) return;
  for (int64_t n = 0; n < p.num_documents; ++n) {
    for (int64_t r = 0; r < W - 1; ++r) {
      const Io* row = e.Row(n, e.Length(n) + r);
      Io* to = p.final_state + (n * (W - 1) + r) * D;
      if (row != to) std::copy_n(row, D, to);
    }
  }
}

template <typename Io>
void ShortConvBwd(CpuTag, const ShortConvBwdParams<Io>& p) {
  const int64_t D = p.dim, W = p.width;
  const History<Io> e(p);
  const std::vector<Io> weight = TransposeWeight(p.weight, D, W);
  std::vector<Io> du(p.num_tokens * D, Io{0});
#pragma omp parallel for schedule(static) if (p.num_tokens * D > 16384)
  for (int64_t t = 0; t < p.num_tokens; ++t) {
    for (int j = 0; j < p.dy.num; ++j) {
      const int64_t begin = p.dy.begin[j], end = p.dy.begin[j + 1], count = end - begin;
      if (p.dy.data[j] == nullptr) continue;
      Io* du_t = du.data() + t * D + begin;
      const Io* dy = p.dy.data[j] + t * count;
      if (!p.silu) {
        std::copy_n(dy, count, du_t);
        continue;
      }
      Convolve(e, weight, t, D, W, begin, end, du_t);
#pragma omp simd
      for (int64_t d = 0; d < count; ++d) du_t[d] = dy[d] * SiluSlope(du_t[d]);
    }
  }
  // Gradient of row j of e of document n.
  const auto gradient = [&](int64_t n, int64_t j, Io* out) {
    const int64_t length = e.Length(n);
    if (p.d_final_state != nullptr && j >= length) {
      std::copy_n(p.d_final_state + (n * (W - 1) + j - length) * D, D, out);
    } else {
      std::fill_n(out, D, Io{0});
    }
    for (int64_t i = std::max<int64_t>(0, j - length + 1); i < W && i <= j; ++i) {
      const Io *du_t = du.data() + (e.Begin(n) + j - i) * D, *w = weight.data() + i * D;
      for (int64_t d = 0; d < D; ++d) out[d] += w[d] * du_t[d];
    }
  };
#pragma omp parallel for schedule(static) if (p.num_tokens * D > 16384)
  for (int64_t t = 0; t < p.num_tokens; ++t) {
    const int64_t n = e.Document(t);
    gradient(n, t - e.Begin(n) + W - 1, p.dx + t * p.dx_stride);
  }
  for (int64_t n = 0; n < p.num_documents && p.d_initial_state != nullptr; ++n) {
    for (int64_t j = 0; j < W - 1; ++j) gradient(n, j, p.d_initial_state + (n * (W - 1) + j) * D);
  }
  std::vector<Io> d_weight(W * D);
  for (int64_t i = 0; i < W; ++i) {
    SumRows(p.num_tokens, D, d_weight.data() + i * D, /*add=*/false, [&](int64_t t) {
      const int64_t n = e.Document(t);
      const Io *du_t = du.data() + t * D, *row = e.Row(n, t - e.Begin(n) + i);
      return [=](int64_t d) { return du_t[d] * row[d]; };
    });
  }
  for (int64_t d = 0; d < D; ++d) {
    for (int64_t i = 0; i < W; ++i) {
      Io* to = p.d_weight + d * W + i;
      *to = (p.add_d_weight ? *to : Io(0)) + d_weight[i * D + d];
    }
  }
}

template void ShortConvFwd(CpuTag, const ShortConvFwdParams<float>&);
template void ShortConvFwd(CpuTag, const ShortConvFwdParams<double>&);
template void ShortConvBwd(CpuTag, const ShortConvBwdParams<float>&);
template void ShortConvBwd(CpuTag, const ShortConvBwdParams<double>&);

}  // namespace wyvern
