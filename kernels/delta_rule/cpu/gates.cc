#include <algorithm>
#include <cmath>

#include "kernels/delta_rule/cpu/recurrence.h"

namespace wyvern {
namespace {

template <typename Acc>
Acc Sigmoid(Acc x) {
  const Acc e = std::exp(-std::abs(x));
  return (x >= 0 ? 1 : e) / (1 + e);
}

// log(1 + e^x), exact in both tails: no exponential of a positive number is formed.
template <typename Acc>
Acc Softplus(Acc x) {
  return (x > 0 ? x : 0) + std::log1p(std::exp(-std::abs(x)));
}

// y = x r, r = (sum x^2 + eps)^-1/2 over the rows of q or k.
template <typename Acc>
void Normalise(const GatedDeltaRuleInputs<Acc>& in, const Acc* x, std::vector<Acc>* y,
               std::vector<Acc>* rnorm) {
  const int64_t num_rows = in.num_tokens * in.num_heads, dim = in.key_dim;
  rnorm->resize(num_rows);
#pragma omp parallel for schedule(static) if (DeltaInParallel(in))
  for (int64_t row = 0; row < num_rows; ++row) {
    const Acc* from = x + row * dim;
    Acc square = 0;
    for (int64_t i = 0; i < dim; ++i) square += from[i] * from[i];
    const Acc r = 1 / std::sqrt(square + static_cast<Acc>(in.l2_norm_eps));
    for (int64_t i = 0; i < dim; ++i) (*y)[row * dim + i] = from[i] * r;
    (*rnorm)[row] = r;
  }
}

// dx of a key head: the sum over the value heads that read it, then through the norm,
// dx = r (dy - (dy . y) y). `y` holds the normalised rows, `rnorm` is empty without a norm.
template <typename Acc>
void SumGroupAndUnnormalise(const GatedDeltaRuleInputs<Acc>& in, const std::vector<Acc>& dy,
                            const std::vector<Acc>& y, const std::vector<Acc>& rnorm, Acc* dx) {
  const int64_t K = in.key_dim, H = in.num_heads, group = in.num_value_heads / H;
#pragma omp parallel for schedule(static) if (DeltaInParallel(in))
  for (int64_t row = 0; row < in.num_tokens * H; ++row) {
    // Value head j = h group + m of token t stands at row (t H + h) group + m.
    const Acc* parts = dy.data() + row * group * K;
    Acc* to = dx + row * K;
    for (int64_t i = 0; i < K; ++i) to[i] = parts[i];
    for (int64_t m = 1; m < group; ++m) {
      for (int64_t i = 0; i < K; ++i) to[i] += parts[m * K + i];
    }
    if (rnorm.empty()) continue;
    const Acc* unit = y.data() + row * K;
    Acc dot = 0;
    for (int64_t i = 0; i < K; ++i) dot += to[i] * unit[i];
    for (int64_t i = 0; i < K; ++i) to[i] = rnorm[row] * (to[i] - dot * unit[i]);
  }
}

template <typename Acc>
void BetaBackward(const GatedDeltaRuleBwdParams<Acc>& p, const std::vector<Acc>& dbeta) {
  const GatedDeltaRuleInputs<Acc>& in = p.in;
  const Acc factor = in.beta_form == DeltaBeta::kTwiceSigmoid ? 2 : 1;
  for (size_t i = 0; i < dbeta.size(); ++i) {
    const Acc s = Sigmoid(in.beta[i]);
    p.d_beta[i] = in.beta_form == DeltaBeta::kGiven ? dbeta[i] : dbeta[i] * factor * s * (1 - s);
  }
}

// One value head at a time, tokens in order: the sums over tokens do not depend on threads. They
// are kept in double because T K terms of both signs meet in d_a_log.
template <typename Acc>
void GateBackward(const GatedDeltaRuleBwdParams<Acc>& p, const DeltaRecurrenceInputs<Acc>& core,
                  const std::vector<Acc>& dg) {
  const GatedDeltaRuleInputs<Acc>& in = p.in;
  const int64_t T = in.num_tokens, HV = in.num_value_heads, G = core.gate_dim;
  const Acc L = static_cast<Acc>(in.lower_bound);
#pragma omp parallel for schedule(static) if (DeltaInParallel(in))
  for (int64_t h = 0; h < HV; ++h) {
    const Acc a = std::exp(in.a_log[h]);
    std::vector<double> dt_bias(G, 0.0);
    double a_log = 0;
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t i = 0; i < G; ++i) {
        const int64_t at = (t * HV + h) * G + i;
        const Acc x = in.gate[at] + in.dt_bias[h * G + i];
        Acc dx;
        if (in.gate_form == DeltaGate::kSoftplus) {
          dx = -dg[at] * a * Sigmoid(x);
          a_log += static_cast<double>(dg[at]) * core.g[at];  // never through log A, which may be 0
        } else {
          const Acc s = Sigmoid(a * x);
          dx = dg[at] * L * s * (1 - s) * a;
          a_log += static_cast<double>(dx) * x;
        }
        if (p.d_gate != nullptr) p.d_gate[at] = dx;
        dt_bias[i] += dx;
      }
    }
    if (p.d_a_log != nullptr) p.d_a_log[h] = static_cast<Acc>(a_log);
    for (int64_t i = 0; i < G && p.d_dt_bias != nullptr; ++i) {
      p.d_dt_bias[h * G + i] = static_cast<Acc>(dt_bias[i]);
    }
  }
}

}  // namespace

