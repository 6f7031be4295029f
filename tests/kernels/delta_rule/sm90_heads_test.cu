// WyHeads and ChunkGradHeads alone, each against fp64 from the same inputs. What the scans would
// give, states and e and their gradients, is random here: the formulas hold for any values.
#include "tests/kernels/delta_rule/sm90_heads.cuh"

namespace wyvern::sm90 {
namespace {

class Sm90Heads : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    std::string why;
    if (!CudaAvailable(&why)) GTEST_SKIP() << why;
    if (CurrentGpu().major != 9) GTEST_SKIP() << "needs a Hopper GPU";
    SetPoison(true);
  }
  void TearDown() override { SetPoison(false); }
};

TEST_P(Sm90Heads, Wy) {
  const Fixture f(GetParam());
  Vector rows = ToHost<float>(f.rows), a = ToHost<Bf16>(f.ut), p = ToHost<Bf16>(f.p);
  const Vector decay = ToHost<float>(f.chunk_decay);
  Vector expected_rows(rows.size()), expected_a(a.size()), expected_p(p.size());
  double decay_error = 0;
  for (size_t i = 0; i < f.chunks.size() * f.value_heads; ++i) {
    const Chunk& chunk = f.chunks[i / f.value_heads];
    const ChunkHead r = f.Reference(chunk, static_cast<int>(i % f.value_heads));
    const int n = chunk.rows;
    if (f.IsNan(chunk)) {
      std::fill_n(rows.begin() + i * kNumRowFactors * kChunk, kNumRowFactors * kChunk, 0);
      std::fill_n(a.begin() + i * kChunk * kChunk, kChunk * kChunk, 0);
      std::fill_n(p.begin() + i * kChunk * kChunk, kChunk * kChunk, 0);
      continue;
    }
    for (int row = 0; row < n; ++row) {
      double& diagonal = a[(i * kChunk + row) * kChunk + row];
      EXPECT_EQ(diagonal, 1);
      diagonal = 0;  // the rest is small beside it
      const double g = std::exp(r.gate[row]), rest = std::exp(r.gate[n - 1] - r.gate[row]);
      const double factors[] = {f.args.scale * r.q_norm[row] * g,
                                r.k_norm[row] * g,
                                r.k_norm[row] * rest,
                                r.beta[row],
                                r.q_norm[row],
                                r.k_norm[row],
                                r.gate[row]};
      for (int factor = 0; factor < 7; ++factor) {
        expected_rows[(i * kNumRowFactors + factor) * kChunk + row] = factors[factor];
      }
      const int64_t at =
          static_cast<int64_t>(chunk.first + row) * f.value_heads + i % f.value_heads;
      const auto [gate_slope, rate_slope] = f.GateGradients(at, 1);
      const bool decays = f.c.decay != DeltaDecay::kNone;
      const double slopes[] = {
          f.c.null_beta ? 0 : f.BetaGradient(at, 1 / (r.beta[row] * r.beta[row])),
          decays ? gate_slope : 0, decays ? rate_slope : 0};
      for (int slope = 0; slope < 3; ++slope) {
        double& x = rows[(i * kNumRowFactors + kBetaSlope + slope) * kChunk + row];
        EXPECT_NEAR(x, slopes[slope], 1e-5 * std::abs(slopes[slope]) + 1e-30) << slope;
        x = 0;  // looked at
      }
      for (int j = 0; j <= row; ++j) {
        expected_a[(i * kChunk + row) * kChunk + j] = j < row ? r.a[row * n + j] : 0;
        expected_p[(i * kChunk + row) * kChunk + j] = r.p[row * n + j];
      }
    }
    if (f.c.decay == DeltaDecay::kNone) continue;
    for (int d = 0; d < f.c.key_dim; ++d) {
      const double expected = std::exp(r.gate[n - 1]);
      decay_error = std::max(decay_error, std::abs(decay[i * f.c.key_dim + d] - expected));
    }
  }
  EXPECT_LE(RmsError(rows, expected_rows), 2e-6);
  EXPECT_LE(RmsError(a, expected_a), 3e-3);
  EXPECT_LE(RmsError(p, expected_p), 3e-3);
  EXPECT_LE(decay_error, 2e-5);
  for (size_t i = 0; i < a.size(); ++i) {
    if (expected_a[i] == 0) ASSERT_EQ(a[i], 0) << i;
    if (expected_p[i] == 0) ASSERT_EQ(p[i], 0) << i;
  }
}

struct Gradients {
  Vector dq, dk, d_beta, d_gate, d_a_log, d_dt_bias;
};

