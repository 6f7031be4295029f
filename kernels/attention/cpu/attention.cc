#include "kernels/attention/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace wyvern {
namespace {

constexpr int64_t kQueryTile = 32, kKeyTile = 64;

// c[m, n] += a[m, k] b[k, n] with row strides. The innermost loop runs along rows of b and c, so
// that the compiler vectorises it without reordering a sum; each element's sum has the same order
// whatever m and n are.
template <typename T>
void MatMulAdd(int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b, int64_t ldb,
               T* c, int64_t ldc) {
  for (int64_t i = 0; i < m; ++i) {
    T* __restrict__ ci = c + i * ldc;
    const T* ai = a + i * lda;
    int64_t l = 0;
    for (; l + 4 <= k; l += 4) {
      const T a0 = ai[l], a1 = ai[l + 1], a2 = ai[l + 2], a3 = ai[l + 3];
      const T* __restrict__ b0 = b + l * ldb;
      const T* __restrict__ b1 = b0 + ldb;
      const T* __restrict__ b2 = b1 + ldb;
      const T* __restrict__ b3 = b2 + ldb;
      for (int64_t j = 0; j < n; ++j) ci[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j];
    }
    for (; l < k; ++l) {
      const T al = ai[l];
      const T* __restrict__ bl = b + l * ldb;
      for (int64_t j = 0; j < n; ++j) ci[j] += al * bl[j];
    }
  }
}

// to[n, m] = from[m, n]^T; `to` has row stride ldt.
template <typename T>
void Transpose(int64_t m, int64_t n, const T* from, int64_t ldf, T* to, int64_t ldt) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) to[j * ldt + i] = from[i * ldf + j];
  }
}

// One document: its first query and key among all, its numbers of them, and how many of its keys
// come before its first query.
struct Document {
  Document(const AttentionShape& s, int64_t n)
      : q_begin(s.cu_seqlens_q[n]),
        k_begin(s.cu_seqlens_k[n]),
        num_q(s.cu_seqlens_q[n + 1] - q_begin),
        num_k(s.KeyEnd(n) - k_begin),
        offset(num_k - num_q) {}
  int64_t q_begin, k_begin, num_q, num_k, offset;
};

// The first key that the query at key position i sees.
int64_t FirstKey(const AttentionShape& s, int64_t i) {
  return s.window == 0 ? 0 : std::max<int64_t>(0, i - s.window + 1);
}

// Whether the work is worth waking other threads for.
bool IsLarge(const AttentionShape& s) {
  const int64_t span = s.window == 0 ? s.num_keys : std::min(s.num_keys, s.window);
  return s.num_queries * s.num_heads * span * (s.key_dim + s.value_dim) > 1 << 20;
}

template <typename T>
class ForwardTile {
 public:
  explicit ForwardTile(const AttentionFwdParams<T>& params)
      : p(params),
        D(p.shape.key_dim),
        V(p.shape.value_dim),
        k_T(D * kKeyTile),
        s(kQueryTile * kKeyTile),
        acc(kQueryTile * V) {}

