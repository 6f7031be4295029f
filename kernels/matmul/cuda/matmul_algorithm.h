// Which of cuBLASLt's kernels multiplies large bf16 matrices on Hopper.
#ifndef WYVERN_KERNELS_MATMUL_CUDA_MATMUL_ALGORITHM_H_
#define WYVERN_KERNELS_MATMUL_CUDA_MATMUL_ALGORITHM_H_

#include <cublasLt.h>

#include <cstdint>

namespace wyvern {

// `batch` products as cuBLASLt sees them: D [m, n], k long sums.
struct MatmulProblem {
  cublasLtHandle_t handle;
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t a, b, c;
  cudaDataType_t in, out;
  int64_t m, n, k, batch;
  int num_sms;
  size_t workspace_bytes;
};

// `heuristic`, the library's first choice, or a tile that should be faster. A pure function of the
// problem and the library; nothing is timed. None of the tiles splits sums.
cublasLtMatmulAlgo_t ChooseAlgorithm(const MatmulProblem& p,
                                     const cublasLtMatmulHeuristicResult_t& heuristic);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_MATMUL_CUDA_MATMUL_ALGORITHM_H_
