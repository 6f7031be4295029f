// The passes of the Hopper path that know a decay per channel, each on its own against fp64: given
// random states, e and dv instead of those of the scans.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/kernels/delta_rule/sm90_channels.cuh"

namespace wyvern::sm90 {
namespace {

// [.., 64, 64] less its unit diagonal, beside which the rest is small.
Values WithoutDiagonal(Values x) {
  for (size_t i = 0; i < x.size(); ++i) {
    if (i / kChunk % kChunk == i % kChunk) x[i] -= std::round(x[i]);
  }
  return x;
}

class Sm90Channels : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (std::string why; !CudaAvailable(&why)) GTEST_SKIP() << why;
    if (CurrentGpu().major != 9) GTEST_SKIP() << "needs a Hopper GPU";
  }
};

TEST_P(Sm90Channels, WyMatchesFp64) {
  const Case& c = GetParam();
  const Inputs in = MakeInputs(c);
  OnDevice gpu(c, in);
  const cudaStream_t stream = ToStream(ComputeStream());
  WyChannels(gpu.args, gpu.inputs, stream);
  const int64_t K = in.key_dim, HV = in.value_heads;
  Values rows(in.chunks.size() * HV * kNumRowFactors * kChunk), decay(in.chunks.size() * HV * K);
  Values ut(in.chunks.size() * HV * kChunk * kChunk), p = ut;
  Values q_operand(in.gate.size()), k_operand = q_operand, k_bar = q_operand;
  for (size_t chunk = 0; chunk < in.chunks.size(); ++chunk) {
    for (int64_t hv = 0; hv < HV; ++hv) {
      const Reference r = MakeReference(c, in, in.chunks[chunk], hv);
      const int64_t at = chunk * HV + hv, n = r.rows;
      for (int64_t i = 0; i < n; ++i) {
        const double factors[kNumRowFactors] = {in.scale,     1, 1, r.beta[i], r.query_norm[i],
                                                r.key_norm[i]};
        for (int f = 0; f < kNumRowFactors; ++f) {
          rows[(at * kNumRowFactors + f) * kChunk + i] = factors[f];
        }
        const int64_t token_head = (in.chunks[chunk].first + i) * HV + hv;
        for (int64_t d = 0; d < K; ++d) {
          const double sum = r.sum[i * K + d], last = r.sum[(n - 1) * K + d];
          q_operand[token_head * K + d] = std::exp(sum) * r.q[i * K + d];
          k_operand[token_head * K + d] = std::exp(sum) * r.k[i * K + d];
          k_bar[token_head * K + d] = std::exp(last - sum) * r.k[i * K + d];
          decay[at * K + d] = std::exp(last);
        }
        for (int64_t j = 0; j < n; ++j) {
          ut[(at * kChunk + i) * kChunk + j] = r.ut[i * n + j];
          p[(at * kChunk + i) * kChunk + j] = r.p[i * n + j];
        }
      }
    }
  }
  EXPECT_LE(RelativeError(gpu.rows.Read(), rows), 1e-6);
  EXPECT_LE(RelativeError(gpu.chunk_decay.Read(), decay), 1e-4);
  EXPECT_LE(RelativeError(WithoutDiagonal(gpu.ut.Read()), WithoutDiagonal(ut)), 4e-3);
  EXPECT_LE(RelativeError(gpu.p.Read(), p), 4e-3);
  const Values operands[] = {gpu.q_operand.Read(), gpu.k_operand.Read(), gpu.k_bar.Read()};
  EXPECT_LE(RelativeError(operands[0], q_operand), 2.5e-3);
  EXPECT_LE(RelativeError(operands[1], k_operand), 2.5e-3);
  EXPECT_LE(RelativeError(operands[2], k_bar), 2.5e-3);

  // The same operands alone, bit by bit.
  for (const Bf16* operand : {gpu.args.q_operand, gpu.args.k_operand, gpu.args.k_bar}) {
    FillBytes(const_cast<Bf16*>(operand), Device::kCuda, 0xff, in.gate.size() * sizeof(Bf16));
  }
  ChannelOperands(gpu.args, gpu.inputs, stream);
  EXPECT_EQ(gpu.q_operand.Read(), operands[0]);
  EXPECT_EQ(gpu.k_operand.Read(), operands[1]);
  EXPECT_EQ(gpu.k_bar.Read(), operands[2]);
}

