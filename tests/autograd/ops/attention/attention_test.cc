// Tests of attention alone; gradients and accuracy are checked through the registry.
#include "autograd/ops/attention/attention.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "autograd/check/op_check.h"
#include "kernels/attention/attention_plan.h"
#include "kernels/runtime/gpu.h"
#include "tests/support/within_limits.h"
#ifdef WYVERN_CUDA
#include "kernels/attention/cuda/cudnn_attention.h"
#endif

namespace wyvern {
namespace {

Tensor Index(const std::vector<int32_t>& values) {
  return Tensor::FromVector(values, {static_cast<int64_t>(values.size())});
}

Attention::Params Packed(const std::vector<int32_t>& cu_seqlens, int64_t window = 0) {
  Attention::Params params;
  params.cu_seqlens_q_host = cu_seqlens;
  params.cu_seqlens_q = Index(cu_seqlens);
  params.window = window;
  return params;
}

OpCase<Attention> MakeCase(const std::vector<int32_t>& cu_seqlens, int64_t heads, int64_t kv_heads,
                           int64_t key_dim, int64_t value_dim, int64_t window) {
  CaseRandom random("attention_test");
  const int64_t T = cu_seqlens.back();
  OpCase<Attention> c;
  c.name = absl::StrCat(T, " tokens, window ", window);
  c.params = Packed(cu_seqlens, window);
  c.in.q = random.Normal({T, heads, key_dim});
  c.in.k = random.Normal({T, kv_heads, key_dim});
  c.in.v = random.Normal({T, kv_heads, value_dim});
  return c;
}

OpRun<Attention> RunCpu(const OpCase<Attention>& c, const Tensor& d_o) {
  return RunOp<Attention>(c, {.o = d_o}, Device::kCpu, DType::kFloat64, CallForm::kPlain);
}

void ExpectSameBits(const OpRun<Attention>& a, const OpRun<Attention>& b) {
  EXPECT_TRUE(BitwiseEqual(a.out.o, b.out.o));
  EXPECT_TRUE(BitwiseEqual(a.grad.q, b.grad.q));
  EXPECT_TRUE(BitwiseEqual(a.grad.k, b.grad.k));
  EXPECT_TRUE(BitwiseEqual(a.grad.v, b.grad.v));
}

TEST(Attention, AWindowOfTheWholeDocumentIsNoWindow) {
  OpCase<Attention> c = MakeCase({0, 100, 170}, 4, 2, 16, 24, 0);
  const Tensor d_o = CaseRandom("cotangent").Normal({170, 4, 24});
  const OpRun<Attention> full = RunCpu(c, d_o);
  c.params.window = 100;
  ExpectSameBits(RunCpu(c, d_o), full);
  c.params.window = 99;  // the last query of the first document misses one key
  EXPECT_FALSE(BitwiseEqual(RunCpu(c, d_o).out.o, full.out.o));
}

TEST(Attention, APackedDocumentEqualsTheDocumentAlone) {
  const std::vector<int32_t> cu_seqlens = {0, 1, 64, 64, 129};
  const OpCase<Attention> packed = MakeCase(cu_seqlens, 2, 1, 16, 24, 20);
  const Tensor d_o = CaseRandom("cotangent").Normal({129, 2, 24});
  const OpRun<Attention> together = RunCpu(packed, d_o);
  for (size_t n = 0; n + 1 < cu_seqlens.size(); ++n) {
    const int32_t begin = cu_seqlens[n], end = cu_seqlens[n + 1];
    if (begin == end) continue;
    SCOPED_TRACE(absl::StrCat("document ", n));
    OpCase<Attention> alone;
    alone.params = Packed({0, end - begin}, 20);
    alone.in = {.q = packed.in.q.Rows(begin, end),
                .k = packed.in.k.Rows(begin, end),
                .v = packed.in.v.Rows(begin, end)};
    OpRun<Attention> rows;
    rows.out.o = together.out.o.Rows(begin, end);
    rows.grad = {.q = together.grad.q.Rows(begin, end),
                 .k = together.grad.k.Rows(begin, end),
                 .v = together.grad.v.Rows(begin, end)};
    ExpectSameBits(RunCpu(alone, d_o.Rows(begin, end)), rows);
  }
}

TEST(Attention, DecodingOneTokenAtATimeEqualsTheWholeForward) {
  constexpr int64_t kTokens = 70;
  for (const int64_t window : {0, 1, 13}) {
    const OpCase<Attention> c = MakeCase({0, kTokens}, 4, 2, 16, 24, window);
    const Tensor whole = Attention::Forward(c.in, c.params, nullptr).o;
    for (int32_t t = 0; t < kTokens; ++t) {
      Attention::Params params = Packed({0, 1}, window);
      params.cu_seqlens_k_host = {0, t + 1};
      params.cu_seqlens_k = Index(params.cu_seqlens_k_host);
      const Tensor o =
          Attention::Forward(
              {.q = c.in.q.Rows(t, t + 1), .k = c.in.k.Rows(0, t + 1), .v = c.in.v.Rows(0, t + 1)},
              params, nullptr)
              .o;
      EXPECT_LE(RelativeRmsError(o, whole.Rows(t, t + 1)), 1e-12)
          << "token " << t << ", window " << window;
    }
  }
}

// Scores shifted below zero, so that a masked pair or an initial zero would show.
TEST(Attention, MaxLogitIsThatOfTheVisiblePairs) {
  for (const int64_t window : {0, 9}) {
    OpCase<Attention> c = MakeCase({0, 50, 50, 131}, 4, 2, 16, 8, window);
    for (Tensor* x : {&c.in.q, &c.in.k}) {
      for (int64_t i = 0; i < x->numel(); i += 16) x->data<double>()[i] = x == &c.in.q ? 40 : -40;
    }
    c.params.want_max_logit = true;
    c.params.scale = 0.3;
    const Tensor max_logit = Attention::Forward(c.in, c.params, nullptr).max_logit;
    ASSERT_EQ(max_logit.shape(), Shape{4});
    for (int64_t h = 0; h < 4; ++h) {
      double expected = -1e300;
      for (size_t n = 0; n + 1 < c.params.cu_seqlens_q_host.size(); ++n) {
        const int64_t begin = c.params.cu_seqlens_q_host[n],
                      end = c.params.cu_seqlens_q_host[n + 1];
        for (int64_t i = begin; i < end; ++i) {
          for (int64_t j = window == 0 ? begin : std::max(begin, i - window + 1); j <= i; ++j) {
            double sum = 0;
            for (int64_t d = 0; d < 16; ++d) {
              sum += c.in.q.data<double>()[(i * 4 + h) * 16 + d] *
                     c.in.k.data<double>()[(j * 2 + h / 2) * 16 + d];
            }
            expected = std::max(expected, 0.3 * sum);
          }
        }
      }
      EXPECT_LT(expected, -400);
      EXPECT_NEAR(max_logit.data<double>()[h], expected, 1e-10) << "head " << h;
    }
  }
}

TEST(Attention, CostCountsVisiblePairs) {
  const OpCase<Attention> c = MakeCase({0, 5, 5, 12}, 2, 1, 16, 8, 3);
  // Documents of 5 and 7 tokens under window 3: 1 + 2 + 3 + 3 + 3 and two more threes.
  const Cost cost = Attention::EstimateCost(c.in, c.params);
  EXPECT_EQ(cost.forward_flops, 2.0 * (16 + 8) * 2 * (12 + 18));
  EXPECT_EQ(cost.backward_flops, 2 * cost.forward_flops);
  Attention::Params decode = Packed({0, 2});
  decode.cu_seqlens_k_host = {0, 12};
  decode.cu_seqlens_k = Index(decode.cu_seqlens_k_host);
  EXPECT_EQ(Attention::EstimateCost({.q = c.in.q.Rows(0, 2), .k = c.in.k, .v = c.in.v}, decode)
                .forward_flops,
            2.0 * (16 + 8) * 2 * (11 + 12));
}

TEST(Attention, EveryShortLengthOnTheGpuEqualsTheCpu) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  for (int32_t length = 1; length <= 130; ++length) {
    OpCase<Attention> c = MakeCase({0, length}, 2, 1, 16, 24, length % 3 == 0 ? 7 : 0);
    c.bf16_tolerances = {{"o", 5e-3}, {"d_q", 6e-3}, {"d_k", 6e-3}, {"d_v", 6e-3}};
    std::vector<CheckResult> results;
    CheckAgainstOracle(c, Device::kCuda, DType::kFloat32, &results);
    CheckAgainstOracle(c, Device::kCuda, DType::kBf16, &results);
    ExpectWithinLimits(results);
  }
}

// A document without tokens beside equal ones keeps cuDNN away and changes nothing else.
TEST(Attention, CudnnAgreesWithTheTiledKernels) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  struct Size {
    int64_t window, kv_heads, key_dim;
    bool max_logit;
  };
  for (const int64_t window : {0, 100}) {
    for (const Size size : {Size{window, 1, 128, false}, Size{window, 4, 128, false},
                            Size{window, 1, 128, true}, Size{window, 4, 192, true}}) {
      SCOPED_TRACE(absl::StrCat("window ", window, ", key heads ", size.kv_heads, ", key dim ",
                                size.key_dim, size.max_logit ? ", max logit" : ""));
      OpCase<Attention> c = MakeCase({0, 256, 512}, 4, size.kv_heads, size.key_dim, 128, window);
      c.params.want_max_logit = size.max_logit;
      const Tensor d_o = CaseRandom("cotangent").Normal({512, 4, 128});
      const auto run = [&] {
        return RunOp<Attention>(c, {.o = d_o}, Device::kCuda, DType::kBf16, CallForm::kPlain);
      };
      const OpRun<Attention> cudnn = run();
      c.params = Packed({0, 256, 512, 512}, window);
      c.params.want_max_logit = size.max_logit;
      const OpRun<Attention> tiled = run();
      const auto error = [](const Tensor& a, const Tensor& b) {
        return RelativeRmsError(a.To(Device::kCpu).To(DType::kFloat64),
                                b.To(Device::kCpu).To(DType::kFloat64));
      };
      EXPECT_LE(error(cudnn.out.o, tiled.out.o), 5e-3);
      if (size.max_logit) {
        EXPECT_LE(error(cudnn.out.max_logit, tiled.out.max_logit), 1e-5);
      }
      EXPECT_LE(error(cudnn.grad.q, tiled.grad.q), 8e-3);
      EXPECT_LE(error(cudnn.grad.k, tiled.grad.k), 8e-3);
      EXPECT_LE(error(cudnn.grad.v, tiled.grad.v), 8e-3);
      // Two engines never round alike: equal bits would mean that cuDNN did not run.
      if (CurrentGpu().major == 9) {
        EXPECT_FALSE(BitwiseEqual(cudnn.out.o, tiled.out.o));
      }
    }
  }
}

