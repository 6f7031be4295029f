#include "trainer/requests/share.h"

#include <algorithm>
#include <utility>

#include "absl/strings/string_view.h"

namespace wyvern {
namespace {

// Blocks of neighbours go round, small enough that each rank gets several.
size_t RankOf(size_t request, size_t num_requests, size_t num_ranks) {
  const size_t block = std::clamp<size_t>(num_requests / (8 * num_ranks), 1, 64);
  return request / block % num_ranks;
}

}  // namespace

std::vector<Request> ShareOfRank(std::vector<Request> requests, int rank, int num_ranks) {
  std::vector<Request> share;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (RankOf(i, requests.size(), static_cast<size_t>(num_ranks)) != static_cast<size_t>(rank)) {
      continue;
    }
    share.push_back(std::move(requests[i]));
  }
  return share;
}

std::string LinesInOrder(const std::vector<std::string>& lines_of_ranks) {
  size_t num_requests = 0;
  for (const std::string& lines : lines_of_ranks) {
    num_requests += static_cast<size_t>(std::count(lines.begin(), lines.end(), '\n'));
  }
  std::vector<absl::string_view> rest(lines_of_ranks.begin(), lines_of_ranks.end());
  std::string in_order;
  for (size_t i = 0; i < num_requests; ++i) {
    absl::string_view& lines = rest[RankOf(i, num_requests, rest.size())];
    const size_t size = lines.find('\n') + 1;
    in_order.append(lines.data(), size);
    lines.remove_prefix(size);
  }
  return in_order;
}

}  // namespace wyvern
