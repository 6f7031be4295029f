// The CPU's attention, which runs its softmax over tiles of keys as the GPU's does, against softmax
// as its equations stand in kernels/attention/attention.h.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "autograd/check/op_check.h"
#include "autograd/ops/attention/attention.h"

namespace wyvern {
namespace {

// Element i of row `row`, head `head` of x [T, H, D].
double& At(const Tensor& x, int64_t row, int64_t head, int64_t i) {
  return x.data<double>()[(row * x.dim(1) + head) * x.dim(2) + i];
}

double Dot(const Tensor& a, int64_t i, int64_t a_head, const Tensor& b, int64_t j, int64_t b_head) {
  double sum = 0;
  for (int64_t d = 0; d < a.dim(2); ++d) sum += At(a, i, a_head, d) * At(b, j, b_head, d);
  return sum;
}

// to[row, head] += factor from[other, other_head].
void Add(const Tensor& to, int64_t row, int64_t head, double factor, const Tensor& from,
         int64_t other, int64_t other_head) {
  for (int64_t d = 0; d < to.dim(2); ++d) {
    At(to, row, head, d) += factor * At(from, other, other_head, d);
  }
}

OpRun<Attention> PlainSoftmax(const OpCase<Attention>& c, const Tensor& d_o) {
  const auto& [q, k, v] = c.in;
  const Attention::Params& p = c.params;
  const auto &cu_q = p.cu_seqlens_q_host,
             &cu_k = p.cu_seqlens_k_host.empty() ? cu_q : p.cu_seqlens_k_host;
  const double scale = p.scale == 0 ? 1 / std::sqrt(static_cast<double>(q.dim(2))) : p.scale;
  OpRun<Attention> run = {
      .out = {.o = Tensor::ZerosLike(d_o)},
      .grad = {.q = Tensor::ZerosLike(q), .k = Tensor::ZerosLike(k), .v = Tensor::ZerosLike(v)}};
  std::vector<double> largest(q.dim(1), -std::numeric_limits<double>::infinity());
  for (size_t n = 0; n + 1 < cu_q.size(); ++n) {
    for (int64_t i = cu_q[n]; i < cu_q[n + 1]; ++i) {
      const int64_t last = i - cu_q[n + 1] + cu_k[n + 1];  // the key at the query's position
      const int64_t first =
          p.window == 0 ? cu_k[n] : std::max<int64_t>(cu_k[n], last - p.window + 1);
      for (int64_t h = 0; h < q.dim(1); ++h) {
        const int64_t kv = h / (q.dim(1) / k.dim(1));
        std::vector<double> s, weight, d_weight;
        for (int64_t j = first; j <= last; ++j) s.push_back(scale * Dot(q, i, h, k, j, kv));
        const double top = *std::max_element(s.begin(), s.end());
        largest[h] = std::max(largest[h], top);
        double total = 0, delta = 0;
        for (const double score : s) total += std::exp(score - top);
        for (size_t j = 0; j < s.size(); ++j) {
          weight.push_back(std::exp(s[j] - top) / total);
          d_weight.push_back(Dot(d_o, i, h, v, first + j, kv));
          delta += weight[j] * d_weight[j];
        }
        for (size_t j = 0; j < s.size(); ++j) {
          const double ds = weight[j] * (d_weight[j] - delta) * scale;
          const int64_t key = first + static_cast<int64_t>(j);
          Add(run.out.o, i, h, weight[j], v, key, kv);
          Add(run.grad.v, key, kv, weight[j], d_o, i, h);
          Add(run.grad.q, i, h, ds, k, key, kv);
          Add(run.grad.k, key, kv, ds, q, i, h);
        }
      }
    }
  }
  if (p.want_max_logit) run.out.max_logit = Tensor::FromVector(largest, {q.dim(1)});
  return run;
}

TEST(Attention, IsThePlainSoftmaxOfItsEquations) {
  for (const OpCase<Attention>& c : Attention::Cases()) {
    const Tensor d_o = CaseRandom(c.name).Normal({c.in.q.dim(0), c.in.q.dim(1), c.in.v.dim(2)});
    const OpRun<Attention> plain = PlainSoftmax(c, d_o);
    const OpRun<Attention> run =
        RunOp<Attention>(c, {.o = d_o}, Device::kCpu, DType::kFloat64, CallForm::kPlain);
    const auto compare = [&](const char* name, const Tensor& x, const Tensor& expected) {
      ASSERT_EQ(x.defined(), expected.defined()) << c.name << ": " << name;
      if (!x.defined()) return;
      EXPECT_LE(RelativeRmsError(x, expected), 1e-13) << c.name << ": " << name;
    };
    ForEachField(compare, run.out, plain.out);
    ForEachField(compare, run.grad, plain.grad);
  }
}

}  // namespace
}  // namespace wyvern
