#include "kernels/matmul/matmul.h"

#include <cblas.h>

#include <algorithm>

#include "kernels/common/cpu_math.h"
#include "kernels/common/row_blocks.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/independent_rows.h"

namespace wyvern {
namespace {

void CblasGemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, const GemmParams<float, float>& p,
               blasint lda, blasint ldb, blasint ldc) {
  cblas_sgemm(CblasRowMajor, ta, tb, static_cast<blasint>(p.m), static_cast<blasint>(p.n),
              static_cast<blasint>(p.k), static_cast<float>(p.alpha), p.a, lda, p.b, ldb,
              static_cast<float>(p.beta), p.c, ldc);
}

void CblasGemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, const GemmParams<double, double>& p,
               blasint lda, blasint ldb, blasint ldc) {
  cblas_dgemm(CblasRowMajor, ta, tb, static_cast<blasint>(p.m), static_cast<blasint>(p.n),
              static_cast<blasint>(p.k), p.alpha, p.a, lda, p.b, ldb, p.beta, p.c, ldc);
}

}  // namespace

template <typename In, typename Out>
void Gemm(CpuTag, const GemmParams<In, Out>& p) {
  constexpr int64_t kLargest = 0x7fffffff;
  CHECK(p.m <= kLargest && p.n <= kLargest && p.k <= kLargest, "a product of [", p.m, ", ", p.k,
        "] and [", p.k, ", ", p.n, "] exceeds BLAS's 32-bit sizes");
  if (p.m == 0 || p.n == 0) return;
  if (p.beta == 0) {
    std::fill_n(p.c, p.batch * p.m * p.n, Out{0});  // some versions multiply a NaN by 0
  } else if (p.addend != nullptr) {
    std::copy_n(p.addend, p.batch * p.m * p.n, p.c);
  }
  GemmParams<In, Out> one = p;
  for (int64_t i = 0; i < p.batch; ++i) {
    one.a = p.a + i * p.m * p.k;
    one.b = p.b + i * p.k * p.n;
    one.c = p.c + i * p.m * p.n;
    const auto multiply = [&] {
      CblasGemm(p.transpose_a ? CblasTrans : CblasNoTrans,
                p.transpose_b ? CblasTrans : CblasNoTrans, one,
                static_cast<blasint>(std::max<int64_t>(1, p.transpose_a ? p.m : p.k)),
                static_cast<blasint>(std::max<int64_t>(1, p.transpose_b ? p.k : p.n)),
                static_cast<blasint>(p.n));
    };
    if (!IndependentRows::On()) {
      multiply();
      continue;
    }
    CHECK(!p.transpose_a && p.transpose_b && p.beta == 0, "not a product y = x W^T");
    MultiplyInRowBlocks(RowProduct{.m = p.m, .n = p.n, .k = p.k, .lda = p.k, .ldc = p.n}, one.a,
                        one.c, [&](int64_t rows, const In* a, Out* c) {
                          one.m = rows;
                          one.a = a;
                          one.c = c;
                          multiply();
                        });
  }
}

template <typename Io>
void AddRow(CpuTag, const AddRowParams<Io>& p) {
#pragma omp parallel for schedule(static) if (p.num_rows * p.dim > 16384)
  for (int64_t t = 0; t < p.num_rows; ++t) {
    for (int64_t i = 0; i < p.dim; ++i) p.y[t * p.dim + i] += p.bias[i];
  }
}

template <typename Io>
void ColumnSum(CpuTag, const ColumnSumParams<Io>& p) {
  SumRows(p.num_rows, p.dim, p.out, /*add=*/false,
          [&](int64_t t) { return [x = p.x + t * p.dim](int64_t i) { return x[i]; }; });
}

template void Gemm(CpuTag, const GemmParams<float, float>&);
template void Gemm(CpuTag, const GemmParams<double, double>&);
template void AddRow(CpuTag, const AddRowParams<float>&);
template void AddRow(CpuTag, const AddRowParams<double>&);
template void ColumnSum(CpuTag, const ColumnSumParams<float>&);
template void ColumnSum(CpuTag, const ColumnSumParams<double>&);

}  // namespace wyvern
