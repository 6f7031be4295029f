#ifndef WYVERN_LAYERS_DECODE_GRAPH_H_
#define WYVERN_LAYERS_DECODE_GRAPH_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "kernels/runtime/arena.h"
#include "kernels/runtime/graph.h"
#include "layers/decode_cache.h"
#include "layers/model.h"

namespace wyvern {

// Steps of one token of each sequence, as decoding takes them. What the kernels of a step ask for
// differs only in numbers that they read from memory: ids, positions, the rows of caches. So on
// CUDA the second step is recorded, and the host then launches one graph a token, where queueing
// every kernel takes longer than running them. Where caches move to other memory, which they do
// when they grow, the step is recorded again. On the CPU the same work runs each time.
//
// The cache may be read and continued by other means between steps (Model::Hidden), which the next
// step notices.
class DecodeGraph {
 public:
  // Both outlive this. Without `record` every step is queued kernel by kernel.
  DecodeGraph(Model* model, DecodeCache* cache, bool record = true);

  // Continues each sequence by its token and returns the final-norm output [N, D], which the next
  // step overwrites. A step that begins a sequence runs as Model::Hidden.
  Tensor Step(absl::Span<const int32_t> ids);

  int64_t num_records() const { return num_records_; }  // so far

 private:
  // Writes what the step's kernels read, and advances the cache.
  void Prepare(absl::Span<const int32_t> ids);
  void Run();  // queues the step

  Model* model_;
  DecodeCache* cache_;
  bool record_;
  Packing packing_;
  Tensor numbers_;  // int32: ids [N], positions [N], and those of each layer's cache
  Tensor hidden_;   // [N, D]
  Arena arena_;
  // The memory that the next step uses, that of the last step that was queued, and that of
  // `graph_`.
  std::vector<uintptr_t> addresses_, queued_, recorded_;
  Graph graph_;
  int64_t num_records_ = 0;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_DECODE_GRAPH_H_