// Gradients of one chunk and value head, added to those of all.
struct Gradients {
  Values dq, dk, d_beta, d_gate, d_a_log, d_dt_bias;
};

// sum over value columns of x[.. + v] y[.. + v * stride]
double Dot(const Values& x, int64_t at_x, const Values& y, int64_t at_y, int64_t stride,
           int64_t V) {
  double sum = 0;
  for (int64_t v = 0; v < V; ++v) sum += x[at_x + v] * y[at_y + v * stride];
  return sum;
}

void AddGradients(const Case& c, const Inputs& in, size_t chunk_index, int64_t hv, Gradients* out) {
  const Chunk& chunk = in.chunks[chunk_index];
  const Reference r = MakeReference(c, in, chunk, hv);
  const int64_t n = r.rows, K = in.key_dim, V = in.value_dim, HV = in.value_heads;
  const int64_t state = (chunk_index * HV + hv) * V * K;
  const auto token_head = [&](int64_t i) { return (chunk.first + i) * HV + hv; };
  Values dq(n * K), a(n * K), b(n * K), dg(n * K), dp(n * n), dm(n * n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      dp[i * n + j] = in.scale * Dot(in.d_o, token_head(i) * V, in.e, token_head(j) * V, 1, V);
      if (i > j) dm[i * n + j] = -Dot(in.dv, token_head(i) * V, in.e, token_head(j) * V, 1, V);
    }
  }
  for (int64_t d = 0; d < K; ++d) {
    const double last = r.sum[(n - 1) * K + d];
    double before = 0;
    for (int64_t v = 0; v < V; ++v) {
      before += std::exp(last) * in.states[state + v * K + d] * in.d_states[state + v * K + d];
    }
    for (int64_t i = 0; i < n; ++i) {
      const double decay = std::exp(r.sum[i * K + d]);
      dq[i * K + d] +=
          in.scale * decay * Dot(in.d_o, token_head(i) * V, in.states, state + d, K, V);
      a[i * K + d] -= decay * Dot(in.dv, token_head(i) * V, in.states, state + d, K, V);
      const double z = std::exp(last - r.sum[i * K + d]) *
                       Dot(in.e, token_head(i) * V, in.d_states, state + d, K, V);
      dg[i * K + d] += before;  // of this row: kbar Z of those before it
      before += r.k[i * K + d] * z;
      double columns = 0;
      for (int64_t j = 0; j < i; ++j) {
        dq[i * K + d] += dp[i * n + j] * r.k[j * K + d] * r.Decay(i, j, d, K);
        a[i * K + d] += dm[i * n + j] * r.k[j * K + d] * r.Decay(i, j, d, K);
      }
      dq[i * K + d] += dp[i * n + i] * r.k[i * K + d];
      for (int64_t l = i; l < n; ++l) {
        columns +=
            (dp[l * n + i] * r.q[l * K + d] + dm[l * n + i] * r.k[l * K + d]) * r.Decay(l, i, d, K);
      }
      b[i * K + d] = columns + z;
      // The row adds this to dg of itself and of those before it.
      const double part =
          r.q[i * K + d] * dq[i * K + d] + r.k[i * K + d] * (a[i * K + d] - columns);
      for (int64_t t = 0; t <= i; ++t) dg[t * K + d] += part;
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    const int64_t t = chunk.first + i, at = token_head(i);
    const int64_t key_row = (t * in.heads + hv / in.group) * K;
    double q_along = 0, k_along = 0;
    for (int64_t d = 0; d < K; ++d) {
      q_along += dq[i * K + d] * r.q[i * K + d];
      k_along += (a[i * K + d] + b[i * K + d]) * r.k[i * K + d];
    }
    if (!c.l2_norm) q_along = k_along = 0;
    for (int64_t d = 0; d < K; ++d) {
      out->dq[key_row + d] += r.query_norm[i] * (dq[i * K + d] - q_along * r.q[i * K + d]);
      out->dk[key_row + d] +=
          r.key_norm[i] * (a[i * K + d] + b[i * K + d] - k_along * r.k[i * K + d]);
      const double g = dg[i * K + d];
      double dx = g, da = 0;
      if (in.form != DeltaGate::kLogDecay) {
        const double x = in.gate[at * K + d] + in.dt_bias[hv * K + d],
                     rate = std::exp(in.a_log[hv]);
        if (in.form == DeltaGate::kSoftplus) {
          dx = -g * rate * Sigmoid(x);
          da = g * r.g[i * K + d];
        } else {
          const double m = g * in.lower_bound * Sigmoid(rate * x) * Sigmoid(-rate * x);
          dx = m * rate;
          da = m * rate * x;
        }
      }
      out->d_gate[at * K + d] = dx;
      out->d_dt_bias[hv * K + d] += dx;
      out->d_a_log[hv] += da;
    }
    const double d_beta = Dot(in.dv, at * V, in.e, at * V, 1, V) / (r.beta[i] * r.beta[i]);
    const double sigmoid = Sigmoid(in.beta[at]);
    out->d_beta[at] =
        c.beta_form == DeltaBeta::kGiven
            ? d_beta
            : d_beta * sigmoid * (1 - sigmoid) * (c.beta_form == DeltaBeta::kTwiceSigmoid ? 2 : 1);
  }
}

