#include <algorithm>
#include <vector>

#include "kernels/delta_rule/cpu/recurrence.h"

namespace wyvern {

template <typename Io>
size_t GatedDeltaRuleWorkspaceBytes(CpuTag, const GatedDeltaRuleInputs<Io>& in) {
  return NumDeltaCheckpointElements(in) * sizeof(Io);
}

// The oracle: the equations of the header, one token at a time. Documents and value heads are
// independent of each other, so the result does not depend on the number of threads.
template <typename Acc>
void RunDeltaRecurrence(const GatedDeltaRuleFwdParams<Acc>& p,
                        const DeltaRecurrenceInputs<Acc>& core) {
  const GatedDeltaRuleInputs<Acc>& in = p.in;
  const int64_t H = in.num_heads, HV = in.num_value_heads, K = in.key_dim, V = in.value_dim;
  const int64_t G = core.gate_dim;
  const Acc scale = static_cast<Acc>(in.scale);
  Acc* checkpoints = static_cast<Acc*>(p.workspace);
#pragma omp parallel if (DeltaInParallel(in))
  {
    std::vector<Acc> state(K * V), r(V), sum(V);
    Acc* S = state.data();
#pragma omp for schedule(dynamic) collapse(2)
    for (int64_t n = 0; n < in.num_docs; ++n) {
      for (int64_t h = 0; h < HV; ++h) {
        const int64_t nh = n * HV + h;
        if (in.h0 != nullptr) {
          std::copy_n(in.h0 + nh * K * V, K * V, S);
        } else {
          std::fill_n(S, K * V, Acc{0});
        }
        const int64_t begin = in.cu_seqlens_host[n], end = in.cu_seqlens_host[n + 1];
        for (int64_t t = begin; t < end; ++t) {
          if (checkpoints != nullptr && (t - begin) % kDeltaCheckpointTokens == 0) {
            const int64_t slot =
                DeltaCheckpointSlot(in.cu_seqlens_host, n) + (t - begin) / kDeltaCheckpointTokens;
            std::copy_n(S, K * V, checkpoints + (slot * HV + h) * K * V);
          }
          const int64_t th = t * HV + h, key_row = (t * H + h / (HV / H)) * K;
          DeltaStep(K, V, G, core.g.data() + th * G, core.k.data() + key_row, in.v + th * V,
                    core.beta[th], S, S, r.data());
          if (p.o == nullptr) continue;
          std::fill(sum.begin(), sum.end(), Acc{0});
          for (int64_t i = 0; i < K; ++i) {
            const Acc qi = core.q[key_row + i];
            const Acc* row = S + i * V;
#pragma omp simd
            for (int64_t j = 0; j < V; ++j) sum[j] += qi * row[j];
          }
          for (int64_t j = 0; j < V; ++j) p.o[th * V + j] = scale * sum[j];
        }
        if (p.ht != nullptr) std::copy_n(S, K * V, p.ht + nh * K * V);
      }
    }
  }
}

template <typename Io>
void GatedDeltaRuleFwd(CpuTag, const GatedDeltaRuleFwdParams<Io>& p) {
  RunDeltaRecurrence(p, MakeDeltaRecurrenceInputs(p.in));
}

template size_t GatedDeltaRuleWorkspaceBytes(CpuTag, const GatedDeltaRuleInputs<float>&);
template size_t GatedDeltaRuleWorkspaceBytes(CpuTag, const GatedDeltaRuleInputs<double>&);
template void RunDeltaRecurrence(const GatedDeltaRuleFwdParams<float>&,
                                 const DeltaRecurrenceInputs<float>&);
template void RunDeltaRecurrence(const GatedDeltaRuleFwdParams<double>&,
                                 const DeltaRecurrenceInputs<double>&);
template void GatedDeltaRuleFwd(CpuTag, const GatedDeltaRuleFwdParams<float>&);
template void GatedDeltaRuleFwd(CpuTag, const GatedDeltaRuleFwdParams<double>&);

}  // namespace wyvern
