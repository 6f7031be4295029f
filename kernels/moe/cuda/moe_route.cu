// The router's GEMMs and choices. bf16 tokens meet the fp32 matrix as three bf16 parts, whose
// sum is the matrix to fp32's last bit; parts lie below each other as one matrix, so that one
// product takes them all.
#include <algorithm>

#include "kernels/common/reduce.cuh"
#include "kernels/common/vector.cuh"
#include "kernels/matmul/matmul.h"
#include "kernels/moe/cuda/top_experts.cuh"
#include "kernels/moe/moe_route.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kParts = 3;
constexpr int64_t kMaxExperts = 1024;

template <typename Io>
constexpr bool kSplits = sizeof(Io) == 2;
template <typename Io>
constexpr int kLogitParts = kSplits<Io> ? kParts : 1;

// x = parts[0] + parts[1] + parts[2], but for what lies below bf16's least number.
__device__ __forceinline__ void Split(float x, Bf16 (&parts)[kParts]) {
#pragma unroll
  for (int i = 0; i < kParts; ++i) {
    parts[i] = FromFloatDevice<Bf16>(x);
    x -= ToFloatDevice(parts[i]);
  }
}

// parts [3, n]: those of w. With kForInputGrad [4, n]: parts 0, 1, 0, 0, which meet parts 0, 0, 1,
// 2 of the logits' gradient.
template <bool kForInputGrad>
struct SplitMap {
  const float* w;  // [n]
  Bf16* parts;
  int64_t n;
  template <int N>
  __device__ void At(int64_t i) const {
    static_assert(N == 1 || N == 4);
    float x[N];
    LoadFloats(w + i, x);
#pragma unroll
    for (int c = 0; c < N; ++c) {
      Bf16 split[kParts];
      Split(x[c], split);
      parts[i + c] = split[0];
      parts[n + i + c] = split[1];
      parts[2 * n + i + c] = kForInputGrad ? split[0] : split[2];
      if constexpr (kForInputGrad) parts[3 * n + i + c] = split[0];
    }
  }
};

template <bool kForInputGrad>
Buffer SplitWeight(const float* weight, int64_t n, StreamHandle stream) {
  Buffer parts(Device::kCuda, n * (kForInputGrad ? 4 : kParts) * sizeof(Bf16));
  LaunchMap<float>(SplitMap<kForInputGrad>{weight, parts.as<Bf16>(), n}, n,
                   Aligned16(weight) && n % 4 == 0, stream);
  return parts;
}

__device__ __forceinline__ int64_t TokenOfWarp() {
  return static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpSize;
}

// Makes the keys of experts outside the best groups kNoKey.
template <int kPer>
__device__ __forceinline__ void KeepTopGroups(const MoeRouteShape& s, uint32_t (&keys)[kPer]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int groups = static_cast<int>(s.num_groups);
  const int size = static_cast<int>(s.num_experts) / groups;
  uint32_t of_groups[kPer];
#pragma unroll
  for (int i = 0; i < kPer; ++i) of_groups[i] = kNoKey;
  for (int g = 0; g < groups; ++g) {
    uint32_t members[kPer];
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int e = lane + kWarpSize * i;
      members[i] = e >= g * size && e < (g + 1) * size ? keys[i] : kNoKey;
    }
    float score = ScoreOf(TakeBest(members).key);
    if (size > 1) score += ScoreOf(TakeBest(members).key);
    const uint32_t key = KeyOf(score);
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      if (lane + kWarpSize * i == g) of_groups[i] = key;
    }
  }
  uint32_t kept = 0;  // bit i: this lane's expert i
  for (int m = 0; m < static_cast<int>(s.top_groups); ++m) {
    const int first = TakeBest(of_groups).number * size;
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      const int e = lane + kWarpSize * i;
      if (e >= first && e < first + size) kept |= 1u << i;
    }
  }
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    if ((kept >> i & 1) == 0) keys[i] = kNoKey;
  }
}

