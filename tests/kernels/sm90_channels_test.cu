// The passes of the Hopper path that know a decay per channel, each on its own against fp64: given
// random states, e and dv instead of those of the serial passes.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/sm90/delta.cuh"
#include "kernels/runtime/allocator.h"

namespace wyvern::sm90 {
namespace {

using Values = std::vector<double>;

enum class Gates { kMild, kSpiky, kMamba, kCheckpoint, kBounded, kOneOff };

struct Case {
  std::string name;
  std::vector<int> lengths;
  int heads, group, key_dim, value_dim;
  Gates gates;
  DeltaBeta beta_form;
  bool l2_norm;
};

const Case kCases[] = {
    {"whole chunks", {128}, 4, 1, 128, 128, Gates::kMamba, DeltaBeta::kSigmoid, true},
    {"short documents", {1, 63, 65, 2, 30}, 2, 1, 128, 64, Gates::kMild, DeltaBeta::kGiven, true},
    {"narrow", {64, 17}, 1, 2, 64, 256, Gates::kBounded, DeltaBeta::kTwiceSigmoid, true},
    {"trained", {64, 100}, 4, 1, 128, 128, Gates::kCheckpoint, DeltaBeta::kSigmoid, true},
    {"trained, narrow", {77}, 3, 2, 64, 64, Gates::kCheckpoint, DeltaBeta::kTwiceSigmoid, true},
    {"spiky", {90}, 1, 1, 128, 64, Gates::kSpiky, DeltaBeta::kSigmoid, false},
    {"no decay in one head", {70}, 2, 1, 64, 64, Gates::kOneOff, DeltaBeta::kSigmoid, true},
};

Bf16 ToBf16Host(double x) {
  uint32_t bits;
  const float f = static_cast<float>(x);
  std::memcpy(&bits, &f, sizeof(bits));
  bits += 0x7fff + (bits >> 16 & 1);
  return Bf16{static_cast<uint16_t>(bits >> 16)};
}
double FromBf16Host(Bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float f;
  std::memcpy(&f, &bits, sizeof(f));
  return f;
}

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double Softplus(double x) { return x > 40 ? x : std::log1p(std::exp(x)); }

// RMS(x - reference) / RMS(reference); the absolute RMS where the reference is zero.
double RelativeError(const Values& x, const Values& reference) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += (x[i] - reference[i]) * (x[i] - reference[i]);
    size += reference[i] * reference[i];
  }
  return std::sqrt(difference / (size > 0 ? size : static_cast<double>(x.size())));
}

// A tensor on the GPU.
template <typename T>
class OnGpu {
 public:
  explicit OnGpu(size_t count) : buffer_(Device::kCuda, count * sizeof(T)), count_(count) {
    FillBytes(buffer_.data(), Device::kCuda, 0xff, count * sizeof(T));
  }
  explicit OnGpu(const std::vector<T>& values) : OnGpu(values.size()) {
    CopyBytes(data(), Device::kCuda, values.data(), Device::kCpu, count_ * sizeof(T));
  }
  T* data() const { return buffer_.template as<T>(); }
  Values Read() const {
    std::vector<T> values(count_);
    CopyBytes(values.data(), Device::kCpu, data(), Device::kCuda, count_ * sizeof(T));
    Values result;
    for (const T x : values) {
      if constexpr (std::is_same_v<T, Bf16>) {
        result.push_back(FromBf16Host(x));
      } else {
        result.push_back(x);
      }
    }
    return result;
  }

 private:
  Buffer buffer_;
  size_t count_;
};

// Inputs of a case, rounded as the kernels see them.
struct Inputs {
  int64_t tokens = 0, heads = 0, value_heads = 0, key_dim = 0, value_dim = 0;
  int group = 1;
  DeltaGate form = DeltaGate::kLogDecay;
  double scale = 0.11, lower_bound = -5;
  std::vector<Chunk> chunks;
  Values q, k, gate, beta, a_log, dt_bias;  // a_log, dt_bias: empty for kLogDecay
  Values states, d_states, e, dv, d_o;      // states as [NC, HV, V, K]
};

