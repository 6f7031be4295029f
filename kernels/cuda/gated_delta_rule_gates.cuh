// The gate and beta formulas, forward and backward; equations in kernels/ops/gated_delta_rule.h.
#pragma once

#include "kernels/cuda/common.cuh"
#include "kernels/ops/gated_delta_rule.h"

namespace wyvern::delta {

constexpr float kNormEps = 1e-6f;

__device__ __forceinline__ float Sigmoid(float x) { return 1.f / (1.f + expf(-x)); }
__device__ __forceinline__ float Softplus(float x) { return x > 20.f ? x : log1pf(expf(x)); }

// The log decay of one step, not clamped. a_log = -inf gives 0.
__device__ __forceinline__ float LogDecay(DeltaGate form, float gate, float a_log, float bias,
                                          float lower_bound) {
  if (form == DeltaGate::kLogDecay) return gate;
  const float x = gate + bias;
  if (form == DeltaGate::kSoftplus) return -expf(a_log) * Softplus(x);
  return lower_bound * Sigmoid(expf(a_log) * x);
}

struct GateGradient {
  float d_x;      // of the gate and of dt_bias
  float d_a_log;  // this element's part
};

__device__ __forceinline__ GateGradient LogDecayBackward(DeltaGate form, float dg, float gate,
                                                         float a_log, float bias,
                                                         float lower_bound) {
  if (form == DeltaGate::kLogDecay) return {dg, 0.f};
  const float x = gate + bias, a = expf(a_log);
  if (form == DeltaGate::kSoftplus) return {-dg * a * Sigmoid(x), -dg * a * Softplus(x)};
  const float z = a * x, m = dg * lower_bound * Sigmoid(z) * Sigmoid(-z);
  return {m * a, m * z};
}

// beta is null for ones.
template <typename T>
__device__ __forceinline__ float BetaOf(DeltaBeta form, const T* beta, int64_t i) {
  if (beta == nullptr) return 1.f;
  const float b = ToFloatDevice(beta[i]);
  if (form == DeltaBeta::kGiven) return b;
  return form == DeltaBeta::kSigmoid ? Sigmoid(b) : 2.f * Sigmoid(b);
}

__device__ __forceinline__ float BetaBackward(DeltaBeta form, float d_beta, float b) {
  if (form == DeltaBeta::kGiven) return d_beta;
  const float d = d_beta * Sigmoid(b) * Sigmoid(-b);
  return form == DeltaBeta::kSigmoid ? d : 2.f * d;
}

}  // namespace wyvern::delta
