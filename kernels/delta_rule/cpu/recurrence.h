// The gated delta rule on the CPU in three parts: what comes before the recurrence (L2 norm, beta's
// sigmoid, the gate; gates.cc), the recurrence itself, one token at a time
// (gated_delta_rule.cc), and its adjoint (gated_delta_rule_backward.cc).
#ifndef WYVERN_KERNELS_DELTA_RULE_CPU_GATED_DELTA_RULE_CORE_H_
#define WYVERN_KERNELS_DELTA_RULE_CPU_GATED_DELTA_RULE_CORE_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/delta_rule/gated_delta_rule.h"

namespace wyvern {

// The backward starts again from a stored state every so many tokens.
inline constexpr int64_t kDeltaCheckpointTokens = 32;

// Whether the work is worth waking other threads.
template <typename Acc>
bool DeltaInParallel(const GatedDeltaRuleInputs<Acc>& in) {
  return in.num_tokens * in.num_value_heads * in.key_dim * in.value_dim > int64_t{1} << 20;
}

// Where the states of document n start in the array of checkpoints, in states per head. Each
// document has a slot for its every 32nd token; rounding leaves at most one slot unused.
inline int64_t DeltaCheckpointSlot(const int32_t* cu_seqlens, int64_t n) {
  return cu_seqlens[n] / kDeltaCheckpointTokens + n;
}
template <typename Acc>
int64_t NumDeltaCheckpointElements(const GatedDeltaRuleInputs<Acc>& in) {
  return (in.num_tokens / kDeltaCheckpointTokens + in.num_docs) * in.num_value_heads * in.key_dim *
         in.value_dim;
}

// The recurrence's operands, made from the op's inputs.
template <typename Acc>
struct DeltaRecurrenceInputs {
  int64_t gate_dim = 0;      // G: 0 without decay, 1 per head, K per channel
  std::vector<Acc> q, k;     // [T, H, K] after the L2 norm
  std::vector<Acc> q_rnorm;  // [T, H] (sum q^2 + eps)^-1/2; empty without the norm
  std::vector<Acc> k_rnorm;
  std::vector<Acc> beta;  // [T, HV] after the sigmoid
  std::vector<Acc> g;     // [T, HV, G] log-decay
};

// Gradients of what the recurrence reads; of q and k for each value head, not yet summed over the
// heads that share them.
template <typename Acc>
struct DeltaRecurrenceGrads {
  std::vector<Acc> dq, dk;  // [T, HV, K]
  std::vector<Acc> dbeta;   // [T, HV]
  std::vector<Acc> dg;      // [T, HV, G]
};

template <typename Acc>
DeltaRecurrenceInputs<Acc> MakeDeltaRecurrenceInputs(const GatedDeltaRuleInputs<Acc>& in);

// Forward from `core`; p.o may be null. Stores checkpoints in p.workspace unless that is null.
template <typename Acc>
void RunDeltaRecurrence(const GatedDeltaRuleFwdParams<Acc>& p,
                        const DeltaRecurrenceInputs<Acc>& core);

// Turns the gradients of the core into those of the op's q, k, beta, gate, a_log and dt_bias.
template <typename Acc>
void DeltaInputGrad(const GatedDeltaRuleBwdParams<Acc>& p, const DeltaRecurrenceInputs<Acc>& core,
                    const DeltaRecurrenceGrads<Acc>& grads);

// One token: after = Diag(exp g) before + k (beta r)^T with r = v - (Diag(exp g) before)^T k.
// States [K, V]; `after` may be `before`. g has gate_dim values.
template <typename Acc>
void DeltaStep(int64_t K, int64_t V, int64_t gate_dim, const Acc* g, const Acc* k, const Acc* v,
               Acc beta, const Acc* before, Acc* after, Acc* r) {
#pragma omp simd
  for (int64_t j = 0; j < V; ++j) r[j] = v[j];
  Acc decay = gate_dim == 1 ? std::exp(g[0]) : 1;
  for (int64_t i = 0; i < K; ++i) {
    if (gate_dim > 1) decay = std::exp(g[i]);
    const Acc ki = k[i];
    const Acc* from = before + i * V;
    Acc* to = after + i * V;
#pragma omp simd
    for (int64_t j = 0; j < V; ++j) {
      to[j] = decay * from[j];
      r[j] -= ki * to[j];
    }
  }
  for (int64_t i = 0; i < K; ++i) {
    const Acc ki = k[i];
    Acc* to = after + i * V;
#pragma omp simd
    for (int64_t j = 0; j < V; ++j) to[j] += ki * (beta * r[j]);
  }
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_DELTA_RULE_CPU_GATED_DELTA_RULE_CORE_H_
