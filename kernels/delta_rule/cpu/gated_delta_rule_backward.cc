#include <algorithm>

#include "kernels/delta_rule/cpu/recurrence.h"

namespace wyvern {
namespace {

template <typename Acc>
Acc Dot(const Acc* x, const Acc* y, int64_t n) {
  Acc sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) sum += x[j] * y[j];
  return sum;
}

// Everything about one token of one value head.
template <typename Acc>
struct Token {
  int64_t K, V, gate_dim;
  Acc scale, beta;
  const Acc *q, *k, *g;       // [K], [K], [gate_dim]
  const Acc* r;               // [V] v - S'^T k
  const Acc* d_out;           // [V]
  const Acc *before, *after;  // [K, V] states
  Acc *dq, *dk, *dv, *dbeta, *dg;
};

// The adjoint of one step. dS holds the gradient of the state after the token on entry and of the
// state before it on return. `e` and `de` are scratch [V].
//
//   dS += s q do^T     dq = s S do      de = dS^T k     dk = dS e, e = beta r
//   dbeta = de . r     dr = beta de     dv = dr         dk -= S' dr
//   dS' = dS - k dr^T  dg_i = sum_v dS' S'              dS <- Diag(e^g) dS'
template <typename Acc>
void AdjointStep(const Token<Acc>& x, Acc* dS, Acc* e, Acc* de) {
  const int64_t V = x.V;
  for (int64_t j = 0; j < V; ++j) {
    e[j] = x.beta * x.r[j];
    de[j] = 0;
  }
  for (int64_t i = 0; i < x.K; ++i) {
    Acc* dS_i = dS + i * V;
    const Acc ki = x.k[i];
    const Acc sq = x.scale * x.q[i];
#pragma omp simd
    for (int64_t j = 0; j < V; ++j) {
      dS_i[j] += sq * x.d_out[j];
      de[j] += ki * dS_i[j];
    }
    x.dq[i] = x.scale * Dot(x.after + i * V, x.d_out, V);
    x.dk[i] = Dot(dS_i, e, V);
  }
  *x.dbeta = Dot(de, x.r, V);
  Acc* dr = x.dv;
  for (int64_t j = 0; j < V; ++j) dr[j] = x.beta * de[j];
  Acc decay = x.gate_dim == 1 ? std::exp(x.g[0]) : 1;
  for (int64_t i = 0; i < x.gate_dim; ++i) x.dg[i] = 0;
  for (int64_t i = 0; i < x.K; ++i) {
    if (x.gate_dim > 1) decay = std::exp(x.g[i]);
    Acc* dS_i = dS + i * V;
    const Acc* before = x.before + i * V;
    const Acc ki = x.k[i];
    Acc dk = 0, dg = 0;
#pragma omp simd reduction(+ : dk, dg)
    for (int64_t j = 0; j < V; ++j) {
      const Acc decayed = decay * before[j];       // S'
      const Acc d_decayed = dS_i[j] - ki * dr[j];  // dS'
      dk += decayed * dr[j];
      dg += d_decayed * decayed;
      dS_i[j] = decay * d_decayed;
    }
    x.dk[i] -= dk;
    if (x.gate_dim > 0) x.dg[x.gate_dim == 1 ? 0 : i] += dg;
  }
}

}  // namespace