// Stands for the results of the scans: random, of the same sizes.
struct Scanned {
  explicit Scanned(Fixture& f)
      : states(f.random.Normal(f.args.chunk_heads() * f.c.value_dim * f.c.key_dim)),
        d_states(f.random.Normal(f.args.chunk_heads() * f.c.value_dim * f.c.key_dim, 0, 0.1)),
        e(f.random.Normal(f.tokens * f.value_heads * f.c.value_dim)),
        dv(f.random.Normal(f.tokens * f.value_heads * f.c.value_dim, 0, 0.5)),
        d_o(f.random.Normal(f.tokens * f.value_heads * f.c.value_dim, 0, 0.5)) {
    for (size_t i = 0; i < e.size(); ++i) {
      const int64_t at = static_cast<int64_t>(i) / f.c.value_dim;
      const double beta = std::max(std::abs(f.Beta(at)), 1.0 * kMinBetaSm90);
      e[i] = Round(e[i] * beta);
      dv[i] = Round(dv[i] * beta);
    }
  }
  Vector states, d_states, e, dv, d_o;
};

Gradients RunGrad(Fixture& f, const Scanned& scanned) {
  const int64_t keys = f.tokens * f.c.heads * f.c.key_dim, token_heads = f.tokens * f.value_heads;
  const Buffer dq(Device::kCuda, keys * 2), dk(Device::kCuda, keys * 2);
  const Buffer d_beta(Device::kCuda, token_heads * 2), d_gate(Device::kCuda, token_heads * 2);
  const Buffer d_a_log(Device::kCuda, f.value_heads * 4),
      d_dt_bias(Device::kCuda, f.value_heads * 4);
  f.args.states = const_cast<Bf16*>(f.Upload(scanned.states));
  f.args.d_states = const_cast<Bf16*>(f.Upload(scanned.d_states));
  f.args.e = const_cast<Bf16*>(f.Upload(scanned.e));
  f.args.dv = const_cast<Bf16*>(f.Upload(scanned.dv));
  const bool decay = f.c.decay != DeltaDecay::kNone;
  ChunkGradHeads(f.args, f.in, f.Upload(scanned.d_o),
                 {.dq = dq.as<Bf16>(),
                  .dk = dk.as<Bf16>(),
                  .d_beta = d_beta.as<Bf16>(),
                  .d_gate = decay ? d_gate.as<Bf16>() : nullptr,
                  .d_a_log = decay ? d_a_log.as<float>() : nullptr,
                  .d_dt_bias = decay ? d_dt_bias.as<float>() : nullptr},
                 f.Stream());
  return {ToHost<Bf16>(dq),     ToHost<Bf16>(dk),       ToHost<Bf16>(d_beta),
          ToHost<Bf16>(d_gate), ToHost<float>(d_a_log), ToHost<float>(d_dt_bias)};
}