AttentionShape ShapeOf(const std::vector<int32_t>& cu_q, const std::vector<int32_t>& cu_k,
                       int64_t key_dim, int64_t value_dim) {
  AttentionShape s;
  s.num_docs = static_cast<int64_t>(cu_q.size()) - 1;
  s.num_queries = cu_q.back();
  s.num_keys = cu_k.back();
  s.num_heads = s.num_kv_heads = 16;
  s.key_dim = key_dim;
  s.value_dim = value_dim;
  s.cu_seqlens_q = cu_q.data();
  s.cu_seqlens_k = cu_k.data();
  return s;
}

// dP of all of it takes 1.5 or 2 GiB, so the backward makes two calls; the tiled kernels, which
// an empty document brings in, make one.
TEST(Attention, CudnnsCallsCoverEveryDocumentAndHead) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  struct Size {
    int32_t docs, length;
    int64_t kv_heads;
  };
  for (const Size size : {Size{3, 4096, 4}, Size{1, 8192, 2}, Size{1, 8192, 4}}) {
    SCOPED_TRACE(absl::StrCat(size.docs, " x ", size.length, ", key heads ", size.kv_heads));
    const int64_t tokens = int64_t{size.docs} * size.length;
    CaseRandom random("calls");
    const auto draw = [&](int64_t heads) {
      return ToTypeOn(random.Normal({tokens, heads, 16}), DType::kBf16, Device::kCuda);
    };
    const Attention::Inputs<Tensor> in = {draw(16), draw(size.kv_heads), draw(size.kv_heads)};
    const Tensor d_o = draw(16);
    std::vector<int32_t> offsets;
    for (int32_t n = 0; n <= size.docs; ++n) offsets.push_back(n * size.length);
    const auto run = [&] {
      const auto params = ParamsOn<Attention>(Packed(offsets, 0), Device::kCuda);
      Attention::Saved saved;
      Attention::Forward(in, params, &saved);
      return Attention::Backward(saved, {.o = d_o}, {{true}, {true}, {true}});
    };
#ifdef WYVERN_CUDA
    if (CurrentGpu().major == 9) {
      AttentionBwdParams<Bf16> p;
      AttentionShape& shape = p.shape;
      shape = ShapeOf(offsets, offsets, 16, 16);
      shape.num_kv_heads = size.kv_heads;
      shape.scale = 0.25;
      shape.q_stride = shape.num_heads * 16;
      shape.k_stride = shape.v_stride = p.dv_stride = size.kv_heads * 16;
      EXPECT_TRUE(CudnnAttentionBackwardSupports(p, CudnnBackwardGroup(shape, size.length)));
    }
#endif
    const Attention::Inputs<Tensor> cudnn = run();
    offsets.push_back(offsets.back());
    const Attention::Inputs<Tensor> tiled = run();
    ForEachField(
        [](const char* name, const Tensor& a, const Tensor& b) {
          EXPECT_LE(RelativeRmsError(a.To(Device::kCpu).To(DType::kFloat64),
                                     b.To(Device::kCpu).To(DType::kFloat64)),
                    8e-3)
              << name;
        },
        cudnn, tiled);
  }
}

