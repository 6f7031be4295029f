// Dense matmuls, row-major.
//
//   Gemm       C = alpha op(A) op(B) + beta Z        C, Z [M, N], op(A) [M, K], op(B) [K, N]
//   AddRow     y[t] += bias
//   ColumnSum  out = sum over t of x[t]
//
// The op y = x W^T + bias and its gradients:
//   dx = dy W       dW = dy^T x       d_bias = sum over rows of dy
//
// Products of bf16 or fp32 are accumulated in fp32 (never TF32), of fp64 in fp64. The order of
// every sum is fixed for a given shape.
#ifndef WYVERN_KERNELS_MATMUL_MATMUL_H_
#define WYVERN_KERNELS_MATMUL_MATMUL_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// (In, Out): (fp32, fp32), (fp64, fp64) on the CPU; (fp32, fp32), (bf16, bf16), (bf16, fp32) on
// CUDA. Any size may be 0.
template <typename In, typename Out>
struct GemmParams {
  int64_t m = 0, n = 0, k = 0;
  int64_t batch = 1;  // matmuls of these sizes; the matrices of each follow those of the last one
  bool transpose_a = false, transpose_b = false;
  double alpha = 1, beta = 0;   // beta 0: Z is not read
  const In* a = nullptr;        // [M, K]; transposed: [K, M]
  const In* b = nullptr;        // [K, N]; transposed: [N, K]
  Out* c = nullptr;             // [M, N], no part of A or B
  const Out* addend = nullptr;  // Z [M, N], which may be A or B; null: C
  StreamHandle stream = nullptr;
};

template <typename Io>
struct AddRowParams {
  using Acc = AccOf<Io>;
  int64_t num_rows = 0, dim = 0;
  const Acc* bias = nullptr;  // [D]
  Io* y = nullptr;            // [T, D]
  StreamHandle stream = nullptr;
};

template <typename Io>
struct ColumnSumParams {
  using Acc = AccOf<Io>;
  int64_t num_rows = 0, dim = 0;
  const Io* x = nullptr;  // [T, D]
  Acc* out = nullptr;     // [D], written
  StreamHandle stream = nullptr;
};

template <typename In, typename Out>
void Gemm(CpuTag, const GemmParams<In, Out>& p);
template <typename Io>
void AddRow(CpuTag, const AddRowParams<Io>& p);
template <typename Io>
void ColumnSum(CpuTag, const ColumnSumParams<Io>& p);
template <typename In, typename Out>
void Gemm(CudaTag, const GemmParams<In, Out>& p);
template <typename Io>
void AddRow(CudaTag, const AddRowParams<Io>& p);
template <typename Io>
void ColumnSum(CudaTag, const ColumnSumParams<Io>& p);
template <typename In, typename Out>
void Gemm(MetaTag, const GemmParams<In, Out>& p);
template <typename Io>
void AddRow(MetaTag, const AddRowParams<Io>& p);
template <typename Io>
void ColumnSum(MetaTag, const ColumnSumParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_MATMUL_MATMUL_H_