// A warp to a token; its logits are the sums of their parts [T, parts, E].
template <int kPer, typename Io>
__global__ void __launch_bounds__(kThreads)
    ChooseKernel(MoeRouteFwdParams<Io> p, const float* logits) {
  const MoeRouteShape& s = p.shape;
  const int64_t t = TokenOfWarp();
  if (t >= s.num_tokens) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int num_experts = static_cast<int>(s.num_experts);
  float scores[kPer];
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int e = lane + kWarpSize * i;
    scores[i] = -INFINITY;
    if (e >= num_experts) continue;
    const float* const z = logits + t * kLogitParts<Io> * num_experts + e;
    scores[i] = z[0];
    if constexpr (kSplits<Io>) scores[i] += z[num_experts] + z[2 * num_experts];
  }
  if (s.score == RouterScore::kSigmoid) {
#pragma unroll
    for (int i = 0; i < kPer; ++i) scores[i] = 1.f / (1.f + expf(-scores[i]));
  } else {
    float largest = scores[0], sum = 0;
#pragma unroll
    for (int i = 1; i < kPer; ++i) largest = fmaxf(largest, scores[i]);
    largest = WarpMax(largest);
#pragma unroll
    for (int i = 0; i < kPer; ++i) {
      scores[i] = expf(scores[i] - largest);
      if (lane + kWarpSize * i < num_experts) sum += scores[i];
    }
    sum = WarpSum(sum);
#pragma unroll
    for (int i = 0; i < kPer; ++i) scores[i] /= sum;
  }
  uint32_t keys[kPer];
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int e = lane + kWarpSize * i;
    keys[i] = kNoKey;
    if (e >= num_experts) continue;
    p.scores[t * num_experts + e] = scores[i];
    keys[i] = KeyOf(scores[i] + (p.bias == nullptr ? 0.f : p.bias[e]));
  }
  if (s.top_groups < s.num_groups) KeepTopGroups(s, keys);

  const int slots = static_cast<int>(s.experts_per_token);
  int index = 0;  // of slot `lane`, and its score
  float score = 0, sum = 0;
  for (int j = 0; j < slots; ++j) {
    const int chosen = TakeBest(keys).number;
    const float of_chosen = ValueOf(scores, chosen);
    sum += of_chosen;
    if (lane == j) {
      index = chosen;
      score = of_chosen;
    }
  }
  if (lane >= slots) return;
  const float scale = static_cast<float>(s.scale);
  p.indices[t * slots + lane] = index;
  p.weights[t * slots + lane] = (s.renormalize ? scale / (sum + 1e-20f) : scale) * score;
}

// d_z, and with `parts` [T, 4, E] its bf16 parts 0, 0, 1, 2.
template <int kPer, typename Io>
__global__ void __launch_bounds__(kThreads) LogitsGradKernel(MoeRouteBwdParams<Io> p, Bf16* parts) {
  const MoeRouteShape& s = p.shape;
  const int64_t t = TokenOfWarp();
  if (t >= s.num_tokens) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int num_experts = static_cast<int>(s.num_experts);
  const int slots = static_cast<int>(s.experts_per_token);
  float scores[kPer], d[kPer];
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int e = lane + kWarpSize * i;
    const bool inside = e < num_experts;
    scores[i] = inside ? p.scores[t * num_experts + e] : 0.f;
    d[i] = inside && p.d_scores != nullptr ? p.d_scores[t * num_experts + e] : 0.f;
  }
  if (p.d_weights != nullptr) {
    const bool has_slot = lane < slots;
    const int index = has_slot ? p.indices[t * slots + lane] : 0;
    const float d_weight = has_slot ? p.d_weights[t * slots + lane] : 0.f;
    const float product = has_slot ? d_weight * p.weights[t * slots + lane] : 0.f;
    const float scale = static_cast<float>(s.scale);
    float factor = scale, mean = 0;
    if (s.renormalize) {
      float sum = 0;
      for (int j = 0; j < slots; ++j) {
        sum += ValueOf(scores, __shfl_sync(0xffffffffu, index, j));
        mean += __shfl_sync(0xffffffffu, product, j);
      }
      factor = scale / (sum + 1e-20f);
      mean /= scale;
    }
    for (int j = 0; j < slots; ++j) {
      const int chosen = __shfl_sync(0xffffffffu, index, j);
      const float d_score = factor * (__shfl_sync(0xffffffffu, d_weight, j) - mean);
#pragma unroll
      for (int i = 0; i < kPer; ++i) {
        if (lane + kWarpSize * i == chosen) d[i] += d_score;
      }
    }
  }
  if (s.score == RouterScore::kSigmoid) {
#pragma unroll
    for (int i = 0; i < kPer; ++i) d[i] *= scores[i] * (1.f - scores[i]);
  } else {
    float mean = 0;
#pragma unroll
    for (int i = 0; i < kPer; ++i) mean = fmaf(d[i], scores[i], mean);
    mean = WarpSum(mean);
#pragma unroll
    for (int i = 0; i < kPer; ++i) d[i] = scores[i] * (d[i] - mean);
  }
#pragma unroll
  for (int i = 0; i < kPer; ++i) {
    const int e = lane + kWarpSize * i;
    if (e >= num_experts) continue;
    p.d_logits[t * num_experts + e] = d[i];
    if constexpr (kSplits<Io>) {
      Bf16 split[kParts];
      Split(d[i], split);
      Bf16* const to = parts + t * 4 * num_experts + e;
      to[0] = split[0];
      to[num_experts] = split[0];
      to[2 * num_experts] = split[1];
      to[3 * num_experts] = split[2];
    }
  }
}