class Draw {
 public:
  explicit Draw(int seed) : engine_(seed) {}
  double Normal() { return normal_(engine_); }
  double Uniform(double low, double high) {
    return low + (high - low) * std::uniform_real_distribution<double>()(engine_);
  }
  Values Normals(int64_t count, double size = 1) {
    Values x(count);
    for (double& value : x) value = FromBf16Host(ToBf16Host(size * Normal()));
    return x;
  }

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<double> normal_;
};

Inputs MakeInputs(const Case& c) {
  Inputs in;
  Draw draw(static_cast<int>(c.name.size()) * 1000 + c.key_dim);
  for (size_t n = 0; n < c.lengths.size(); ++n) {
    for (int at = 0; at < c.lengths[n]; at += kChunk) {
      in.chunks.push_back({static_cast<int>(in.tokens) + at, std::min(kChunk, c.lengths[n] - at),
                           static_cast<int>(n), 0});
    }
    in.tokens += c.lengths[n];
  }
  in.heads = c.heads;
  in.group = c.group;
  in.value_heads = c.heads * c.group;
  in.key_dim = c.key_dim;
  in.value_dim = c.value_dim;
  const int64_t token_heads = in.tokens * in.value_heads, K = c.key_dim, V = c.value_dim;
  in.q = draw.Normals(in.tokens * c.heads * K, c.l2_norm ? 2 : 0.1);
  in.k = draw.Normals(in.tokens * c.heads * K, c.l2_norm ? 2 : 0.09);
  in.beta = draw.Normals(token_heads);
  if (c.beta_form == DeltaBeta::kGiven) {
    for (double& b : in.beta) b = FromBf16Host(ToBf16Host(draw.Uniform(0, 1)));
  }
  const bool trained = c.gates == Gates::kCheckpoint;
  in.gate = draw.Normals(token_heads * K, 2);
  if (c.gates == Gates::kMild || c.gates == Gates::kSpiky) {
    for (double& g : in.gate) {
      const double u = draw.Uniform(0, 1);
      g = c.gates == Gates::kMild ? -Softplus(-g) : u < 0.02 ? -1e4 : u < 0.1 ? -2661 : -0.5 * u;
      g = FromBf16Host(ToBf16Host(g));
    }
  } else {
    in.form = c.gates == Gates::kBounded ? DeltaGate::kBounded : DeltaGate::kSoftplus;
    for (int64_t h = 0; h < in.value_heads; ++h) {
      in.a_log.push_back(static_cast<float>(std::log(draw.Uniform(1, trained ? 201 : 4))));
    }
    if (c.gates == Gates::kOneOff) in.a_log[0] = -INFINITY;
    for (int64_t i = 0; i < in.value_heads * K; ++i) {
      in.dt_bias.push_back(
          static_cast<float>(c.gates == Gates::kBounded ? draw.Normal()
                             : trained                  ? -3 + 4 * draw.Normal()
                                       : std::log(std::expm1(std::exp(draw.Uniform(-7, -2.3))))));
    }
  }
  const int64_t chunk_heads = static_cast<int64_t>(in.chunks.size()) * in.value_heads;
  in.states = draw.Normals(chunk_heads * K * V, 0.5);
  in.d_states = draw.Normals(chunk_heads * K * V, 0.5);
  in.e = draw.Normals(token_heads * V);
  in.dv = draw.Normals(token_heads * V);
  in.d_o = draw.Normals(token_heads * V);
  return in;
}

// What a chunk of one value head knows, in fp64; [rows][K] and [rows][rows].
struct Reference {
  int rows;
  Values q, k, query_norm, key_norm, g, sum, beta;  // q, k of unit length; g not clamped
  Values p, a_inv, m;                               // m without beta

  double Decay(int64_t i, int64_t j, int64_t d, int64_t K) const {
    return std::exp(sum[i * K + d] - sum[j * K + d]);
  }
};

