#ifndef WYVERN_AUTOGRAD_DOCUMENTS_H_
#define WYVERN_AUTOGRAD_DOCUMENTS_H_

#include <cstdint>
#include <vector>

#include "autograd/tensor.h"
#include "kernels/runtime/check.h"

namespace wyvern {

// Ends the program with a message that begins with `op` unless `offsets` [N + 1] divide
// `num_tokens` packed tokens into N documents, which may be empty, and `cu_seqlens` on the op's
// device has as many.
inline void CheckDocuments(const char* op, const std::vector<int32_t>& offsets,
                           const Tensor& cu_seqlens, int64_t num_tokens) {
  const int64_t num_docs = static_cast<int64_t>(offsets.size()) - 1;
  CHECK(num_docs >= 0 && offsets.front() == 0 && offsets.back() == num_tokens, op,
        ": cu_seqlens must run from 0 to the number of tokens, ", num_tokens);
  for (int64_t n = 0; n < num_docs; ++n) {
    CHECK(offsets[n] <= offsets[n + 1], op, ": cu_seqlens falls at document ", n);
  }
  CHECK(cu_seqlens.shape() == Shape{num_docs + 1}, op, ": cu_seqlens is ",
        ToString(cu_seqlens.shape()), ", expected ", ToString(Shape{num_docs + 1}));
}

}  // namespace wyvern

#endif  // WYVERN_AUTOGRAD_DOCUMENTS_H_
