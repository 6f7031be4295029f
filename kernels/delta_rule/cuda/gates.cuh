// The gate and beta formulas, forward and backward; equations in
// kernels/delta_rule/gated_delta_rule.h.
#pragma once

#include "kernels/common/common.cuh"
#include "kernels/delta_rule/gated_delta_rule.h"

namespace wyvern::delta {

// x[d] and x[d + 1] of a row of n elements, zero beyond it; one access where n is even (and x with
// it aligned to pairs).
template <typename T>
__device__ __forceinline__ void LoadPair(const T* x, int d, int n, float& first, float& second) {
  first = second = 0.f;
  if (n % 2 == 0) {
    if (d >= n) return;
    const auto pair = *reinterpret_cast<const Vec<T, 2>*>(x + d);
    first = ToFloatDevice(pair.v[0]);
    second = ToFloatDevice(pair.v[1]);
  } else {
    if (d < n) first = ToFloatDevice(x[d]);
    if (d + 1 < n) second = ToFloatDevice(x[d + 1]);
  }
}

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
