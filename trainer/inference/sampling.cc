#include "trainer/inference/sampling.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/random.h"

namespace wyvern {

absl::Status SamplingOptions::Validate() const {
  if (!(temperature >= 0) || !std::isfinite(temperature)) {
    return absl::InvalidArgumentError(
        absl::StrCat("temperature: expected 0 (greedy) or more, got ", temperature));
  }
  if (top_k < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("top_k: expected 0 (all tokens) or more, got ", top_k));
  }
  if (!(top_p > 0 && top_p <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("top_p: expected a probability in (0, 1], got ", top_p));
  }
  return absl::OkStatus();
}

int32_t SampleToken(absl::Span<const float> logits, const SamplingOptions& options,
                    uint64_t position) {
  std::vector<int32_t> order;
  order.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!std::isnan(logits[i])) order.push_back(static_cast<int32_t>(i));
  }
  CHECK(!order.empty(), "no logit is a number");
  const auto likelier = [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  const int32_t best = *std::min_element(order.begin(), order.end(), likelier);
  // Infinite logits have no probabilities; the largest one wins.
  if (options.temperature == 0 || std::isinf(logits[best])) return best;

  const int64_t count = static_cast<int64_t>(order.size());
  const int64_t kept = options.top_k == 0 ? count : std::min(options.top_k, count);
  if (kept < count) {
    std::nth_element(order.begin(), order.begin() + (kept - 1), order.end(), likelier);
    order.resize(kept);
  }
  if (kept < count || options.top_p < 1) std::sort(order.begin(), order.end(), likelier);
  std::vector<double> weight(order.size());
  double total = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    weight[i] =
        std::exp((static_cast<double>(logits[order[i]]) - logits[best]) / options.temperature);
    total += weight[i];
  }
  size_t end = order.size();
  if (options.top_p < 1) {
    double sum = 0;
    for (end = 0; end < order.size() && sum < options.top_p * total; ++end) sum += weight[end];
    total = sum;
  }
  const double target = Random(options.seed, "generate").Uniform(position) * total;
  double sum = 0;
  size_t last = 0;  // rounding may leave the sum below the target: the last possible token then
  for (size_t i = 0; i < end; ++i) {
    if (weight[i] == 0) continue;
    sum += weight[i];
    last = i;
    if (target < sum) break;
  }
  return order[last];
}

}  // namespace wyvern
