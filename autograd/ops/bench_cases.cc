// What `wyvern bench ops` times: each op at the size it has in a model of 1.3 billion parameters on
// 32,768 packed tokens; on the CPU at the size of a small model.
#include <cmath>

#include "autograd/check/bench_inputs.h"
#include "autograd/ops/attention/attention.h"
#include "autograd/ops/attention/latent_attention.h"
#include "autograd/ops/attention/mla_keys.h"
#include "autograd/ops/attention/rope.h"
#include "autograd/ops/conv/short_conv.h"
#include "autograd/ops/head/embedding.h"
#include "autograd/ops/head/linear_cross_entropy.h"
#include "autograd/ops/matmul/matmul.h"
#include "autograd/ops/norm/gated_rms_norm.h"
#include "autograd/ops/norm/l2_norm.h"
#include "autograd/ops/norm/rms_norm.h"
#include "autograd/ops/pointwise/sigmoid_gate.h"
#include "autograd/ops/pointwise/silu.h"
#include "autograd/ops/pointwise/swiglu.h"

namespace wyvern {
namespace {

struct Size {
  int32_t num_docs, doc_length;  // tokens in short documents; T in all
  int64_t T, width, hidden, heads, head_dim, vocab;
};

Size SizeOn(Device device) {
  if (device == Device::kCuda) return {16, 2048, 32768, 2048, 5632, 16, 128, 32000};
  return {2, 128, 256, 128, 352, 2, 64, 512};
}

Tensor RandomIds(int64_t count, int64_t bound) {
  CaseRandom random("bench ids");
  std::vector<int32_t> ids(count);
  for (int32_t& id : ids) id = static_cast<int32_t>(random.Below(bound));
  return ToTensor(ids);
}

// The same tokens as short documents and as one.
std::vector<std::vector<int32_t>> Packings(const Size& s) {
  return {Offsets(s.num_docs, s.doc_length), Offsets(1, static_cast<int32_t>(s.T))};
}

}  // namespace

std::vector<BenchCase<Attention>> Attention::BenchCases(Device device) {
  const Size s = SizeOn(device);
  const BenchInput heads = {.shape = {s.T, s.heads, s.head_dim}};
  std::vector<BenchCase<Attention>> cases;
  for (const std::vector<int32_t>& offsets : Packings(s)) {
    for (const int64_t window : {int64_t{0}, s.T / 32}) {
      BenchCase<Attention> c;
      c.name = DocsName(offsets);
      if (window > 0) absl::StrAppend(&c.name, ", window ", window);
      c.in = {.q = heads, .k = heads, .v = heads};
      c.params.cu_seqlens_q_host = offsets;
      c.params.cu_seqlens_q = ToTensor(offsets);
      c.params.window = window;
      cases.push_back(std::move(c));
    }
  }
  return cases;
}

std::vector<BenchCase<Embedding>> Embedding::BenchCases(Device device) {
  const Size s = SizeOn(device);
  return {{.name = absl::StrCat(s.T, " of ", s.vocab, " x ", s.width),
           .in = {.weight = Weight({s.vocab, s.width})},
           .params = {.ids = RandomIds(s.T, s.vocab)}}};
}

std::vector<BenchCase<GatedRmsNorm>> GatedRmsNorm::BenchCases(Device device) {
  const Size s = SizeOn(device);
  const BenchInput x = {.shape = {s.T, s.heads, s.head_dim}};
  return {{.name = ToString(x.shape),
           .in = {.x = x, .gate = x, .weight = Weight({s.head_dim}, 1, 0.1)}}};
}

std::vector<BenchCase<L2Norm>> L2Norm::BenchCases(Device device) {
  const Size s = SizeOn(device);
  const BenchInput x = {.shape = {s.T, s.heads, s.head_dim}};
  return {{.name = ToString(x.shape), .in = {.x = x}}};
}

std::vector<BenchCase<LatentAttention>> LatentAttention::BenchCases(Device device) {
  const bool cuda = device == Device::kCuda;
  const int64_t heads = cuda ? 32 : 4, own = cuda ? 128 : 16, shared = own / 2, rank = 4 * own;
  std::vector<BenchCase<LatentAttention>> cases;
  for (const int64_t keys :
       cuda ? std::vector<int64_t>{4096, 131072, 1 << 20} : std::vector<int64_t>{256}) {
    for (const int64_t queries : {int64_t{1}, int64_t{64}}) {
      BenchCase<LatentAttention> c;
      c.name = absl::StrCat(queries, " of ", keys);
      c.in = {.q = {.shape = {queries, heads, own + shared}},
              .latent = {.shape = {keys, rank + shared}},
              .weight = {.shape = {2 * heads * own, rank}, .stddev = 0.04}};
      c.params.value_dim = own;
      c.forward_only = cuda && (queries == 1 || keys > 4096);  // decoding has no backward
      cases.push_back(std::move(c));
    }
  }
  return cases;
}

std::vector<BenchCase<LinearCrossEntropy>> LinearCrossEntropy::BenchCases(Device device) {
  const Size s = SizeOn(device);
  std::vector<BenchCase<LinearCrossEntropy>> cases;
  const auto add = [&](int64_t T, int64_t width, int64_t vocab, int64_t group_rows) {
    BenchCase<LinearCrossEntropy> c;
    c.name = absl::StrCat(T, " x ", width, ", ", vocab, " classes");
    if (group_rows > 0) absl::StrAppend(&c.name, ", groups of ", group_rows);
    c.in.x.shape = {T, width};
    c.in.weight = Weight({vocab, width});
    c.params.targets = RandomIds(T, vocab);
    c.params.denominator = static_cast<double>(T);
    c.params.group_rows = group_rows;
    c.unused_outputs = {"token_loss"};
    cases.push_back(std::move(c));
  };
  add(s.T, s.width, s.vocab, 0);
  if (device == Device::kCpu) {
    add(64, 64, 4096, 0);
    return cases;
  }
  // A vocabulary of which a slice holds few rows: in groups as the op has them, of one slice, and
  // of half and about twice as many rows.
  for (const int64_t group_rows : {0, 768, 2304, 8192}) add(8192, 2304, 163840, group_rows);
  return cases;
}

std::vector<BenchCase<MatMul>> MatMul::BenchCases(Device device) {
  const Size s = SizeOn(device);
  std::vector<BenchCase<MatMul>> cases;
  for (const auto& [from, to] :
       {std::pair(s.width, s.width), std::pair(s.width, s.hidden), std::pair(s.hidden, s.width)}) {
    BenchCase<MatMul> c;
    c.name = absl::StrCat(s.T, " x ", from, " to ", to);
    c.in.x.shape = {s.T, from};
    c.in.weight = Weight({to, from});
    cases.push_back(std::move(c));
  }
  return cases;
}

std::vector<BenchCase<MlaKeys>> MlaKeys::BenchCases(Device device) {
  const Size s = SizeOn(device);
  const BenchInput own = {.shape = {s.T, 2 * s.heads, s.head_dim}};
  return {{.name = ToString(own.shape),
           .in = {.own = own, .shared = {.shape = {s.T, s.head_dim / 2}}}}};
}

std::vector<BenchCase<RmsNorm>> RmsNorm::BenchCases(Device device) {
  const Size s = SizeOn(device);
  const BenchInput x = {.shape = {s.T, s.width}};
  const BenchInput weight = Weight({s.width}, 1, 0.1);
  return {
      {.name = ToString(x.shape), .in = {.x = x, .weight = weight}},
      {.name = absl::StrCat(ToString(x.shape), ", residual"),
       .in = {.x = x, .residual = x, .weight = weight}},
  };
}

std::vector<BenchCase<Rope>> Rope::BenchCases(Device device) {
  const Size s = SizeOn(device);
  std::vector<int32_t> positions(s.T);
  for (int64_t t = 0; t < s.T; ++t) positions[t] = static_cast<int32_t>(t % s.doc_length);
  const BenchInput x = {.shape = {s.T, s.heads, s.head_dim}};
  return {
      {.name = ToString(x.shape), .in = {.x = x}, .params = {.positions = ToTensor(positions)}}};
}

std::vector<BenchCase<ShortConv>> ShortConv::BenchCases(Device device) {
  const Size s = SizeOn(device);
  BenchCase<ShortConv> c;
  c.name = absl::StrCat("[", s.T, ", ", s.width, "], width 4");
  c.in.x.shape = {s.T, s.width};
  c.in.weight = Weight({s.width, 4}, 0, 0.5);
  c.params.cu_seqlens = ToTensor(Offsets(s.num_docs, s.doc_length));
  BenchCase<ShortConv> parts = c;
  parts.name = absl::StrCat("[", s.T, ", 3 x ", s.width, "], width 4");
  parts.in.x.shape = {s.T, 3 * s.width};
  parts.in.weight = Weight({3 * s.width, 4}, 0, 0.5);
  parts.params.parts = {s.width, s.width, s.width};
  return {c, parts};
}

std::vector<BenchCase<SigmoidGate>> SigmoidGate::BenchCases(Device device) {
  const Size s = SizeOn(device);
  const BenchInput x = {.shape = {s.T, s.width}};
  return {{.name = ToString(x.shape), .in = {.x = x, .gate = x}}};
}

std::vector<BenchCase<Silu>> Silu::BenchCases(Device device) {
  const Size s = SizeOn(device);
  const BenchInput x = {.shape = {s.T, s.width}};
  return {{.name = ToString(x.shape), .in = {.x = x}}};
}

std::vector<BenchCase<SwiGlu>> SwiGlu::BenchCases(Device device) {
  const Size s = SizeOn(device);
  const BenchInput x = {.shape = {s.T, s.hidden}};
  return {{.name = ToString(x.shape), .in = {.gate = x, .up = x}}};
}

}  // namespace wyvern