template <typename Acc>
DeltaRecurrenceInputs<Acc> MakeDeltaRecurrenceInputs(const GatedDeltaRuleInputs<Acc>& in) {
  const int64_t T = in.num_tokens, H = in.num_heads, HV = in.num_value_heads, K = in.key_dim;
  DeltaRecurrenceInputs<Acc> core;
  core.q.assign(in.q, in.q + T * H * K);
  core.k.assign(in.k, in.k + T * H * K);
  if (in.l2_norm) {
    Normalise(in, in.q, &core.q, &core.q_rnorm);
    Normalise(in, in.k, &core.k, &core.k_rnorm);
  }
  core.beta.assign(T * HV, 1);
  for (int64_t i = 0; i < T * HV && in.beta != nullptr; ++i) {
    core.beta[i] = in.beta_form == DeltaBeta::kGiven
                       ? in.beta[i]
                       : Sigmoid(in.beta[i]) * (in.beta_form == DeltaBeta::kTwiceSigmoid ? 2 : 1);
  }
  if (in.decay == DeltaDecay::kNone) return core;
  const int64_t G = core.gate_dim = in.decay == DeltaDecay::kPerHead ? 1 : K;
  core.g.resize(T * HV * G);
#pragma omp parallel for schedule(static) if (DeltaInParallel(in))
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t h = 0; h < HV; ++h) {
      const Acc* gate = in.gate + (t * HV + h) * G;
      Acc* g = core.g.data() + (t * HV + h) * G;
      if (in.gate_form == DeltaGate::kLogDecay) {
        for (int64_t i = 0; i < G; ++i) g[i] = gate[i];
        continue;
      }
      const Acc a = std::exp(in.a_log[h]);
      const Acc* dt_bias = in.dt_bias + h * G;
      for (int64_t i = 0; i < G; ++i) {
        const Acc x = gate[i] + dt_bias[i];
        g[i] = in.gate_form == DeltaGate::kSoftplus
                   ? -a * Softplus(x)
                   : static_cast<Acc>(in.lower_bound) * Sigmoid(a * x);
      }
    }
  }
  return core;
}

template <typename Acc>
void DeltaInputGrad(const GatedDeltaRuleBwdParams<Acc>& p, const DeltaRecurrenceInputs<Acc>& core,
                    const DeltaRecurrenceGrads<Acc>& grads) {
  const GatedDeltaRuleInputs<Acc>& in = p.in;
  if (p.dq != nullptr) SumGroupAndUnnormalise(in, grads.dq, core.q, core.q_rnorm, p.dq);
  if (p.dk != nullptr) SumGroupAndUnnormalise(in, grads.dk, core.k, core.k_rnorm, p.dk);
  if (in.beta != nullptr && p.d_beta != nullptr) BetaBackward(p, grads.dbeta);
  if (core.gate_dim == 0) return;
  if (in.gate_form != DeltaGate::kLogDecay) {
    GateBackward(p, core, grads.dg);
  } else if (p.d_gate != nullptr) {
    std::copy(grads.dg.begin(), grads.dg.end(), p.d_gate);
  }
}

template DeltaRecurrenceInputs<float> MakeDeltaRecurrenceInputs(const GatedDeltaRuleInputs<float>&);
template DeltaRecurrenceInputs<double> MakeDeltaRecurrenceInputs(
    const GatedDeltaRuleInputs<double>&);
template void DeltaInputGrad(const GatedDeltaRuleBwdParams<float>&,
                             const DeltaRecurrenceInputs<float>&,
                             const DeltaRecurrenceGrads<float>&);
template void DeltaInputGrad(const GatedDeltaRuleBwdParams<double>&,
                             const DeltaRecurrenceInputs<double>&,
                             const DeltaRecurrenceGrads<double>&);

}  // namespace wyvern
