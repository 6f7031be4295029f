#include "kernels/moe/grouped_matmul.h"

#include <cblas.h>

#include <algorithm>

#include "kernels/common/row_blocks.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/independent_rows.h"

namespace wyvern {
namespace {

// C [m, n] = op(A) op(B) + beta C, rows ld* elements apart.
struct Product {
  CBLAS_TRANSPOSE ta, tb;
  int64_t m, n, k, lda, ldb, ldc;
};

blasint Size(int64_t n) {
  CHECK(n <= 0x7fffffff, "a size of ", n, " exceeds BLAS's 32 bits");
  return static_cast<blasint>(n);
}

void Multiply(const Product& p, const float* a, const float* b, bool add, float* c) {
  cblas_sgemm(CblasRowMajor, p.ta, p.tb, Size(p.m), Size(p.n), Size(p.k), 1, a, Size(p.lda), b,
              Size(p.ldb), add ? 1 : 0, c, Size(p.ldc));
}

void Multiply(const Product& p, const double* a, const double* b, bool add, double* c) {
  cblas_dgemm(CblasRowMajor, p.ta, p.tb, Size(p.m), Size(p.n), Size(p.k), 1, a, Size(p.lda), b,
              Size(p.ldb), add ? 1 : 0, c, Size(p.ldc));
}

// fn(part p, matrix p E + e of the weight, first row, number of rows) for each group.
template <typename F>
void ForEachGroup(const GroupedMatmulShape& s, const int32_t* offsets, const F& fn) {
  CHECK(offsets[0] == 0 && offsets[s.num_experts] == s.num_rows, "offsets from ", offsets[0],
        " to ", offsets[s.num_experts], " of ", s.num_rows, " rows");
  for (int64_t e = 0; e < s.num_experts; ++e) {
    for (int64_t p = 0; p < s.num_matrices; ++p) {
      fn(p, p * s.num_experts + e, offsets[e], offsets[e + 1] - offsets[e]);
    }
  }
}

}  // namespace

template <typename Io>
void GroupedMatmulFwd(CpuTag, const GroupedMatmulFwdParams<Io>& p) {
  const int64_t K = p.shape.dim_in, N = p.shape.dim_out, width = p.shape.num_matrices * N;
  // BLAS multiplies what it overwrites by 0, which a NaN survives.
  std::fill_n(p.y, p.shape.num_rows * width, Io{0});
  ForEachGroup(p.shape, p.offsets, [&](int64_t part, int64_t matrix, int64_t first, int64_t rows) {
    if (rows == 0) return;
    const auto multiply = [&](int64_t m, const Io* x, Io* y) {
      Multiply({CblasNoTrans, CblasTrans, m, N, K, K, K, width}, x, p.weight + matrix * N * K,
               /*add=*/false, y);
    };
    const Io* x = p.x + first * K;
    Io* y = p.y + first * width + part * N;
    if (!IndependentRows::On()) {
      multiply(rows, x, y);
      return;
    }
    MultiplyInRowBlocks(RowProduct{.m = rows, .n = N, .k = K, .lda = K, .ldc = width}, x, y,
                        multiply);
  });
}

template <typename Io>
void GroupedMatmulInputGrad(CpuTag, const GroupedMatmulInputGradParams<Io>& p) {
  const int64_t K = p.shape.dim_in, N = p.shape.dim_out, width = p.shape.num_matrices * N;
  std::fill_n(p.d_x, p.shape.num_rows * K, Io{0});
  ForEachGroup(p.shape, p.offsets, [&](int64_t part, int64_t matrix, int64_t first, int64_t rows) {
    if (rows == 0) return;
    Multiply({CblasNoTrans, CblasNoTrans, rows, K, N, width, K, K},
             p.d_y + first * width + part * N, p.weight + matrix * N * K, /*add=*/true,
             p.d_x + first * K);
  });
}

template <typename In, typename Out>
void GroupedMatmulWeightGrad(CpuTag, const GroupedMatmulWeightGradParams<In, Out>& p) {
  const int64_t K = p.shape.dim_in, N = p.shape.dim_out, width = p.shape.num_matrices * N;
  ForEachGroup(p.shape, p.offsets, [&](int64_t part, int64_t matrix, int64_t first, int64_t rows) {
    Out* d_weight = p.d_weight + matrix * N * K;
    if (!p.add) std::fill_n(d_weight, N * K, Out{0});
    if (rows == 0) return;
    Multiply({CblasTrans, CblasNoTrans, N, K, rows, width, K, K}, p.d_y + first * width + part * N,
             p.x + first * K, /*add=*/true, d_weight);
  });
}

template void GroupedMatmulFwd(CpuTag, const GroupedMatmulFwdParams<float>&);
template void GroupedMatmulFwd(CpuTag, const GroupedMatmulFwdParams<double>&);
template void GroupedMatmulInputGrad(CpuTag, const GroupedMatmulInputGradParams<float>&);
template void GroupedMatmulInputGrad(CpuTag, const GroupedMatmulInputGradParams<double>&);
template void GroupedMatmulWeightGrad(CpuTag, const GroupedMatmulWeightGradParams<float, float>&);
template void GroupedMatmulWeightGrad(CpuTag, const GroupedMatmulWeightGradParams<double, double>&);

}  // namespace wyvern