struct KeyRanges {
  std::vector<int32_t> begins, ends;
};

// One query each of documents whose keys lie in no order, with gaps between, and share some.
TEST(Attention, QueriesWithRangesOfKeysEqualEachAlone) {
  const OpCase<Attention> c = MakeCase({0, 300}, 4, 2, 16, 8, 0);
  const KeyRanges ranges = {{150, 3, 0, 160}, {300, 4, 130, 240}};
  std::string why;
  std::vector<std::pair<Device, DType>> places = {{Device::kCpu, DType::kFloat64}};
  if (CudaAvailable(&why)) {
    places = {{Device::kCuda, DType::kFloat32}, {Device::kCuda, DType::kBf16}};
  }
  for (const auto& place : places) {
    const Device device = place.first;
    const DType dtype = place.second;
    for (const int64_t window : {0, 70}) {
      const auto on = [&](const Tensor& x) { return ToTypeOn(x, dtype, device); };
      const Tensor q = on(c.in.q.Rows(0, 4)), k = on(c.in.k), v = on(c.in.v);
      Attention::Params params = Packed({0, 1, 2, 3, 4}, window);
      params.cu_seqlens_k_host = ranges.begins;
      params.cu_seqlens_k = Index(ranges.begins);
      params.key_ends_host = ranges.ends;
      params.key_ends = Index(ranges.ends);
      params = ParamsOn<Attention>(params, device);
      const Tensor together = Attention::Forward({q, k, v}, params, nullptr).o;
      for (int32_t i = 0; i < 4; ++i) {
        const int32_t begin = ranges.begins[i], end = ranges.ends[i];
        Attention::Params alone = Packed({0, 1}, window);
        alone.cu_seqlens_k_host = {0, end - begin};
        alone.cu_seqlens_k = Index(alone.cu_seqlens_k_host);
        alone = ParamsOn<Attention>(alone, device);
        const Tensor o =
            Attention::Forward({q.Rows(i, i + 1), k.Rows(begin, end), v.Rows(begin, end)}, alone,
                               nullptr)
                .o;
        EXPECT_TRUE(BitwiseEqual(together.Rows(i, i + 1), o)) << "query " << i;
      }
    }
  }
}

