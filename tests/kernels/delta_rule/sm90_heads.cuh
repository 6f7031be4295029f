// Inputs of WyHeads and ChunkGradHeads, on the host in fp64 and on the device.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/delta_rule/sm90/passes.cuh"
#include "kernels/runtime/allocator.h"

namespace wyvern::sm90 {
namespace {

using Vector = std::vector<double>;

struct Case {
  std::string name;
  std::vector<int> lengths;  // of the documents
  int heads = 1, group = 1, key_dim = 128, value_dim = 128;
  DeltaDecay decay = DeltaDecay::kPerHead;
  DeltaGate gate_form = DeltaGate::kSoftplus;
  DeltaBeta beta_form = DeltaBeta::kSigmoid;
  bool l2_norm = true, near_identical_keys = false, null_beta = false;
  bool nan_beside = false;  // the last document is NaN, and not looked at
  double gate_scale = 1;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  cases.push_back({"gated", {64, 70, 0, 1, 63, 130}, 2});
  cases.push_back({.name = "plain", .lengths = {65, 127}, .heads = 3, .decay = DeltaDecay::kNone});
  cases.push_back({.name = "narrow",
                   .lengths = {100, 28},
                   .heads = 2,
                   .group = 2,
                   .key_dim = 64,
                   .value_dim = 256,
                   .gate_form = DeltaGate::kLogDecay,
                   .beta_form = DeltaBeta::kGiven});
  cases.push_back({.name = "narrow_plain",
                   .lengths = {17, 64},
                   .key_dim = 64,
                   .value_dim = 64,
                   .decay = DeltaDecay::kNone,
                   .beta_form = DeltaBeta::kGiven,
                   .l2_norm = false,
                   .null_beta = true});
  cases.push_back({.name = "grouped",
                   .lengths = {90, 64},
                   .heads = 2,
                   .group = 3,
                   .value_dim = 64,
                   .gate_form = DeltaGate::kBounded,
                   .beta_form = DeltaBeta::kTwiceSigmoid});
  cases.push_back({.name = "strong_gates", .lengths = {128, 33}, .heads = 2, .gate_scale = 300});
  cases.push_back({.name = "near_identical_keys",
                   .lengths = {64, 128},
                   .heads = 2,
                   .decay = DeltaDecay::kNone,
                   .beta_form = DeltaBeta::kTwiceSigmoid,
                   .near_identical_keys = true});
  cases.push_back({.name = "nan_beside", .lengths = {40, 7}, .nan_beside = true});
  return cases;
}

double Round(double x) { return ToFloat(ToBf16(static_cast<float>(x))); }

class Random {
 public:
  explicit Random(const std::string& name) : seed_(name.begin(), name.end()), engine_(seed_) {}
  // Values of the bf16 grid (exact in fp32 too).
  Vector Normal(int64_t n, double mean = 0, double deviation = 1) {
    std::normal_distribution<double> normal(mean, deviation);
    Vector x(n);
    for (double& v : x) v = Round(normal(engine_));
    return x;
  }

