// Which CUDA implementation serves an attention, as a value that can be printed and tested without
// a GPU.
#ifndef WYVERN_KERNELS_ATTENTION_ATTENTION_PLAN_H_
#define WYVERN_KERNELS_ATTENTION_ATTENTION_PLAN_H_

#include <string>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/runtime/gpu.h"

namespace wyvern {

struct AttentionDesc {
  AttentionShape shape;
  DType io = DType::kBf16;
};

enum class AttentionEngine { kTiled, kCudnn };

constexpr const char* Name(AttentionEngine engine) {
  return engine == AttentionEngine::kTiled ? "tiled" : "cudnn";
}

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

// cuDNN's deterministic backward on Hopper keeps dP of all pairs of a call in bf16, whatever the
// window. Calls are made to keep below this if they can.
inline constexpr int64_t kCudnnBackwardBytes = int64_t{1} << 30;

// The work of one call of cuDNN's backward: whole documents, or some key heads of one document with
// the query heads that read them.
struct AttentionGroup {
  int64_t docs = 0, kv_heads = 0;
};

// Queries behind many cached keys (a long prompt that is read in pieces), as calls of cuDNN: the
// first `queries` attend to the keys before all of them, run by run and without a mask, and to
// their own ones causally. The results are merged (kernels/attention/attention_merge.h). Fewer than
// 64 queries are left to the tiled engine.
struct AttentionRuns {
  int64_t queries = 0;        // a multiple of 64; 0: the keys are not divided
  std::vector<int64_t> keys;  // lengths of the runs, from the first key on
};

struct AttentionPlan {
  // lse is [N, H, S] when cuDNN runs the forward, else [Tq, H]; the tiled backward reads either.
  AttentionEngine forward = AttentionEngine::kTiled, backward = AttentionEngine::kTiled;
  AttentionGroup group;  // of cuDNN's backward; the last one may be smaller
  AttentionTiles tiles;  // of the tiled engine
  AttentionRuns runs;    // if not empty, they take the place of `forward`

  std::string ToString() const;
};

// cuDNN is wanted for bf16 where documents have one length, a multiple of 64 (its plans take long
// to build, so they pay only for lengths that come again, as in training), and head dims are
// multiples of 8 up to 128, or, from Hopper on, 192 and 128 as in MLA (arXiv
// 2405.04434). Whether the installed cuDNN supports the shape is asked afterwards
// (kernels/attention/cuda/cudnn_attention.h); if not, the tiled engine takes over before anything
// has run.
AttentionPlan ChooseAttention(const AttentionDesc& desc, const GpuInfo& gpu);

// The tiled engine, which serves every shape with D, DV <= 256 on every GPU.
AttentionPlan TiledAttention(const AttentionDesc& desc);

// The length that all documents share, queries and keys alike; 0 if they do not.
int64_t EqualLength(const AttentionShape& s);

// The runs of a forward that nothing follows, of one document without a window and with more keys
// than queries. Runs are as long as the queries, times powers of two, so that pieces of one length
// ask for few plans of cuDNN; what remains is a run of its own. None where the tiled engine takes
// less time than plans do.
AttentionRuns DivideKeys(const AttentionShape& s);

// The fewest calls of even size for N documents of `length` tokens; no documents: none would do.
AttentionGroup CudnnBackwardGroup(const AttentionShape& s, int64_t length);

// The bytes that the CUDA backward holds beside its inputs and outputs.
int64_t AttentionBackwardBytes(const AttentionShape& s, const AttentionPlan& plan);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_ATTENTION_ATTENTION_PLAN_H_
