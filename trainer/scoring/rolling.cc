#include "trainer/scoring/rolling.h"

#include <algorithm>

namespace wyvern {

std::vector<ScoreRequest> RollingRequests(absl::Span<const int32_t> text, int32_t prefix,
                                          int64_t max_length) {
  const auto size = static_cast<int64_t>(text.size());
  const int64_t window = max_length == 0 ? size : std::min(max_length, size);
  const auto tokens = [&](int64_t begin, int64_t end) {
    return std::vector<int32_t>(text.begin() + begin, text.begin() + end);
  };
  std::vector<ScoreRequest> requests;
  for (int64_t begin = 0; begin < size; begin += window) {
    const int64_t end = std::min(begin + window, size);
    requests.push_back(
        {.context = begin == 0 ? std::vector<int32_t>{prefix} : tokens(end - window - 1, begin),
         .continuation = tokens(begin, end)});
  }
  return requests;
}

}  // namespace wyvern