Gradients GradReference(const Fixture& f, const Scanned& in) {
  const int dim = f.c.key_dim, width = f.c.value_dim, heads = f.c.heads;
  Gradients r = {Vector(f.q.size()),    Vector(f.k.size()),    Vector(f.beta.size()),
                 Vector(f.beta.size()), Vector(f.value_heads), Vector(f.value_heads)};
  for (size_t c = 0; c < f.chunks.size() * f.value_heads; ++c) {
    const int first = f.chunks[c / f.value_heads].first, n = f.chunks[c / f.value_heads].rows;
    const int hv = static_cast<int>(c % f.value_heads);
    const ChunkHead x = f.Reference(f.chunks[c / f.value_heads], hv);
    const auto value = [&](const Vector& tensor, int row) {
      return &tensor[((first + row) * f.value_heads + hv) * static_cast<int64_t>(width)];
    };
    const auto dot = [](const double* a, const double* b, int64_t count) {
      return std::inner_product(a, a + count, b, 0.0);
    };
    // to[d] += factor sum_v S[d][v] row[v]
    const auto add_state = [&](const Vector& states, const double* row, double factor, double* to) {
      for (int v = 0; v < width; ++v) {
        const double* state = &states[(c * width + v) * dim];
        for (int d = 0; d < dim; ++d) to[d] += factor * row[v] * state[d];
      }
    };
    Vector dq(n * dim), row_k(n * dim), column_k(n * dim), inter_q(n * dim), bar(n * dim);
    Vector log_decay(n);
    for (int i = 0; i < n; ++i) {
      const double g = std::exp(x.gate[i]), rest = std::exp(x.gate[n - 1] - x.gate[i]);
      add_state(in.states, value(in.d_o, i), f.args.scale * g, &dq[i * dim]);
      add_state(in.states, value(in.dv, i), -g, &row_k[i * dim]);
      add_state(in.d_states, value(in.e, i), rest, &bar[i * dim]);
      for (int t = 0; t <= i; ++t) {
        log_decay[t] += dot(&x.q[i * dim], &dq[i * dim], dim);
        log_decay[t] += dot(&x.k[i * dim], &row_k[i * dim], dim);
      }
      for (int t = i + 1; t < n; ++t) log_decay[t] += dot(&x.k[i * dim], &bar[i * dim], dim);
    }
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j <= i; ++j) {
        const double gamma = std::exp(x.gate[i] - x.gate[j]);
        const double dp = f.args.scale * gamma * dot(value(in.d_o, i), value(in.e, j), width);
        const double dm = i == j ? 0 : -gamma * dot(value(in.dv, i), value(in.e, j), width);
        const double weight = dp * dot(&x.q[i * dim], &x.k[j * dim], dim) +
                              dm * dot(&x.k[i * dim], &x.k[j * dim], dim);
        for (int t = j + 1; t <= i; ++t) log_decay[t] += weight;
        for (int d = 0; d < dim; ++d) {
          dq[i * dim + d] += dp * x.k[j * dim + d];
          row_k[i * dim + d] += dm * x.k[j * dim + d];
          column_k[j * dim + d] += dp * x.q[i * dim + d] + dm * x.k[i * dim + d];
        }
      }
    }
    const double state_dot =
        std::exp(x.gate[n - 1]) * dot(&in.states[c * width * dim], &in.d_states[c * width * dim],
                                      static_cast<int64_t>(width) * dim);
    for (int i = 0; i < n; ++i) {
      const int64_t at = static_cast<int64_t>(first + i) * f.value_heads + hv;
      const double beta = x.beta[i], floored = std::max(std::abs(beta), 1.0 * kMinBetaSm90);
      const double d_beta = dot(value(in.dv, i), value(in.e, i), width) / (floored * floored);
      r.d_beta[at] = f.BetaGradient(at, d_beta);
      const auto [d_gate, d_a_log] = f.GateGradients(at, log_decay[i] + state_dot);
      r.d_gate[at] = d_gate;
      r.d_dt_bias[hv] += d_gate;
      r.d_a_log[hv] += d_a_log;
      // The norm's backward is linear: head by head.
      const int64_t out = (static_cast<int64_t>(first + i) * heads + hv / f.c.group) * dim;
      const auto add_grad = [&](const Vector& unit, double norm, const double* d, Vector& to) {
        const double along = f.c.l2_norm ? dot(d, &unit[i * dim], dim) : 0;
        for (int l = 0; l < dim; ++l) to[out + l] += norm * (d[l] - along * unit[i * dim + l]);
      };
      for (int d = 0; d < dim; ++d) row_k[i * dim + d] += column_k[i * dim + d] + bar[i * dim + d];
      add_grad(x.q, x.q_norm[i], &dq[i * dim], r.dq);
      add_grad(x.k, x.k_norm[i], &row_k[i * dim], r.dk);
    }
  }
  return r;
}

// RmsError of what rounding x to bf16 does not explain.
double RmsErrorBeyondRounding(Vector x, const Vector& expected) {
  for (size_t i = 0; i < x.size(); ++i) {
    const double rounding = std::abs(expected[i]) / 256;
    if (std::abs(x[i] - expected[i]) <= rounding) {
      x[i] = expected[i];
    } else {
      x[i] -= std::copysign(rounding, x[i] - expected[i]);
    }
  }
  return RmsError(x, expected);
}

TEST_P(Sm90Heads, ChunkGrad) {
  Fixture f(GetParam());
  const Scanned scanned(f);
  Gradients grads = RunGrad(f, scanned), expected = GradReference(f, scanned);
  for (const Chunk& chunk : f.chunks) {
    if (!f.IsNan(chunk)) continue;
    for (auto member : {&Gradients::dq, &Gradients::dk, &Gradients::d_beta, &Gradients::d_gate}) {
      const int64_t row = (grads.*member).size() / f.tokens;
      for (Vector* x : {&(grads.*member), &(expected.*member)}) {
        std::fill_n(x->begin() + chunk.first * row, chunk.rows * row, 0);
      }
    }
  }
  EXPECT_LE(RmsError(grads.dq, expected.dq), 5e-3);
  EXPECT_LE(RmsError(grads.dk, expected.dk), 5e-3);
  if (!f.c.null_beta) EXPECT_LE(RmsError(grads.d_beta, expected.d_beta), 5e-3);
  if (f.c.decay == DeltaDecay::kNone) return;
  EXPECT_LE(RmsErrorBeyondRounding(grads.d_gate, expected.d_gate), 1e-4);
  if (f.c.nan_beside) return;
  EXPECT_LE(RmsError(grads.d_a_log, expected.d_a_log), 2e-4);
  EXPECT_LE(RmsError(grads.d_dt_bias, expected.d_dt_bias), 2e-4);
}

INSTANTIATE_TEST_SUITE_P(Cases, Sm90Heads, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace wyvern::sm90
