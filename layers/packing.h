#ifndef WYVERN_LAYERS_PACKING_H_
#define WYVERN_LAYERS_PACKING_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/parallel/context_split.h"

namespace wyvern {

// How T packed tokens divide into N documents. State, convolution, attention and positions start
// anew at each one. With `context` they are one rank's part of a longer stream, whose first and
// last documents may continue at other ranks.
struct Packing {
  std::vector<int32_t> cu_seqlens_host;   // [N + 1], from 0 to T, not decreasing
  Tensor cu_seqlens;                      // the same on the model's device
  Tensor positions;                       // [T] int32 on the device, position inside its document
  std::vector<int32_t> first_positions;   // of the first documents; the others begin at 0
  std::shared_ptr<ContextSplit> context;  // null: these are all tokens
  // One token of each document, whose caches have been prepared (MixerCache::PrepareStep).
  bool step = false;

  // With `first_position`, document 0's positions start there (a continued sequence).
  static Packing FromDocuments(std::vector<int32_t> cu_seqlens, Device device,
                               int32_t first_position = 0);
  // The positions of document i start at first_positions[i].
  static Packing FromDocuments(std::vector<int32_t> cu_seqlens, Device device,
                               std::vector<int32_t> first_positions);

  // This rank's part; tensors lie on the device of the split's group.
  static Packing FromContext(std::shared_ptr<ContextSplit> context);

  int64_t num_documents() const { return static_cast<int64_t>(cu_seqlens_host.size()) - 1; }
  int64_t num_tokens() const { return cu_seqlens_host.back(); }
  int64_t first_position(int64_t document) const {
    const auto i = static_cast<size_t>(document);
    return i < first_positions.size() ? first_positions[i] : 0;
  }
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_PACKING_H_