Reference MakeReference(const Case& c, const Inputs& in, const Chunk& chunk, int64_t hv) {
  Reference r;
  const int64_t n = r.rows = chunk.rows, K = in.key_dim;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t t = chunk.first + i, token_head = t * in.value_heads + hv;
    const int64_t key_row = (t * in.heads + hv / in.group) * K;
    double q_square = 1e-6, k_square = 1e-6;
    for (int64_t d = 0; d < K; ++d) {
      q_square += in.q[key_row + d] * in.q[key_row + d];
      k_square += in.k[key_row + d] * in.k[key_row + d];
    }
    r.query_norm.push_back(c.l2_norm ? 1 / std::sqrt(q_square) : 1);
    r.key_norm.push_back(c.l2_norm ? 1 / std::sqrt(k_square) : 1);
    const double b = in.beta[token_head];
    r.beta.push_back(c.beta_form == DeltaBeta::kGiven     ? b
                     : c.beta_form == DeltaBeta::kSigmoid ? Sigmoid(b)
                                                          : 2 * Sigmoid(b));
    for (int64_t d = 0; d < K; ++d) {
      r.q.push_back(in.q[key_row + d] * r.query_norm[i]);
      r.k.push_back(in.k[key_row + d] * r.key_norm[i]);
      const double raw = in.gate[token_head * K + d];
      double g = raw;
      if (in.form != DeltaGate::kLogDecay) {
        const double x = raw + in.dt_bias[hv * K + d], a = std::exp(in.a_log[hv]);
        g = in.form == DeltaGate::kSoftplus ? -a * Softplus(x) : in.lower_bound * Sigmoid(a * x);
      }
      r.g.push_back(g);
      r.sum.push_back((i > 0 ? r.sum[(i - 1) * K + d] : 0) + g);
    }
  }
  r.p.assign(n * n, 0);
  r.m.assign(n * n, 0);
  r.a_inv.assign(n * n, 0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      for (int64_t d = 0; d < K; ++d) {
        const double decayed = r.k[j * K + d] * r.Decay(i, j, d, K);
        r.p[i * n + j] += in.scale * r.q[i * K + d] * decayed;
        if (i > j) r.m[i * n + j] += r.k[i * K + d] * decayed;
      }
    }
    r.a_inv[i * n + i] = 1;
    for (int64_t l = 0; l < i; ++l) {
      for (int64_t j = 0; j <= l; ++j) {
        r.a_inv[i * n + j] -= r.beta[i] * r.m[i * n + l] * r.a_inv[l * n + j];
      }
    }
  }
  return r;
}

std::vector<Bf16> Round(const Values& x) {
  std::vector<Bf16> result;
  for (const double value : x) result.push_back(ToBf16Host(value));
  return result;
}
std::vector<float> Floats(const Values& x) { return std::vector<float>(x.begin(), x.end()); }

// The buffers of one case and the contract's view of them.
struct OnDevice {
  OnDevice(const Case& c, const Inputs& in)
      : q(Round(in.q)),
        k(Round(in.k)),
        gate(Round(in.gate)),
        beta(Round(in.beta)),
        a_log(Floats(in.a_log)),
        dt_bias(Floats(in.dt_bias)),
        states(Round(in.states)),
        d_states(Round(in.d_states)),
        e(Round(in.e)),
        dv(Round(in.dv)),
        d_o(Round(in.d_o)),
        chunks(in.chunks),
        rows(in.chunks.size() * in.value_heads * kNumRowFactors * kChunk),
        chunk_decay(in.chunks.size() * in.value_heads * in.key_dim),
        a_inv(in.chunks.size() * in.value_heads * kChunk * kChunk),
        p(in.chunks.size() * in.value_heads * kChunk * kChunk),
        q_operand(in.gate.size()),
        k_operand(in.gate.size()),
        k_bar(in.gate.size()) {
    args.num_chunks = static_cast<int>(in.chunks.size());
    args.num_docs = static_cast<int>(c.lengths.size());
    args.num_tokens = in.tokens;
    args.heads = static_cast<int>(in.heads);
    args.value_heads = static_cast<int>(in.value_heads);
    args.group = in.group;
    args.key_dim = static_cast<int>(in.key_dim);
    args.value_dim = static_cast<int>(in.value_dim);
    args.decay = DeltaDecay::kPerChannel;
    args.scale = static_cast<float>(in.scale);
    args.chunks = chunks.data();
    args.rows = rows.data();
    args.chunk_decay = chunk_decay.data();
    args.a_inv = a_inv.data();
    args.p = p.data();
    args.q_operand = q_operand.data();
    args.k_operand = k_operand.data();
    args.k_bar = k_bar.data();
    args.states = states.data();
    args.d_states = d_states.data();
    args.e = e.data();
    args.dv = dv.data();
    inputs.num_tokens = in.tokens;
    inputs.num_heads = in.heads;
    inputs.num_value_heads = in.value_heads;
    inputs.key_dim = in.key_dim;
    inputs.value_dim = in.value_dim;
    inputs.decay = DeltaDecay::kPerChannel;
    inputs.gate_form = in.form;
    inputs.beta_form = c.beta_form;
    inputs.l2_norm = c.l2_norm;
    inputs.lower_bound = in.lower_bound;
    inputs.scale = in.scale;
    inputs.q = q.data();
    inputs.k = k.data();
    inputs.gate = gate.data();
    inputs.beta = beta.data();
    if (!in.a_log.empty()) inputs.a_log = a_log.data();
    if (!in.dt_bias.empty()) inputs.dt_bias = dt_bias.data();
  }