// Pieces of long prompts: some queries beyond a multiple of 64, keys that are no multiple of them.
TEST(Attention, RunsOfCachedKeysAgreeWithTheTiledKernels) {
  std::string why;
  if (!CudaAvailable(&why)) GTEST_SKIP() << why;
  struct Size {
    int32_t queries, keys;
    int64_t kv_heads, key_dim;
  };
  for (const Size size : {Size{4096, 16384, 32, 192}, Size{4096 + 40, 4096 * 4 + 300, 32, 192},
                          Size{4096, 12288, 4, 128}, Size{8192, 8192 + 100, 32, 192}}) {
    SCOPED_TRACE(absl::StrCat(size.queries, " queries, ", size.keys, " keys, key heads ",
                              size.kv_heads, ", key dim ", size.key_dim));
    CaseRandom random("runs");
    const auto draw = [&](int64_t tokens, int64_t heads, int64_t dim) {
      return ToTypeOn(random.Normal({tokens, heads, dim}), DType::kBf16, Device::kCuda);
    };
    const Attention::Inputs<Tensor> in = {draw(size.queries, 32, size.key_dim),
                                          draw(size.keys, size.kv_heads, size.key_dim),
                                          draw(size.keys, size.kv_heads, 128)};
    Attention::Params params = Packed({0, size.queries});
    params.cu_seqlens_k_host = {0, size.keys};
    params.cu_seqlens_k = Index(params.cu_seqlens_k_host);
    params = ParamsOn<Attention>(params, Device::kCuda);
    const Tensor tiled = Attention::Forward(in, params, nullptr).o;
    params.forward_only = true;
    const Tensor by_runs = Attention::Forward(in, params, nullptr).o;
    EXPECT_LE(RelativeRmsError(by_runs.To(Device::kCpu).To(DType::kFloat64),
                               tiled.To(Device::kCpu).To(DType::kFloat64)),
              8e-3);
    EXPECT_TRUE(BitwiseEqual(by_runs, Attention::Forward(in, params, nullptr).o));
    if (CurrentGpu().major == 9) {
      EXPECT_FALSE(BitwiseEqual(by_runs, tiled));
    }
  }
}

