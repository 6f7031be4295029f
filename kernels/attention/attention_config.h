// Which CUDA implementation serves an attention, as a value that can be printed and tested without
// a GPU.
#ifndef WYVERN_KERNELS_ATTENTION_ATTENTION_CONFIG_H_
#define WYVERN_KERNELS_ATTENTION_ATTENTION_CONFIG_H_

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/attention/attention.h"
#include "kernels/runtime/allocator.h"

namespace wyvern {

enum class AttentionEngine { kTiled, kCudnn };

// Tile sizes of Wyvern's own kernels. The forward and dq hold `held` queries and stream tiles of
// keys; dk and dv hold `held` keys and stream tiles of queries.
struct AttentionTiles {
  int padded_dim = 0;  // D and DV are padded with zeros to this
  int held = 0, streamed_forward = 0, streamed_backward = 0;
};

constexpr AttentionTiles AttentionTilesFor(bool bf16, int padded_dim) {
  if (!bf16) return {padded_dim, 32, 32, 32};
  return {padded_dim, 64, padded_dim == 256 ? 32 : 64, 32};
}

constexpr const char* Name(AttentionEngine engine) {
  return engine == AttentionEngine::kTiled ? "tiled" : "cudnn";
}

// What one call of cuDNN's backward takes: whole documents, or some key heads of one document with
// the query heads that read them.
struct AttentionGroup {
  int64_t docs = 0, kv_heads = 0;
};

struct AttentionConfig {
  // lse is [N, H, S] when cuDNN runs the forward, else [Tq, H]; the tiled backward reads either.
  AttentionEngine forward = AttentionEngine::kTiled, backward = AttentionEngine::kTiled;
  AttentionGroup group;  // of cuDNN's backward; the last one may be smaller
  AttentionTiles tiles;  // of the tiled engine

  std::string ToString() const {
    const std::string grouped =
        backward == AttentionEngine::kCudnn
            ? absl::StrCat(" by ", group.docs, " documents of ", group.kv_heads, " key heads")
            : std::string();
    return absl::StrCat("forward ", Name(forward), ", backward ", Name(backward), grouped, ", dim ",
                        tiles.padded_dim, ", held ", tiles.held, ", streamed ",
                        tiles.streamed_forward, "/", tiles.streamed_backward);
  }
};

// The tiled engine serves every shape with D, DV <= 256.
inline AttentionConfig TiledAttention(const AttentionShape& s, DType io) {
  const int64_t dim = std::max(s.key_dim, s.value_dim);
  AttentionConfig config;
  config.tiles = AttentionTilesFor(io == DType::kBf16, dim <= 64 ? 64 : (dim <= 128 ? 128 : 256));
  return config;
}

// The length that all documents share, queries and keys alike; 0 if they do not.
inline int64_t EqualLength(const AttentionShape& s) {
  if (s.num_docs == 0 || s.num_queries != s.num_keys) return 0;
  const int64_t length = s.num_queries / s.num_docs;
  for (int64_t n = 0; n <= s.num_docs; ++n) {
    if (s.cu_seqlens_q[n] != n * length || s.cu_seqlens_k[n] != n * length) return 0;
  }
  return length;
}

// cuDNN's deterministic backward on Hopper keeps dP of all pairs of a call in bf16, whatever the
// window. Calls are made to keep below the first size if they can; where the heads of one key head
// in one document take more than the second, the tiled backward, which needs no such memory, takes
// its place.
inline constexpr int64_t kCudnnBackwardBytes = int64_t{1} << 30;
inline constexpr int64_t kMaxCudnnBackwardBytes = int64_t{2} << 30;

// The fewest calls of even size for N documents of `length` tokens; no documents: none would do.
inline AttentionGroup CudnnBackwardGroup(const AttentionShape& s, int64_t length) {
  const auto even = [](int64_t all, int64_t most) {
    const int64_t calls = (all + most - 1) / most;
    return (all + calls - 1) / calls;
  };
  const int64_t head_bytes = 2 * length * length * (s.num_heads / s.num_kv_heads);
  const int64_t doc_bytes = head_bytes * s.num_kv_heads;
  if (doc_bytes <= kCudnnBackwardBytes) {
    return {even(s.num_docs, kCudnnBackwardBytes / doc_bytes), s.num_kv_heads};
  }
  // Of a long document under a short window nearly all pairs are masked: the tiled kernels, which
  // visit no others, win over many calls that each write all of dP.
  if (head_bytes > kMaxCudnnBackwardBytes || (s.window > 0 && s.window < length / 4)) return {};
  return {1, even(s.num_kv_heads, std::max<int64_t>(1, kCudnnBackwardBytes / head_bytes))};
}

// cuDNN is wanted for bf16 where documents have one length, a multiple of 64 (its plans take long
// to build, so they pay only for lengths that come again, as in training), and head dims are
// multiples of 8 up to 128, or 192 and 128 as of latent attention (arXiv 2405.04434), which Hopper
// serves. Whether the installed cuDNN supports the shape is asked afterwards
// (kernels/attention/cuda/cudnn_attention.h); if not, the tiled engine takes over before anything
// has run.
inline AttentionConfig ChooseAttention(const AttentionShape& s, DType io) {
  const auto fits = [](int64_t dim) { return dim % 8 == 0 && dim <= 128; };
  const int64_t length = EqualLength(s);
  AttentionConfig config = TiledAttention(s, io);
  const bool latent = s.key_dim == 192 && s.value_dim == 128;
  if (io == DType::kBf16 && length > 0 && length % 64 == 0 &&
      (latent || (fits(s.key_dim) && fits(s.value_dim)))) {
    config.forward = AttentionEngine::kCudnn;
    config.group = CudnnBackwardGroup(s, length);
    if (config.group.docs > 0) config.backward = AttentionEngine::kCudnn;
  }
  return config;
}

// What the CUDA backward holds beside its inputs and outputs.
inline int64_t AttentionBackwardBytes(const AttentionShape& s, const AttentionConfig& config) {
  if (config.backward == AttentionEngine::kTiled) return s.num_queries * s.num_heads * 4;
  const int64_t length = EqualLength(s), group = s.num_heads / s.num_kv_heads;
  return 2 * config.group.docs * config.group.kv_heads * group * length * length;
}

template <typename Io>
void AttentionFwd(MetaTag, const AttentionFwdParams<Io>&) {}
template <typename Io>
void AttentionBwd(MetaTag, const AttentionBwdParams<Io>& p) {
  const AttentionConfig config = ChooseAttention(p.shape, kDTypeOf<Io>);
  CountScratch(static_cast<size_t>(AttentionBackwardBytes(p.shape, config)));
}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_ATTENTION_ATTENTION_CONFIG_H_