  // Queries [begin, begin + kQueryTile) of a document, in head h; the largest logit.
  T Run(const Document& doc, int64_t h, int64_t begin) {
    const AttentionShape& sh = p.shape;
    const int64_t H = sh.num_heads, HK = sh.num_kv_heads, hk = h / (H / HK);
    const int64_t rows = std::min(kQueryTile, doc.num_q - begin);
    const T* q = p.q + (doc.q_begin + begin) * p.shape.q_stride + h * D;
    T row_max[kQueryTile], row_sum[kQueryTile];
    std::fill_n(row_max, kQueryTile, -std::numeric_limits<T>::infinity());
    std::fill_n(row_sum, kQueryTile, T(0));
    std::fill(acc.begin(), acc.end(), T(0));
    const int64_t first = FirstKey(sh, begin + doc.offset) / kKeyTile * kKeyTile;
    for (int64_t j0 = first; j0 < begin + rows + doc.offset; j0 += kKeyTile) {
      const int64_t cols = std::min(kKeyTile, doc.num_k - j0);
      const T* k = p.k + (doc.k_begin + j0) * p.shape.k_stride + hk * D;
      const T* v = p.v + (doc.k_begin + j0) * p.shape.v_stride + hk * V;
      Transpose(cols, D, k, p.shape.k_stride, k_T.data(), kKeyTile);
      std::fill(s.begin(), s.end(), T(0));
      MatMulAdd(rows, cols, D, q, p.shape.q_stride, k_T.data(), kKeyTile, s.data(), kKeyTile);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t i = begin + r + doc.offset;
        const int64_t low = std::clamp<int64_t>(FirstKey(sh, i) - j0, 0, cols);
        const int64_t high = std::clamp<int64_t>(i + 1 - j0, low, cols);
        Softmax(&s[r * kKeyTile], low, high, cols, &acc[r * V], &row_max[r], &row_sum[r]);
      }
      MatMulAdd(rows, V, cols, s.data(), kKeyTile, v, p.shape.v_stride, acc.data(), V);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = (doc.q_begin + begin + r) * H + h;
      for (int64_t e = 0; e < V; ++e) p.o[row * V + e] = acc[r * V + e] / row_sum[r];
      p.lse[row] = row_max[r] + std::log(row_sum[r]);
    }
    return *std::max_element(row_max, row_max + rows);
  }

 private:
  // Turns one row of products into exponentials, zero outside [low, high), and rescales what the
  // row has summed so far to its new maximum.
  void Softmax(T* row, int64_t low, int64_t high, int64_t cols, T* sum_v, T* row_max, T* row_sum) {
    const T scale = static_cast<T>(p.shape.scale);
    T top = *row_max;
    for (int64_t j = low; j < high; ++j) {
      row[j] *= scale;
      top = std::max(top, row[j]);
    }
    if (top > *row_max) {
      const T shrink = std::exp(*row_max - top);
      for (int64_t e = 0; e < V; ++e) sum_v[e] *= shrink;
      *row_sum *= shrink;
      *row_max = top;
    }
    std::fill(row, row + low, T(0));
    for (int64_t j = low; j < high; ++j) {
      row[j] = std::exp(row[j] - top);
      *row_sum += row[j];
    }
    std::fill(row + high, row + cols, T(0));
  }

  const AttentionFwdParams<T>& p;
  const int64_t D, V;
  std::vector<T> k_T, s, acc;
};

template <typename T>
class BackwardTile {
 public:
  explicit BackwardTile(const AttentionBwdParams<T>& params)
      : p(params),
        D(p.shape.key_dim),
        V(p.shape.value_dim),
        k_T(D * kKeyTile),
        v_T(V * kKeyTile),
        s(kQueryTile * kKeyTile),
        ds(kQueryTile * kKeyTile),
        transposed(kQueryTile * kKeyTile) {}

  // All of a document that belongs to one key head: its dk and dv, and dq of the heads that read
  // it. No other call writes there.
  void Run(const Document& doc, int64_t hk) {
    const AttentionShape& sh = p.shape;
    const int64_t H = sh.num_heads, HK = sh.num_kv_heads, group = H / HK;
    for (int64_t j = doc.k_begin; j < doc.k_begin + doc.num_k; ++j) {
      std::fill_n(p.dk + (j * HK + hk) * D, D, T(0));
      std::fill_n(p.dv + j * p.dv_stride + hk * V, V, T(0));
    }
    delta.resize(doc.num_q * group);
    for (int64_t i = 0; i < doc.num_q; ++i) {
      for (int64_t g = 0; g < group; ++g) {
        const int64_t row = (doc.q_begin + i) * H + hk * group + g;
        std::fill_n(p.dq + row * D, D, T(0));
        // The same function as for d_o . v: a query that sees one key then gets ds = 0 exactly.
        delta[i * group + g] = 0;
        MatMulAdd(1, 1, V, p.d_o + row * V, V, p.o + row * V, 1, &delta[i * group + g], 1);
      }
    }
    for (int64_t j0 = 0; j0 < doc.num_k; j0 += kKeyTile) {
      const int64_t cols = std::min(kKeyTile, doc.num_k - j0);
      Transpose(cols, D, p.k + (doc.k_begin + j0) * p.shape.k_stride + hk * D, p.shape.k_stride,
                k_T.data(), kKeyTile);
      Transpose(cols, V, p.v + (doc.k_begin + j0) * p.shape.v_stride + hk * V, p.shape.v_stride,
                v_T.data(), kKeyTile);
      const int64_t first = std::max<int64_t>(0, j0 - doc.offset) / kQueryTile * kQueryTile;
      const int64_t last =
          sh.window == 0 ? doc.num_q : std::min(doc.num_q, j0 + cols - 1 + sh.window - doc.offset);
      for (int64_t g = 0; g < group; ++g) {
        for (int64_t begin = first; begin < last; begin += kQueryTile) {
          Tile(doc, hk, g, begin, j0, cols);
        }
      }
    }
  }