TEST(AttentionPlan, KeysBeforeALongPieceAreDivided) {
  const auto divide = [](int32_t queries, int32_t before, bool forward_only = true,
                         int64_t window = 0) {
    const std::vector<int32_t> cu_q = {0, queries}, cu_k = {0, queries + before};
    AttentionShape s = ShapeOf(cu_q, cu_k, 192, 128);
    s.num_heads = s.num_kv_heads = 32;
    s.k_stride = 32 * 192;
    s.v_stride = 32 * 256;
    s.forward_only = forward_only;
    s.window = window;
    const AttentionRuns runs = ChooseAttention({s, DType::kBf16}, MetaGpu()).runs;
    int64_t sum = 0;
    for (const int64_t run : runs.keys) sum += run;
    EXPECT_EQ(sum, runs.queries > 0 ? before : 0);
    return absl::StrCat(runs.queries, ": ", absl::StrJoin(runs.keys, " "));
  };
  EXPECT_EQ(divide(4096, 4096 * 7), "4096: 16384 8192 4096");
  EXPECT_EQ(divide(4096 + 63, 4096 * 2 + 5), "4096: 8192 5");
  EXPECT_EQ(divide(8192, 100), "8192: 100");
  // Offsets of the values fit 32 bits with a sign: runs are not longer than 262144 keys.
  EXPECT_EQ(divide(262144, 3 * 262144), "262144: 262144 262144 262144");
  EXPECT_EQ(divide(131072, 7 * 131072), "131072: 262144 262144 262144 131072");
  // The tiled engine is done before cuDNN has made plans.
  EXPECT_EQ(divide(1024, 4096), "0: ");
  EXPECT_EQ(divide(63, 1 << 20), "0: ");
  EXPECT_EQ(divide(4096, 4096 * 7, /*forward_only=*/false), "0: ");
  EXPECT_EQ(divide(4096, 4096 * 7, true, /*window=*/512), "0: ");
  EXPECT_EQ(divide(262144, 0), "0: ");
}