template <typename Io>
void GatedDeltaRuleBwd(CpuTag, const GatedDeltaRuleBwdParams<Io>& p) {
  using Acc = AccOf<Io>;
  const GatedDeltaRuleInputs<Io>& in = p.in;
  const int64_t T = in.num_tokens, H = in.num_heads, HV = in.num_value_heads;
  const int64_t K = in.key_dim, V = in.value_dim, KV = K * V;
  constexpr int64_t C = kDeltaCheckpointTokens;
  const DeltaRecurrenceInputs<Acc> core = MakeDeltaRecurrenceInputs(in);
  const Acc* checkpoints = static_cast<const Acc*>(p.workspace);
  std::vector<Acc> recomputed;
  if (checkpoints == nullptr) {
    recomputed.resize(NumDeltaCheckpointElements(in));
    checkpoints = recomputed.data();
    RunDeltaRecurrence(GatedDeltaRuleFwdParams<Io>{.in = in, .workspace = recomputed.data()}, core);
  }
  const int64_t G = core.gate_dim;
  DeltaRecurrenceGrads<Acc> grads;
  grads.dq.resize(T * HV * K);
  grads.dk.resize(T * HV * K);
  grads.dbeta.resize(T * HV);
  grads.dg.resize(T * HV * G);
  std::vector<Acc> unwanted_dv(p.dv == nullptr ? T * HV * V : 0);
  const std::vector<Acc> zero_d_o(p.d_o == nullptr ? V : 0);
  Acc* d_v = p.dv == nullptr ? unwanted_dv.data() : p.dv;
#pragma omp parallel if (DeltaInParallel(in))
  {
    // States around each token of a chunk, recomputed from the checkpoint before it.
    std::vector<Acc> states((C + 1) * KV), r(C * V), d_state(KV), e(V), de(V);
#pragma omp for schedule(dynamic) collapse(2)
    for (int64_t n = 0; n < in.num_docs; ++n) {
      for (int64_t h = 0; h < HV; ++h) {
        const int64_t nh = n * HV + h;
        if (p.d_ht != nullptr) {
          std::copy_n(p.d_ht + nh * KV, KV, d_state.data());
        } else {
          std::fill(d_state.begin(), d_state.end(), Acc{0});
        }
        const int64_t begin = in.cu_seqlens_host[n], length = in.cu_seqlens_host[n + 1] - begin;
        for (int64_t chunk = (length + C - 1) / C - 1; chunk >= 0; --chunk) {
          const int64_t first = begin + chunk * C, rows = std::min(C, length - chunk * C);
          const int64_t slot = DeltaCheckpointSlot(in.cu_seqlens_host, n) + chunk;
          std::copy_n(checkpoints + (slot * HV + h) * KV, KV, states.data());
          const auto key_row = [&](int64_t t) { return (t * H + h / (HV / H)) * K; };
          for (int64_t c = 0; c < rows; ++c) {
            const int64_t t = first + c, th = t * HV + h;
            DeltaStep(K, V, G, core.g.data() + th * G, core.k.data() + key_row(t), in.v + th * V,
                      core.beta[th], states.data() + c * KV, states.data() + (c + 1) * KV,
                      r.data() + c * V);
          }
          for (int64_t c = rows - 1; c >= 0; --c) {
            const int64_t t = first + c, th = t * HV + h;
            const Token<Acc> token = {
                .K = K,
                .V = V,
                .gate_dim = G,
                .scale = static_cast<Acc>(in.scale),
                .beta = core.beta[th],
                .q = core.q.data() + key_row(t),
                .k = core.k.data() + key_row(t),
                .g = core.g.data() + th * G,
                .r = r.data() + c * V,
                .d_out = p.d_o == nullptr ? zero_d_o.data() : p.d_o + th * V,
                .before = states.data() + c * KV,
                .after = states.data() + (c + 1) * KV,
                .dq = grads.dq.data() + th * K,
                .dk = grads.dk.data() + th * K,
                .dv = d_v + th * V,
                .dbeta = grads.dbeta.data() + th,
                .dg = grads.dg.data() + th * G,
            };
            AdjointStep(token, d_state.data(), e.data(), de.data());
          }
        }
        if (p.d_h0 != nullptr) std::copy_n(d_state.data(), KV, p.d_h0 + nh * KV);
      }
    }
  }
  DeltaInputGrad(p, core, grads);
}

template void GatedDeltaRuleBwd(CpuTag, const GatedDeltaRuleBwdParams<float>&);
template void GatedDeltaRuleBwd(CpuTag, const GatedDeltaRuleBwdParams<double>&);

}  // namespace wyvern