 private:
  void Tile(const Document& doc, int64_t hk, int64_t g, int64_t begin, int64_t j0, int64_t cols) {
    const AttentionShape& sh = p.shape;
    const int64_t H = sh.num_heads, HK = sh.num_kv_heads, group = H / HK;
    const int64_t rows = std::min(kQueryTile, doc.num_q - begin);
    const int64_t row0 = (doc.q_begin + begin) * H + hk * group + g;  // then every H rows
    const int64_t key0 = (doc.k_begin + j0) * HK + hk;                // then every HK rows
    const T scale = static_cast<T>(sh.scale);
    const T* q = p.q + (doc.q_begin + begin) * p.shape.q_stride + (hk * group + g) * D;
    std::fill(s.begin(), s.end(), T(0));
    std::fill(ds.begin(), ds.end(), T(0));
    MatMulAdd(rows, cols, D, q, p.shape.q_stride, k_T.data(), kKeyTile, s.data(), kKeyTile);
    MatMulAdd(rows, cols, V, p.d_o + row0 * V, H * V, v_T.data(), kKeyTile, ds.data(), kKeyTile);
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t i = begin + r + doc.offset;
      const int64_t low = std::clamp<int64_t>(FirstKey(sh, i) - j0, 0, cols);
      const int64_t high = std::clamp<int64_t>(i + 1 - j0, low, cols);
      const T lse = p.lse[row0 + r * H], delta_r = delta[(begin + r) * group + g];
      T* s_r = &s[r * kKeyTile];
      T* ds_r = &ds[r * kKeyTile];
      for (int64_t j = low; j < high; ++j) {
        s_r[j] = std::exp(s_r[j] * scale - lse);
        ds_r[j] = s_r[j] * (ds_r[j] - delta_r) * scale;
      }
      for (T* x : {s_r, ds_r}) {
        std::fill(x, x + low, T(0));
        std::fill(x + high, x + cols, T(0));
      }
    }
    Transpose(rows, cols, s.data(), kKeyTile, transposed.data(), kQueryTile);
    MatMulAdd(cols, V, rows, transposed.data(), kQueryTile, p.d_o + row0 * V, H * V,
              p.dv + (doc.k_begin + j0) * p.dv_stride + hk * V, p.dv_stride);
    Transpose(rows, cols, ds.data(), kKeyTile, transposed.data(), kQueryTile);
    MatMulAdd(cols, D, rows, transposed.data(), kQueryTile, q, p.shape.q_stride, p.dk + key0 * D,
              HK * D);
    MatMulAdd(rows, D, cols, ds.data(), kKeyTile,
              p.k + (doc.k_begin + j0) * p.shape.k_stride + hk * D, p.shape.k_stride,
              p.dq + row0 * D, H * D);
  }

  const AttentionBwdParams<T>& p;
  const int64_t D, V;
  std::vector<T> k_T, v_T, s, ds, transposed, delta;
};

}  // namespace

template <typename Io>
void AttentionFwd(CpuTag, const AttentionFwdParams<Io>& p) {
  using Acc = AccOf<Io>;
  const AttentionShape& s = p.shape;
  struct Task {
    int64_t doc, begin;
  };
  std::vector<Task> tasks;
  for (int64_t n = 0; n < s.num_docs; ++n) {
    const int64_t num_q = Document(s, n).num_q;
    for (int64_t begin = 0; begin < num_q; begin += kQueryTile) tasks.push_back({n, begin});
  }
  const int64_t num_tasks = static_cast<int64_t>(tasks.size()) * s.num_heads;
  std::vector<Acc> top(num_tasks);
#pragma omp parallel if (IsLarge(s))
  {
    ForwardTile<Io> tile(p);
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < num_tasks; ++i) {
      const Task& task = tasks[i / s.num_heads];
      top[i] = tile.Run(Document(s, task.doc), i % s.num_heads, task.begin);
    }
  }
  if (!s.max_logit) return;
  std::fill_n(p.max_logit, s.num_heads, -std::numeric_limits<Acc>::infinity());
  for (int64_t i = 0; i < num_tasks; ++i) {
    Acc& max_logit = p.max_logit[i % s.num_heads];
    max_logit = std::max(max_logit, top[i]);
  }
}

template <typename Io>
void AttentionBwd(CpuTag, const AttentionBwdParams<Io>& p) {
  const AttentionShape& s = p.shape;
  const int64_t num_tasks = s.num_docs * s.num_kv_heads;
#pragma omp parallel if (IsLarge(s))
  {
    BackwardTile<Io> tile(p);
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < num_tasks; ++i) {
      tile.Run(Document(s, i / s.num_kv_heads), i % s.num_kv_heads);
    }
  }
}

template void AttentionFwd(CpuTag, const AttentionFwdParams<float>&);
template void AttentionFwd(CpuTag, const AttentionFwdParams<double>&);
template void AttentionBwd(CpuTag, const AttentionBwdParams<float>&);
template void AttentionBwd(CpuTag, const AttentionBwdParams<double>&);

}  // namespace wyvern
