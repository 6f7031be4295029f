// Products of rows with the matrix of their expert.
//
//   y[r, p N + n] = sum over i of W[p, e, n, i] x[r, i]      e: offsets[e] <= r < offsets[e + 1]
//   d_x[r, i] = sum over p, n of d_y[r, p N + n] W[p, e, n, i]
//   d_W[p, e, n, i] = sum over the rows r of e of d_y[r, p N + n] x[r, i], 0 for an expert without
//   rows
//
// R rows, E experts, P matrices an expert (2: gate and up, which lie one after the other in memory,
// each of all experts), K in, N out. Products of bf16 or fp32 are accumulated in fp32 (never TF32),
// of fp64 in fp64, rounded once: d_x is one sum over p and n. The order of every sum is fixed for
// given sizes and offsets. The sizes of the groups are read on the device; any distribution of the
// rows is right, an expert without rows and all rows on one expert included. R may be 0.
#ifndef WYVERN_KERNELS_MOE_GROUPED_MATMUL_H_
#define WYVERN_KERNELS_MOE_GROUPED_MATMUL_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

struct GroupedMatmulShape {
  int64_t num_rows = 0, num_experts = 0, num_matrices = 1;  // R, E, P
  int64_t dim_in = 0, dim_out = 0;                          // K, N
};

template <typename Io>
struct GroupedMatmulFwdParams {
  GroupedMatmulShape shape;
  const int32_t* offsets = nullptr;  // [E + 1], from 0 to R
  const Io* x = nullptr;             // [R, K]
  const Io* weight = nullptr;        // [P, E, N, K]
  Io* y = nullptr;                   // [R, P N]
  StreamHandle stream = nullptr;
};

template <typename Io>
struct GroupedMatmulInputGradParams {
  GroupedMatmulShape shape;
  const int32_t* offsets = nullptr;  // [E + 1]
  const Io* d_y = nullptr;           // [R, P N]
  const Io* weight = nullptr;        // [P, E, N, K]
  Io* d_x = nullptr;                 // [R, K]
  StreamHandle stream = nullptr;
};

// (In, Out): (fp32, fp32), (fp64, fp64) on the CPU; (fp32, fp32), (bf16, bf16), (bf16, fp32) on
// CUDA.
template <typename In, typename Out>
struct GroupedMatmulWeightGradParams {
  GroupedMatmulShape shape;
  const int32_t* offsets = nullptr;  // [E + 1]
  const In* d_y = nullptr;           // [R, P N]
  const In* x = nullptr;             // [R, K]
  Out* d_weight = nullptr;           // [P, E, N, K], written or, if so asked, added to
  bool add = false;
  StreamHandle stream = nullptr;
};

template <typename Io>
void GroupedMatmulFwd(CpuTag, const GroupedMatmulFwdParams<Io>& p);
template <typename Io>
void GroupedMatmulInputGrad(CpuTag, const GroupedMatmulInputGradParams<Io>& p);
template <typename In, typename Out>
void GroupedMatmulWeightGrad(CpuTag, const GroupedMatmulWeightGradParams<In, Out>& p);
template <typename Io>
void GroupedMatmulFwd(CudaTag, const GroupedMatmulFwdParams<Io>& p);
template <typename Io>
void GroupedMatmulInputGrad(CudaTag, const GroupedMatmulInputGradParams<Io>& p);
template <typename In, typename Out>
void GroupedMatmulWeightGrad(CudaTag, const GroupedMatmulWeightGradParams<In, Out>& p);
template <typename Io>
void GroupedMatmulFwd(MetaTag, const GroupedMatmulFwdParams<Io>& p);
template <typename Io>
void GroupedMatmulInputGrad(MetaTag, const GroupedMatmulInputGradParams<Io>& p);
template <typename In, typename Out>
void GroupedMatmulWeightGrad(MetaTag, const GroupedMatmulWeightGradParams<In, Out>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_MOE_GROUPED_MATMUL_H_