  OnGpu<Bf16> q, k, gate, beta;
  OnGpu<float> a_log, dt_bias;
  OnGpu<Bf16> states, d_states, e, dv, d_o;
  OnGpu<Chunk> chunks;
  OnGpu<float> rows, chunk_decay;
  OnGpu<Bf16> a_inv, p, q_operand, k_operand, k_bar;
  Args args;
  GatedDeltaRuleInputs<Bf16> inputs;
};

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

TEST_P(Sm90Channels, PrepareMatchesFp64) {
  const Case& c = GetParam();
  const Inputs in = MakeInputs(c);
  OnDevice gpu(c, in);
  const cudaStream_t stream = ToStream(ComputeStream());
  PrepareChannels(gpu.args, gpu.inputs, stream);
  const int64_t K = in.key_dim, HV = in.value_heads;
  Values rows(in.chunks.size() * HV * kNumRowFactors * kChunk), decay(in.chunks.size() * HV * K);
  Values a_inv(in.chunks.size() * HV * kChunk * kChunk), p = a_inv;
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
          a_inv[(at * kChunk + i) * kChunk + j] = r.a_inv[i * n + j];
          p[(at * kChunk + i) * kChunk + j] = r.p[i * n + j];
        }
      }
    }
  }
  EXPECT_LE(RelativeError(gpu.rows.Read(), rows), 1e-6);
  EXPECT_LE(RelativeError(gpu.chunk_decay.Read(), decay), 1e-4);
  EXPECT_LE(RelativeError(WithoutDiagonal(gpu.a_inv.Read()), WithoutDiagonal(a_inv)), 4e-3);
  EXPECT_LE(RelativeError(gpu.p.Read(), p), 4e-3);
  const Values operands[] = {gpu.q_operand.Read(), gpu.k_operand.Read(), gpu.k_bar.Read()};
  EXPECT_LE(RelativeError(operands[0], q_operand), 2.5e-3);
  EXPECT_LE(RelativeError(operands[1], k_operand), 2.5e-3);
  EXPECT_LE(RelativeError(operands[2], k_bar), 2.5e-3);

  // The same operands alone, bit by bit.
  for (const Bf16* operand : {gpu.args.q_operand, gpu.args.k_operand, gpu.args.k_bar}) {
    FillBytes(const_cast<Bf16*>(operand), Device::kCuda, 0xff, in.gate.size() * sizeof(Bf16));
  }
  PrepareOperands(gpu.args, gpu.inputs, stream);
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
      // What the row adds to dg of itself and of those before it.
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

TEST_P(Sm90Channels, GradMatchesFp64) {
  const Case& c = GetParam();
  const Inputs in = MakeInputs(c);
  OnDevice gpu(c, in);
  const cudaStream_t stream = ToStream(ComputeStream());
  PrepareChannels(gpu.args, gpu.inputs, stream);
  const int64_t HV = in.value_heads, K = in.key_dim;
  const OnGpu<Bf16> dq(in.q.size()), dk(in.k.size()), d_beta(in.beta.size());
  const OnGpu<Bf16> d_gate(in.gate.size());
  const OnGpu<float> d_a_log(HV), d_dt_bias(HV * K);
  GradChannels(gpu.args, gpu.inputs, gpu.d_o.data(), dq.data(), dk.data(), d_beta.data(),
               d_gate.data(), d_a_log.data(), d_dt_bias.data(), stream);
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
