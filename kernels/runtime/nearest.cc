#include "kernels/runtime/nearest.h"

#include <algorithm>
#include <cstdint>

namespace wyvern {
namespace {

// Optimal string alignment distance.
int64_t Distance(absl::string_view a, absl::string_view b) {
  const int64_t n = static_cast<int64_t>(a.size()), m = static_cast<int64_t>(b.size());
  std::vector<std::vector<int64_t>> d(n + 1, std::vector<int64_t>(m + 1));
  for (int64_t i = 0; i <= n; ++i) d[i][0] = i;
  for (int64_t j = 0; j <= m; ++j) d[0][j] = j;
  for (int64_t i = 1; i <= n; ++i) {
    for (int64_t j = 1; j <= m; ++j) {
      d[i][j] = std::min(
          {d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[n][m];
}

}  // namespace

std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  int64_t least = std::max<int64_t>(2, static_cast<int64_t>(word.size()) / 2) + 1;
  for (const std::string& candidate : candidates) {
    const int64_t distance = Distance(word, candidate);
    if (distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace wyvern
