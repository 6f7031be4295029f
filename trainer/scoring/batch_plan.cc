#include "trainer/scoring/batch_plan.h"

#include <algorithm>

namespace wyvern {

std::vector<BatchRange> PlanBatches(absl::Span<const int64_t> lengths, int64_t max_texts,
                                    int64_t max_tokens) {
  std::vector<BatchRange> batches;
  int64_t tokens = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const bool full =
        !batches.empty() && (static_cast<int64_t>(i - batches.back().begin) == max_texts ||
                             tokens + lengths[i] > max_tokens);
    if (batches.empty() || full) {
      batches.push_back({.begin = i, .end = i});
      tokens = 0;
    }
    batches.back().end = i + 1;
    tokens += lengths[i];
  }
  return batches;
}

std::vector<std::vector<ReadPiece>> PlanForwards(absl::Span<const int64_t> lengths,
                                                 int64_t max_tokens) {
  std::vector<std::vector<ReadPiece>> forwards;
  int64_t room = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    for (int64_t begin = 0; begin < lengths[i]; begin += max_tokens) {
      const int64_t end = std::min(begin + max_tokens, lengths[i]);
      if (end - begin > room) {
        forwards.emplace_back();
        room = max_tokens;
      }
      forwards.back().push_back({.text = i, .begin = begin, .end = end});
      room -= end - begin;
    }
  }
  return forwards;
}

}  // namespace wyvern