TEST(AttentionPlan, CudnnServesEqualDocumentsInBf16) {
  const auto choose = [](const std::vector<int32_t>& cu_q, const std::vector<int32_t>& cu_k,
                         int64_t key_dim, int64_t value_dim, DType io) {
    return ChooseAttention({ShapeOf(cu_q, cu_k, key_dim, value_dim), io}, MetaGpu()).ToString();
  };
  const std::vector<int32_t> equal = {0, 128, 256}, ragged = {0, 128, 320}, odd = {0, 100, 200};
  const DType bf16 = DType::kBf16, fp32 = DType::kFloat32;
  EXPECT_EQ(choose(equal, equal, 128, 128, bf16),
            "forward cudnn, backward cudnn by 2 documents of 16 key heads, dim 128, held 64, "
            "streamed 64/32");
  EXPECT_EQ(choose(equal, equal, 64, 128, bf16),
            "forward cudnn, backward cudnn by 2 documents of 16 key heads, dim 128, held 64, "
            "streamed 64/32");
  EXPECT_EQ(choose(equal, equal, 64, 64, fp32),
            "forward tiled, backward tiled, dim 64, held 32, streamed 32/32");
  EXPECT_EQ(choose(equal, equal, 192, 128, bf16),
            "forward cudnn, backward cudnn by 2 documents of 16 key heads, dim 256, held 64, "
            "streamed 32/32");
  EXPECT_EQ(choose(equal, equal, 192, 192, bf16),
            "forward tiled, backward tiled, dim 256, held 64, streamed 32/32");
  EXPECT_EQ(choose(equal, equal, 60, 64, bf16),
            "forward tiled, backward tiled, dim 64, held 64, streamed 64/32");
  for (const auto& cu_q : {ragged, odd}) {
    EXPECT_EQ(choose(cu_q, cu_q, 64, 64, bf16),
              "forward tiled, backward tiled, dim 64, held 64, streamed 64/32");
  }
  EXPECT_EQ(choose({0, 1, 2}, equal, 64, 64, bf16),
            "forward tiled, backward tiled, dim 64, held 64, streamed 64/32");
}

TEST(AttentionPlan, LatentHeadsNeedHopperOrNewer) {
  const std::vector<int32_t> equal = {0, 128, 256};
  for (const int major : {8, 9, 10, 12}) {
    GpuInfo gpu = MetaGpu();
    gpu.major = major;
    const AttentionPlan plan = ChooseAttention({ShapeOf(equal, equal, 192, 128)}, gpu);
    EXPECT_EQ(plan.forward, major >= 9 ? AttentionEngine::kCudnn : AttentionEngine::kTiled);
  }
}

TEST(AttentionPlan, CudnnsBackwardKeepsItsMemorySmall) {
  const auto group = [](int32_t num_docs, int32_t length, int64_t kv_heads, int64_t window = 0) {
    std::vector<int32_t> cu(num_docs + 1);
    for (int32_t n = 0; n <= num_docs; ++n) cu[n] = length * n;
    AttentionShape s = ShapeOf(cu, cu, 128, 128);
    s.num_kv_heads = kv_heads;
    s.window = window;
    const AttentionPlan plan = ChooseAttention({s, DType::kBf16}, MetaGpu());
    EXPECT_EQ(plan.backward == AttentionEngine::kCudnn, plan.group.docs > 0);
    return std::pair(plan.group.docs, plan.group.kv_heads);
  };
  using Group = std::pair<int64_t, int64_t>;
  // dP of a document of 2048 tokens under 16 heads: 128 MiB.
  EXPECT_EQ(group(8, 2048, 16), Group(8, 16));
  EXPECT_EQ(group(9, 2048, 16), Group(5, 16));
  EXPECT_EQ(group(16, 2048, 4), Group(8, 4));
  EXPECT_EQ(group(16, 2048, 16, 1024), Group(8, 16));
  // 8192 tokens: 2 GiB.
  EXPECT_EQ(group(3, 8192, 16), Group(1, 8));
  EXPECT_EQ(group(3, 8192, 2), Group(1, 1));
  // 32768 tokens: 2 GiB a head.
  EXPECT_EQ(group(1, 32768, 16), Group(1, 1));
  EXPECT_EQ(group(1, 32768, 8), Group(0, 0));
  EXPECT_EQ(group(1, 32768, 16, 1024), Group(0, 0));
  EXPECT_EQ(group(1, 65536, 16), Group(0, 0));
}

}  // namespace
}  // namespace wyvern
