#include "kernels/attention/attention_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

// Where the heads of one key head in one document take more than this, the tiled backward, which
// needs no such memory, takes the place of cuDNN's.
constexpr int64_t kMaxCudnnBackwardBytes = int64_t{2} << 30;

// FLOPs from which on keys are divided, about 5 ms of the tiled engine on an H200.
constexpr double kDividedFlops = 5e11;
// Offsets inside a call stay below what fits 32 bits with a sign.
constexpr int64_t kMaxCallElements = int64_t{1} << 31;

}  // namespace

std::string AttentionPlan::ToString() const {
  const std::string grouped =
      backward == AttentionEngine::kCudnn
          ? absl::StrCat(" by ", group.docs, " documents of ", group.kv_heads, " key heads")
          : std::string();
  const std::string forwards =
      runs.queries > 0 ? absl::StrCat(runs.keys.size(), " runs of keys") : Name(forward);
  return absl::StrCat("forward ", forwards, ", backward ", Name(backward), grouped, ", dim ",
                      tiles.padded_dim, ", held ", tiles.held, ", streamed ",
                      tiles.streamed_forward, "/", tiles.streamed_backward);
}

AttentionPlan TiledAttention(const AttentionDesc& desc) {
  const int64_t dim = std::max(desc.shape.key_dim, desc.shape.value_dim);
  AttentionPlan plan;
  plan.tiles =
      AttentionTilesFor(desc.io == DType::kBf16, dim <= 64 ? 64 : (dim <= 128 ? 128 : 256));
  return plan;
}

int64_t EqualLength(const AttentionShape& s) {
  if (s.num_docs == 0 || s.num_queries != s.num_keys || s.key_ends != nullptr) return 0;
  const int64_t length = s.num_queries / s.num_docs;
  for (int64_t n = 0; n <= s.num_docs; ++n) {
    if (s.cu_seqlens_q[n] != n * length || s.cu_seqlens_k[n] != n * length) return 0;
  }
  return length;
}

AttentionRuns DivideKeys(const AttentionShape& s) {
  AttentionRuns runs;
  const int64_t queries = s.num_queries / 64 * 64, before = s.num_keys - s.num_queries;
  if (!s.forward_only || s.max_logit || s.window != 0 || s.num_docs != 1 || queries == 0 ||
      s.key_ends != nullptr) {
    return {};
  }
  const double pairs = static_cast<double>(queries) *
                       (static_cast<double>(before) + static_cast<double>(queries) / 2);
  const double dims = static_cast<double>(s.num_heads * (s.key_dim + s.value_dim));
  if (before == 0 || 2 * dims * pairs < kDividedFlops) return {};
  const int64_t longest = kMaxCallElements / std::max(s.k_stride, s.v_stride);
  for (int64_t rest = before; rest > 0; rest -= runs.keys.back()) {
    int64_t run = std::min(queries, rest);
    while (run >= queries && 2 * run <= std::min(rest, longest)) run *= 2;
    runs.keys.push_back(run);
  }
  runs.queries = queries;
  return runs;
}

AttentionGroup CudnnBackwardGroup(const AttentionShape& s, int64_t length) {
  const auto even = [](int64_t all, int64_t most) {
    const int64_t calls = (all + most - 1) / most;
    return (all + calls - 1) / calls;
  };
  const int64_t head_bytes = 2 * length * length * (s.num_heads / s.num_kv_heads);
  const int64_t doc_bytes = head_bytes * s.num_kv_heads;
  if (doc_bytes <= kCudnnBackwardBytes) {
    return {even(s.num_docs, kCudnnBackwardBytes / doc_bytes), s.num_kv_heads};
  }
  // In a long document under a short window nearly all pairs are masked: the tiled kernels, which
  // visit no others, win over many calls that each write all of dP.
  if (head_bytes > kMaxCudnnBackwardBytes || (s.window > 0 && s.window < length / 4)) return {};
  return {1, even(s.num_kv_heads, std::max<int64_t>(1, kCudnnBackwardBytes / head_bytes))};
}

AttentionPlan ChooseAttention(const AttentionDesc& desc, const GpuInfo& gpu) {
  const AttentionShape& s = desc.shape;
  const auto fits = [](int64_t dim) { return dim % 8 == 0 && dim <= 128; };
  const int64_t length = EqualLength(s);
  AttentionPlan plan = TiledAttention(desc);
  const bool latent = gpu.major >= 9 && s.key_dim == 192 && s.value_dim == 128;
  const bool dims = latent || (fits(s.key_dim) && fits(s.value_dim));
  if (desc.io == DType::kBf16 && dims) plan.runs = DivideKeys(s);
  if (desc.io == DType::kBf16 && dims && length > 0 && length % 64 == 0) {
    plan.forward = AttentionEngine::kCudnn;
    plan.group = CudnnBackwardGroup(s, length);
    if (plan.group.docs > 0) plan.backward = AttentionEngine::kCudnn;
  }
  return plan;
}

int64_t AttentionBackwardBytes(const AttentionShape& s, const AttentionPlan& plan) {
  if (plan.backward == AttentionEngine::kTiled) return s.num_queries * s.num_heads * 4;
  const int64_t length = EqualLength(s), group = s.num_heads / s.num_kv_heads;
  return 2 * plan.group.docs * plan.group.kv_heads * group * length * length;
}

}  // namespace wyvern
