// For sources that call the CUDA runtime.
#ifndef WYVERN_KERNELS_RUNTIME_CUDA_CHECK_H_
#define WYVERN_KERNELS_RUNTIME_CUDA_CHECK_H_

#include <cuda_runtime.h>

#include "kernels/runtime/check.h"

#define CUDA_CHECK(expression)                                                               \
  do {                                                                                       \
    const cudaError_t wyvern_error = (expression);                                           \
    CHECK(wyvern_error == cudaSuccess, #expression, ": ", cudaGetErrorString(wyvern_error)); \
  } while (false)

// After a kernel launch: catches a refused launch where it happened.
#define CUDA_CHECK_LAUNCH() CUDA_CHECK(cudaGetLastError())

#endif  // WYVERN_KERNELS_RUNTIME_CUDA_CHECK_H_
