#include "kernels/linear_attention/gated_linear_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace wyvern {
namespace {

// The backward starts again from a stored state every so many tokens.
constexpr int64_t kCheckpointTokens = 32;

// Whether the work is worth waking other threads.
template <typename Acc>
bool InParallel(const GatedLinearAttentionInputs<Acc>& in) {
  return in.num_tokens * in.num_value_heads * in.key_dim * in.value_dim > int64_t{1} << 20;
}

template <typename Acc>
int64_t GateDim(const GatedLinearAttentionInputs<Acc>& in) {
  if (in.decay == LinearDecay::kNone) return 0;
  return in.decay == LinearDecay::kPerHead ? 1 : in.key_dim;
}

// g before it is raised to min_log_decay.
template <typename Acc>
Acc LogDecay(const GatedLinearAttentionInputs<Acc>& in, Acc x) {
  if (in.gate_form == LinearGate::kLogDecay) return x;
  const Acc log_sigmoid = std::min(x, Acc{0}) - std::log1p(std::exp(-std::abs(x)));
  return log_sigmoid / static_cast<Acc>(in.normalizer);
}

// The gradient of the gate input from that of g.
template <typename Acc>
Acc GateGradient(const GatedLinearAttentionInputs<Acc>& in, Acc x, Acc dg) {
  if (LogDecay(in, x) < static_cast<Acc>(in.min_log_decay)) return 0;
  if (in.gate_form == LinearGate::kLogDecay) return dg;
  return dg / ((1 + std::exp(x)) * static_cast<Acc>(in.normalizer));
}

// exp(g) of every token, value head and key channel, [T, HV, G].
template <typename Acc>
std::vector<Acc> Decays(const GatedLinearAttentionInputs<Acc>& in) {
  std::vector<Acc> decays(in.num_tokens * in.num_value_heads * GateDim(in));
  const int64_t count = static_cast<int64_t>(decays.size());
#pragma omp parallel for if (InParallel(in))
  for (int64_t i = 0; i < count; ++i) {
    decays[i] = std::exp(std::max(LogDecay(in, in.gate[i]), static_cast<Acc>(in.min_log_decay)));
  }
  return decays;
}

// One head's token: after = Diag(decay) before + k v^T. States [K, V]; `after` may be `before`.
template <typename Acc>
void Step(const GatedLinearAttentionInputs<Acc>& in, const Acc* decays, const Acc* k, const Acc* v,
          const Acc* before, Acc* after) {
  const int64_t V = in.value_dim, G = GateDim(in);
  for (int64_t i = 0; i < in.key_dim; ++i) {
    const Acc decay = G == 0 ? 1 : decays[G == 1 ? 0 : i], ki = k[i];
    const Acc* from = before + i * V;
    Acc* to = after + i * V;
#pragma omp simd
    for (int64_t j = 0; j < V; ++j) to[j] = decay * from[j] + ki * v[j];
  }
}

template <typename Acc>
void StartState(const Acc* given, int64_t size, Acc* state) {
  if (given != nullptr) {
    std::copy_n(given, size, state);
  } else {
    std::fill_n(state, size, Acc{0});
  }
}

// The adjoint of one step. dS holds the gradient of the state after the token on entry and of the
// state before it on return.
template <typename Acc>
void AdjointStep(const GatedLinearAttentionInputs<Acc>& in, const Acc* decays, const Acc* q,
                 const Acc* k, const Acc* v, const Acc* d_o, const Acc* before, const Acc* after,
                 Acc* dS, Acc* dq, Acc* dk, Acc* dv, Acc* dg) {
  const int64_t V = in.value_dim, G = GateDim(in);
  const Acc scale = static_cast<Acc>(in.scale);
  std::fill_n(dv, V, Acc{0});
  std::fill_n(dg, G, Acc{0});
  for (int64_t i = 0; i < in.key_dim; ++i) {
    const Acc decay = G == 0 ? 1 : decays[G == 1 ? 0 : i], ki = k[i], sq = scale * q[i];
    Acc* dS_i = dS + i * V;
    const Acc* before_i = before + i * V;
    const Acc* after_i = after + i * V;
    Acc dq_i = 0, dk_i = 0, dg_i = 0;
#pragma omp simd reduction(+ : dq_i, dk_i, dg_i)
    for (int64_t j = 0; j < V; ++j) {
      const Acc d = dS_i[j] + sq * d_o[j];
      dq_i += after_i[j] * d_o[j];
      dk_i += d * v[j];
      dv[j] += d * ki;
      dS_i[j] = decay * d;
      dg_i += dS_i[j] * before_i[j];
    }
    dq[i] = scale * dq_i;
    dk[i] = dk_i;
    if (G > 0) dg[G == 1 ? 0 : i] += dg_i;
  }
}

}  // namespace