unsigned Blocks(int64_t tokens) { return static_cast<unsigned>(CeilDiv<int64_t>(tokens, kWarps)); }

void CheckShape(const MoeRouteShape& s) {
  CHECK(s.num_experts >= 1 && s.num_experts <= kMaxExperts && s.experts_per_token <= kWarpSize,
        s.experts_per_token, " of ", s.num_experts, " experts");
}

}  // namespace

template <typename Io>
void MoeRouteFwd(CudaTag tag, const MoeRouteFwdParams<Io>& p) {
  const MoeRouteShape& s = p.shape;
  CheckShape(s);
  if (s.num_tokens == 0) return;
  const int64_t E = s.num_experts;
  const Buffer logits(Device::kCuda, s.num_tokens * kLogitParts<Io> * E * sizeof(float));
  const auto product = [&](const Io* weight) {
    Gemm(tag, GemmParams<Io, float>{.m = s.num_tokens,
                                    .n = kLogitParts<Io> * E,
                                    .k = s.dim,
                                    .transpose_b = true,
                                    .a = p.x,
                                    .b = weight,
                                    .c = logits.as<float>(),
                                    .stream = p.stream});
  };
  if constexpr (kSplits<Io>) {
    product(SplitWeight<false>(p.weight, E * s.dim, p.stream).template as<Bf16>());
  } else {
    product(p.weight);
  }
  VisitPer(E, [&](auto per) {
    ChooseKernel<decltype(per)::value>
        <<<Blocks(s.num_tokens), kThreads, 0, ToStream(p.stream)>>>(p, logits.as<float>());
  });
  CUDA_CHECK_LAUNCH();
}

template <typename Io>
void MoeRouteBwd(CudaTag tag, const MoeRouteBwdParams<Io>& p) {
  const MoeRouteShape& s = p.shape;
  CheckShape(s);
  const int64_t T = s.num_tokens, E = s.num_experts, D = s.dim;
  const Buffer parts(Device::kCuda, kSplits<Io> ? T * 4 * E * sizeof(Bf16) : 0);
  if (T > 0) {
    VisitPer(E, [&](auto per) {
      LogitsGradKernel<decltype(per)::value>
          <<<Blocks(T), kThreads, 0, ToStream(p.stream)>>>(p, parts.as<Bf16>());
    });
    CUDA_CHECK_LAUNCH();
  }
  if constexpr (kSplits<Io>) {
    if (p.d_x != nullptr && T > 0) {
      const Buffer weight = SplitWeight<true>(p.weight, E * D, p.stream);
      Gemm(tag, GemmParams<Bf16, Bf16>{.m = T,
                                       .n = D,
                                       .k = 4 * E,
                                       .a = parts.as<Bf16>(),
                                       .b = weight.as<Bf16>(),
                                       .c = p.d_x,
                                       .stream = p.stream});
    }
    if (p.d_weight != nullptr) {
      const Buffer sums(Device::kCuda, 4 * E * D * sizeof(float));
      Gemm(tag, GemmParams<Bf16, float>{.m = 4 * E,
                                        .n = D,
                                        .k = T,
                                        .transpose_a = true,
                                        .a = parts.as<Bf16>(),
                                        .b = p.x,
                                        .c = sums.as<float>(),
                                        .stream = p.stream});
      SumPartials(sums.as<float>() + E * D, kParts, E * D, p.d_weight, p.add_d_weight, p.stream);
    }
  } else {
    if (p.d_x != nullptr) {
      Gemm(tag, GemmParams<float, float>{.m = T,
                                         .n = D,
                                         .k = E,
                                         .a = p.d_logits,
                                         .b = p.weight,
                                         .c = p.d_x,
                                         .stream = p.stream});
    }
    if (p.d_weight != nullptr) {
      Gemm(tag, GemmParams<float, float>{.m = E,
                                         .n = D,
                                         .k = T,
                                         .transpose_a = true,
                                         .beta = p.add_d_weight ? 1.0 : 0.0,
                                         .a = p.d_logits,
                                         .b = p.x,
                                         .c = p.d_weight,
                                         .stream = p.stream});
    }
  }
}

template void MoeRouteFwd(CudaTag, const MoeRouteFwdParams<float>&);
template void MoeRouteFwd(CudaTag, const MoeRouteFwdParams<Bf16>&);
template void MoeRouteBwd(CudaTag, const MoeRouteBwdParams<float>&);
template void MoeRouteBwd(CudaTag, const MoeRouteBwdParams<Bf16>&);

}  // namespace wyvern
