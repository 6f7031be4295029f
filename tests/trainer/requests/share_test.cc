#include "trainer/requests/share.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

TEST(Share, LinesOfRanksComeBackInOrder) {
  for (const int num_ranks : {1, 2, 3, 8}) {
    for (const size_t count : {0, 1, 7, 100, 5000}) {
      std::vector<Request> requests(count);
      std::string expected;
      for (size_t i = 0; i < count; ++i) {
        requests[i].id = i;
        absl::StrAppend(&expected, i, "\n");
      }
      std::vector<std::string> lines;
      size_t most = 0;
      for (int rank = 0; rank < num_ranks; ++rank) {
        const std::vector<Request> share = ShareOfRank(requests, rank, num_ranks);
        lines.emplace_back();
        for (const Request& request : share)
          absl::StrAppend(&lines.back(), request.id.dump(), "\n");
        most = std::max(most, share.size());
      }
      EXPECT_EQ(LinesInOrder(lines), expected);
      // No rank has much more than its part.
      EXPECT_LE(most, count / static_cast<size_t>(num_ranks) + 64);
    }
  }
}

TEST(Share, NeighboursStayTogether) {
  const std::vector<Request> share = ShareOfRank(
      [] {
        std::vector<Request> requests(6400);
        for (size_t i = 0; i < requests.size(); ++i) requests[i].id = i;
        return requests;
      }(),
      1, 2);
  ASSERT_EQ(share.size(), 3200u);
  EXPECT_EQ(share[0].id, 64);
  EXPECT_EQ(share[63].id, 127);
  EXPECT_EQ(share[64].id, 192);
}

}  // namespace
}  // namespace wyvern
