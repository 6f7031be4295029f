#include "trainer/scoring/batch_plan.h"

#include <gtest/gtest.h>

#include <tuple>

namespace wyvern {
namespace {

using Ranges = std::vector<std::pair<size_t, size_t>>;
Ranges Batches(const std::vector<int64_t>& lengths, int64_t max_texts, int64_t max_tokens) {
  Ranges ranges;
  for (const BatchRange& range : PlanBatches(lengths, max_texts, max_tokens)) {
    ranges.emplace_back(range.begin, range.end);
  }
  return ranges;
}

TEST(PlanBatches, KeepsBothLimits) {
  EXPECT_EQ(Batches({}, 2, 10), Ranges());
  EXPECT_EQ(Batches({3, 3, 3, 3, 3}, 2, 10), (Ranges{{0, 2}, {2, 4}, {4, 5}}));
  EXPECT_EQ(Batches({3, 3, 3, 3, 3}, 9, 10), (Ranges{{0, 3}, {3, 5}}));
  EXPECT_EQ(Batches({5, 5, 0, 40, 1}, 9, 10), (Ranges{{0, 3}, {3, 4}, {4, 5}}));
}

using Pieces = std::vector<std::vector<std::tuple<size_t, int64_t, int64_t>>>;
Pieces Forwards(const std::vector<int64_t>& lengths, int64_t max_tokens) {
  Pieces forwards;
  for (const auto& forward : PlanForwards(lengths, max_tokens)) {
    forwards.emplace_back();
    for (const ReadPiece& piece : forward) {
      forwards.back().emplace_back(piece.text, piece.begin, piece.end);
    }
  }
  return forwards;
}

TEST(PlanForwards, CutsOnlyWhatIsTooLong) {
  EXPECT_EQ(Forwards({0, 0}, 10), Pieces());
  EXPECT_EQ(Forwards({0, 4, 5, 2}, 10), (Pieces{{{1, 0, 4}, {2, 0, 5}}, {{3, 0, 2}}}));
  EXPECT_EQ(Forwards({3, 25, 4}, 10),
            (Pieces{{{0, 0, 3}}, {{1, 0, 10}}, {{1, 10, 20}}, {{1, 20, 25}, {2, 0, 4}}}));
}

}  // namespace
}  // namespace wyvern