// The oracle: the equations of the header, one token at a time. Documents and value heads are
// independent of each other, so the result does not depend on the number of threads.
template <typename Io>
void GatedLinearAttentionFwd(CpuTag, const GatedLinearAttentionFwdParams<Io>& p) {
  using Acc = AccOf<Io>;
  const GatedLinearAttentionInputs<Io>& in = p.in;
  const int64_t H = in.num_heads, HV = in.num_value_heads, K = in.key_dim, V = in.value_dim;
  const int64_t G = GateDim(in);
  const std::vector<Acc> decays = Decays(in);
#pragma omp parallel if (InParallel(in))
  {
    std::vector<Acc> state(K * V), sum(V);
    Acc* S = state.data();
#pragma omp for schedule(dynamic) collapse(2)
    for (int64_t n = 0; n < in.num_docs; ++n) {
      for (int64_t h = 0; h < HV; ++h) {
        const int64_t nh = n * HV + h;
        StartState(in.h0 == nullptr ? nullptr : in.h0 + nh * K * V, K * V, S);
        for (int64_t t = in.cu_seqlens_host[n]; t < in.cu_seqlens_host[n + 1]; ++t) {
          const int64_t th = t * HV + h, key_row = (t * H + h / (HV / H)) * K;
          Step(in, decays.data() + th * G, in.k + key_row, in.v + th * V, S, S);
          std::fill(sum.begin(), sum.end(), Acc{0});
          for (int64_t i = 0; i < K; ++i) {
            const Acc qi = in.q[key_row + i];
            const Acc* row = S + i * V;
#pragma omp simd
            for (int64_t j = 0; j < V; ++j) sum[j] += qi * row[j];
          }
          for (int64_t j = 0; j < V; ++j) p.o[th * V + j] = static_cast<Acc>(in.scale) * sum[j];
        }
        if (p.ht != nullptr) std::copy_n(S, K * V, p.ht + nh * K * V);
      }
    }
  }
}

template <typename Io>
void GatedLinearAttentionBwd(CpuTag, const GatedLinearAttentionBwdParams<Io>& p) {
  using Acc = AccOf<Io>;
  const GatedLinearAttentionInputs<Io>& in = p.in;
  const int64_t T = in.num_tokens, H = in.num_heads, HV = in.num_value_heads, group = HV / H;
  const int64_t K = in.key_dim, V = in.value_dim, KV = K * V, G = GateDim(in);
  constexpr int64_t C = kCheckpointTokens;
  const std::vector<Acc> decays = Decays(in);
  // One gradient a value head, not yet summed over the heads that share a key head.
  std::vector<Acc> dq(T * HV * K), dk(T * HV * K);
#pragma omp parallel if (InParallel(in))
  {
    std::vector<Acc> checkpoints, states((C + 1) * KV), d_state(KV), dv(V), dg(G);
    const std::vector<Acc> zero_d_o(p.d_o == nullptr ? V : 0);
#pragma omp for schedule(dynamic) collapse(2)
    for (int64_t n = 0; n < in.num_docs; ++n) {
      for (int64_t h = 0; h < HV; ++h) {
        const int64_t nh = n * HV + h, begin = in.cu_seqlens_host[n];
        const int64_t length = in.cu_seqlens_host[n + 1] - begin, chunks = (length + C - 1) / C;
        const auto step = [&](int64_t t, const Acc* before, Acc* after) {
          const int64_t th = t * HV + h;
          Step(in, decays.data() + th * G, in.k + (t * H + h / group) * K, in.v + th * V, before,
               after);
        };
        checkpoints.resize(std::max<int64_t>(chunks, 1) * KV);
        StartState(in.h0 == nullptr ? nullptr : in.h0 + nh * KV, KV, checkpoints.data());
        for (int64_t chunk = 1; chunk < chunks; ++chunk) {
          Acc* S = checkpoints.data() + chunk * KV;
          std::copy_n(S - KV, KV, S);
          for (int64_t c = (chunk - 1) * C; c < chunk * C; ++c) step(begin + c, S, S);
        }
        StartState(p.d_ht == nullptr ? nullptr : p.d_ht + nh * KV, KV, d_state.data());
        for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
          const int64_t first = begin + chunk * C, rows = std::min(C, length - chunk * C);
          std::copy_n(checkpoints.data() + chunk * KV, KV, states.data());
          for (int64_t c = 0; c < rows; ++c) {
            step(first + c, states.data() + c * KV, states.data() + (c + 1) * KV);
          }
          for (int64_t c = rows - 1; c >= 0; --c) {
            const int64_t t = first + c, th = t * HV + h, key_row = (t * H + h / group) * K;
            AdjointStep(in, decays.data() + th * G, in.q + key_row, in.k + key_row, in.v + th * V,
                        p.d_o == nullptr ? zero_d_o.data() : p.d_o + th * V, states.data() + c * KV,
                        states.data() + (c + 1) * KV, d_state.data(), dq.data() + th * K,
                        dk.data() + th * K, dv.data(), dg.data());
            if (p.dv != nullptr) std::copy_n(dv.data(), V, p.dv + th * V);
            for (int64_t i = 0; p.d_gate != nullptr && i < G; ++i) {
              p.d_gate[th * G + i] = GateGradient(in, in.gate[th * G + i], dg[i]);
            }
          }
        }
        if (p.d_h0 != nullptr) std::copy_n(d_state.data(), KV, p.d_h0 + nh * KV);
      }
    }
  }
  // In the order of the value heads.
  const auto sum_groups = [&](const std::vector<Acc>& of_value_heads, Acc* to) {
    if (to == nullptr) return;
    for (int64_t th = 0; th < T * H; ++th) {
      std::copy_n(of_value_heads.data() + th * group * K, K, to + th * K);
      for (int64_t j = 1; j < group; ++j) {
        const Acc* from = of_value_heads.data() + (th * group + j) * K;
        for (int64_t i = 0; i < K; ++i) to[th * K + i] += from[i];
      }
    }
  };
  sum_groups(dq, p.dq);
  sum_groups(dk, p.dk);
}

template void GatedLinearAttentionFwd(CpuTag, const GatedLinearAttentionFwdParams<float>&);
template void GatedLinearAttentionFwd(CpuTag, const GatedLinearAttentionFwdParams<double>&);
template void GatedLinearAttentionBwd(CpuTag, const GatedLinearAttentionBwdParams<float>&);
template void GatedLinearAttentionBwd(CpuTag, const GatedLinearAttentionBwdParams<double>&);

}  // namespace wyvern
