// Cases of the Hopper path's passes that know a decay per channel, and what they should give, in
// fp64 (sm90_channels_test.cu).
#pragma once

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/delta_rule/sm90/passes.cuh"
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

// The matrices of a chunk of one value head, in fp64; [rows][K] and [rows][rows].
struct Reference {
  int rows;
  Values q, k, query_norm, key_norm, g, sum, beta;  // q, k of unit length; g not clamped
  Values p, ut, m;                                  // m without beta

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
  r.ut.assign(n * n, 0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      for (int64_t d = 0; d < K; ++d) {
        const double decayed = r.k[j * K + d] * r.Decay(i, j, d, K);
        r.p[i * n + j] += in.scale * r.q[i * K + d] * decayed;
        if (i > j) r.m[i * n + j] += r.k[i * K + d] * decayed;
      }
    }
    r.ut[i * n + i] = 1;
    for (int64_t l = 0; l < i; ++l) {
      for (int64_t j = 0; j <= l; ++j) {
        r.ut[i * n + j] -= r.beta[i] * r.m[i * n + l] * r.ut[l * n + j];
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
        ut(in.chunks.size() * in.value_heads * kChunk * kChunk),
        p(in.chunks.size() * in.value_heads * kChunk * kChunk),
        q_operand(in.gate.size()),
        k_operand(in.gate.size()),
        k_bar(in.gate.size()) {
    args.num_chunks = static_cast<int>(in.chunks.size());
    args.num_sms = CurrentGpu().num_sms;
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
    args.ut = ut.data();
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
  OnGpu<Bf16> ut, p, q_operand, k_operand, k_bar;
  Args args;
  GatedDeltaRuleInputs<Bf16> inputs;
};

}  // namespace
}  // namespace wyvern::sm90