TEST_P(Sm90Channels, ChunkGradMatchesFp64) {
  const Case& c = GetParam();
  const Inputs in = MakeInputs(c);
  OnDevice gpu(c, in);
  const cudaStream_t stream = ToStream(ComputeStream());
  WyChannels(gpu.args, gpu.inputs, stream);
  const int64_t HV = in.value_heads, K = in.key_dim;
  const OnGpu<Bf16> dq(in.q.size()), dk(in.k.size()), d_beta(in.beta.size());
  const OnGpu<Bf16> d_gate(in.gate.size());
  const OnGpu<float> d_a_log(HV), d_dt_bias(HV * K);
  ChunkGradChannels(gpu.args, gpu.inputs, gpu.d_o.data(),
                    {.dq = dq.data(),
                     .dk = dk.data(),
                     .d_beta = d_beta.data(),
                     .d_gate = d_gate.data(),
                     .d_a_log = d_a_log.data(),
                     .d_dt_bias = d_dt_bias.data()},
                    stream);
  Gradients r;
  r.dq.assign(in.q.size(), 0);
  r.dk = r.dq;
  r.d_beta.assign(in.beta.size(), 0);
  r.d_gate.assign(in.gate.size(), 0);
  r.d_a_log.assign(HV, 0);
  r.d_dt_bias.assign(HV * K, 0);
  for (size_t chunk = 0; chunk < in.chunks.size(); ++chunk) {
    for (int64_t hv = 0; hv < HV; ++hv) AddGradients(c, in, chunk, hv, &r);
  }
  EXPECT_LE(RelativeError(dq.Read(), r.dq), 5e-3);
  EXPECT_LE(RelativeError(dk.Read(), r.dk), 5e-3);
  EXPECT_LE(RelativeError(d_beta.Read(), r.d_beta), 5e-3);
  EXPECT_LE(RelativeError(d_gate.Read(), r.d_gate), 6e-3);
  if (in.form != DeltaGate::kLogDecay) {
    EXPECT_LE(RelativeError(d_dt_bias.Read(), r.d_dt_bias), 6e-3);
    EXPECT_LE(RelativeError(d_a_log.Read(), r.d_a_log), 8e-3);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Sm90Channels, testing::ValuesIn(kCases), [](const auto& info) {
  std::string name;
  for (const char letter : info.param.name) {
    if (std::isalnum(letter)) name += letter;
  }
  return name;
});

}  // namespace
}  // namespace wyvern::sm90