 private:
  std::seed_seq seed_;
  std::mt19937 engine_;
};

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

template <typename T>
Buffer ToDevice(const std::vector<T>& x) {
  Buffer buffer(Device::kCuda, x.size() * sizeof(T));
  CopyBytes(buffer.data(), Device::kCuda, x.data(), Device::kCpu, buffer.num_bytes());
  return buffer;
}
Buffer ToDeviceBf16(const Vector& x) {
  std::vector<Bf16> narrow;
  for (const double v : x) narrow.push_back(ToBf16(static_cast<float>(v)));
  return ToDevice(narrow);
}
double Value(float x) { return x; }
double Value(Bf16 x) { return ToFloat(x); }
template <typename T>
Vector ToHost(const Buffer& buffer) {
  std::vector<T> x(buffer.num_bytes() / sizeof(T));
  CopyBytes(x.data(), Device::kCpu, buffer.data(), Device::kCuda, buffer.num_bytes());
  Vector result;
  for (const T v : x) result.push_back(Value(v));
  return result;
}

// RMS(x - expected) / RMS(expected); a NaN anywhere is a NaN here.
double RmsError(const Vector& x, const Vector& expected) {
  EXPECT_EQ(x.size(), expected.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += (x[i] - expected[i]) * (x[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return std::sqrt(difference / std::max(size, 1e-300));
}

// The matrices of a chunk and value head that do not depend on the state, in fp64.
struct ChunkHead {
  Vector q_norm, k_norm, beta, gate;  // per row
  Vector q, k;                        // [rows][K], of unit length
  Vector a, p;                        // [rows][rows]
};

class Fixture {
 public:
  explicit Fixture(const Case& c) : c(c), random(c.name) {
    std::vector<int> offsets = {0};
    for (const int length : c.lengths) {
      for (int i = 0; i < length; i += kChunk) {
        chunks.push_back({offsets.back() + i, std::min(kChunk, length - i),
                          static_cast<int>(offsets.size()) - 1, 0});
      }
      offsets.push_back(offsets.back() + length);
    }
    tokens = offsets.back();
    value_heads = c.heads * c.group;
    q = random.Normal(tokens * c.heads * c.key_dim);
    k = random.Normal(tokens * c.heads * c.key_dim);
    if (c.near_identical_keys) {
      const Vector common = random.Normal(c.key_dim);
      for (size_t i = 0; i < k.size(); ++i) {
        k[i] = Round(common[i % c.key_dim] + 0.1 * k[i]);
      }
    }
    if (!c.l2_norm) {
      for (Vector* x : {&q, &k}) {
        for (double& v : *x) v = Round(v / std::sqrt(c.key_dim));
      }
    }
    beta = random.Normal(tokens * value_heads, c.near_identical_keys ? 2 : 0);
    if (c.beta_form == DeltaBeta::kGiven) {
      for (size_t i = 0; i < beta.size(); i += 5) beta[i] = 0;
    }
    gate = random.Normal(tokens * value_heads, 0, c.gate_scale);
    if (c.gate_form == DeltaGate::kLogDecay) {
      for (double& g : gate) g = -std::abs(g);
    }
    if (c.nan_beside) {
      const int64_t good = tokens - c.lengths.back();
      std::fill(q.begin() + good * c.heads * c.key_dim, q.end(), NAN);
      std::fill(k.begin() + good * c.heads * c.key_dim, k.end(), NAN);
    }
    a_log = random.Normal(value_heads);
    if (c.heads > 1) a_log[1] = -INFINITY;
    dt_bias = random.Normal(value_heads);

    buffers.push_back(ToDevice(chunks));
    args.chunks = buffers.back().as<Chunk>();
    in.q = Upload(q);
    in.k = Upload(k);
    if (!c.null_beta) in.beta = Upload(beta);
    if (c.decay != DeltaDecay::kNone) {
      in.gate = Upload(gate);
      if (c.gate_form != DeltaGate::kLogDecay) {
        in.a_log = UploadFloats(a_log);
        in.dt_bias = UploadFloats(dt_bias);
      }
    }
    in.decay = c.decay;
    in.gate_form = c.gate_form;
    in.beta_form = c.beta_form;
    in.l2_norm = c.l2_norm;
    args.num_sms = CurrentGpu().num_sms;
    args.num_docs = static_cast<int>(c.lengths.size());
    args.num_chunks = static_cast<int>(chunks.size());
    args.num_tokens = tokens;
    args.heads = c.heads;
    args.value_heads = value_heads;
    args.group = c.group;
    args.key_dim = c.key_dim;
    args.value_dim = c.value_dim;
    args.decay = c.decay;
    args.scale = static_cast<float>(1 / std::sqrt(c.key_dim));
    rows = Buffer(Device::kCuda, args.chunk_heads() * kNumRowFactors * kChunk * 4);
    chunk_decay = Buffer(Device::kCuda, args.chunk_heads() * c.key_dim * 4);
    ut = Buffer(Device::kCuda, args.chunk_heads() * kChunk * kChunk * 2);
    p = Buffer(Device::kCuda, args.chunk_heads() * kChunk * kChunk * 2);
    args.rows = rows.as<float>();
    args.chunk_decay = c.decay == DeltaDecay::kNone ? nullptr : chunk_decay.as<float>();
    args.ut = ut.as<Bf16>();
    args.p = p.as<Bf16>();
    WyHeads(args, in, Stream());
  }

  static cudaStream_t Stream() { return static_cast<cudaStream_t>(ComputeStream()); }
  const Bf16* Upload(const Vector& x) {
    buffers.push_back(ToDeviceBf16(x));
    return buffers.back().as<Bf16>();
  }
  const float* UploadFloats(const Vector& x) {
    buffers.push_back(ToDevice(std::vector<float>(x.begin(), x.end())));
    return buffers.back().as<float>();
  }

  bool IsNan(const Chunk& chunk) const {
    return c.nan_beside && chunk.doc == static_cast<int>(c.lengths.size()) - 1;
  }
  double Beta(int64_t at) const {
    if (c.null_beta) return 1;
    if (c.beta_form == DeltaBeta::kGiven) return beta[at] == 0 ? kMinBetaSm90 : beta[at];
    return (c.beta_form == DeltaBeta::kSigmoid ? 1 : 2) * Sigmoid(beta[at]);
  }
  double LogDecay(int64_t at) const {
    if (c.decay == DeltaDecay::kNone) return 0;
    const int64_t hv = at % value_heads;
    const double x = gate[at] + dt_bias[hv], a = std::exp(a_log[hv]);
    const double g = c.gate_form == DeltaGate::kLogDecay   ? gate[at]
                     : c.gate_form == DeltaGate::kSoftplus ? -a * std::log1p(std::exp(x))
                                                           : in.lower_bound * Sigmoid(a * x);
    return std::max(g, -20.0);
  }
  double BetaGradient(int64_t at, double d_beta) const {
    if (c.beta_form == DeltaBeta::kGiven) return d_beta;
    return d_beta * (c.beta_form == DeltaBeta::kSigmoid ? 1 : 2) * Sigmoid(beta[at]) *
           Sigmoid(-beta[at]);
  }
  // The gradients of the gate (and of dt_bias), and of a_log.
  std::pair<double, double> GateGradients(int64_t at, double dg) const {
    if (c.gate_form == DeltaGate::kLogDecay) return {dg, 0};
    const int64_t hv = at % value_heads;
    const double x = gate[at] + dt_bias[hv], a = std::exp(a_log[hv]);
    if (c.gate_form == DeltaGate::kSoftplus) {
      const double softplus = x > 40 ? x : std::log1p(std::exp(x));
      return {-dg * a * Sigmoid(x), -dg * a * softplus};
    }
    const double outer = dg * in.lower_bound * Sigmoid(a * x) * Sigmoid(-a * x);
    return {outer * a, outer * a * x};
  }
  ChunkHead Reference(const Chunk& chunk, int hv) const {
    const int n = chunk.rows, dim = c.key_dim;
    ChunkHead r;
    double sum = 0;
    const auto normalise = [&](const Vector& from, int row, Vector& norms, Vector& to) {
      const double* x = &from[((chunk.first + row) * c.heads + hv / c.group) * dim];
      const double norm = c.l2_norm ? 1 / std::sqrt(std::inner_product(x, x + dim, x, 1e-6)) : 1;
      norms.push_back(norm);
      for (int d = 0; d < dim; ++d) to.push_back(norm * x[d]);
    };
    for (int i = 0; i < n; ++i) {
      const int64_t at = (chunk.first + i) * value_heads + hv;
      r.beta.push_back(Beta(at));
      r.gate.push_back(sum += LogDecay(at));
      normalise(q, i, r.q_norm, r.q);
      normalise(k, i, r.k_norm, r.k);
    }
    r.a.assign(n * n, 0);
    r.p.assign(n * n, 0);
    for (int i = 0; i < n; ++i) {
      const auto k_i = r.k.begin() + i * dim, q_i = r.q.begin() + i * dim;
      r.a[i * n + i] = 1;
      for (int j = 0; j <= i; ++j) {
        const auto k_j = r.k.begin() + j * dim;
        const double gamma = std::exp(r.gate[i] - r.gate[j]);
        r.p[i * n + j] = args.scale * gamma * std::inner_product(q_i, q_i + dim, k_j, 0.0);
        if (j == i) continue;
        const double m = r.beta[i] * gamma * std::inner_product(k_i, k_i + dim, k_j, 0.0);
        for (int l = 0; l <= j; ++l) r.a[i * n + l] -= m * r.a[j * n + l];
      }
    }
    return r;
  }

  Case c;
  Random random;
  std::vector<Chunk> chunks;
  int64_t tokens = 0;
  int value_heads = 0;
  Vector q, k, beta, gate, a_log, dt_bias;
  std::vector<Buffer> buffers;
  Buffer rows, chunk_decay, ut, p;
  Args args;
  GatedDeltaRuleInputs<Bf16> in;
};

}  // namespace
}  // namespace wyvern::sm90
