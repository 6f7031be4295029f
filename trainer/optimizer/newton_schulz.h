#ifndef WYVERN_TRAINER_OPTIMIZER_NEWTON_SCHULZ_H_
#define WYVERN_TRAINER_OPTIMIZER_NEWTON_SCHULZ_H_

#include <cstdint>

#include "autograd/tensor.h"

namespace wyvern {

// Newton-Schulz steps of an orthogonalisation, and the coefficients of their polynomial
// a s + b s^3 + c s^5 of a singular value s. They are chosen for speed, not for convergence: five
// steps take all of [0.002, 1] into [0.68, 1.21], and what is far below to 484 times itself.
inline constexpr int kNewtonSchulzSteps = 5;
inline constexpr double kNewtonSchulzA = 3.4445, kNewtonSchulzB = -4.7750, kNewtonSchulzC = 2.0315;

// Replaces each matrix of `x` [B, rows, columns] by about the nearest one with orthonormal rows (or
// columns, if there are fewer): of U S V^T, U f(S) V^T. With X = x / |x| first, then in each step
//   A = X X^T        B = b A + c A A        X = a X + B X
// or, with more rows than columns, A = X^T X and X = a X + X B. Everything is in the type of `x`
// (bf16 on CUDA, fp32 or fp64 on the CPU), sums as in Gemm. The batch only saves launches: each
// matrix's result is its own.
void NewtonSchulz(const Tensor& x);

// The FLOPs of one matrix.
double NewtonSchulzFlops(int64_t rows, int64_t columns);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_OPTIMIZER_NEWTON_SCHULZ_H_
