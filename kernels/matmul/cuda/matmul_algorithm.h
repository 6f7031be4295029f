// The kernel of cuBLASLt that a plan (kernels/matmul/gemm_plan.h) names.
#ifndef WYVERN_KERNELS_MATMUL_CUDA_MATMUL_ALGORITHM_H_
#define WYVERN_KERNELS_MATMUL_CUDA_MATMUL_ALGORITHM_H_

#include <cublasLt.h>

#include "kernels/matmul/gemm_plan.h"

namespace wyvern {

// The library's description of a GEMM besides its plan.
struct MatmulProblem {
  cublasLtHandle_t handle;
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t a, b, c;
  cudaDataType_t in, out;
  size_t workspace_bytes;
};

// The share of its waves that the library's choice fills.
double FillOf(const cublasLtMatmulHeuristicResult_t& heuristic);

// Whether the library has the plan's tile, which is not its own choice, for this problem; then it
// is written to `algorithm`.
bool MakeAlgorithm(const MatmulProblem& p, const GemmPlan& plan, cublasLtMatmulAlgo_t* algorithm);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_MATMUL_CUDA_MATMUL_ALGORITHM_H_
