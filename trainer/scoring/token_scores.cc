#include "trainer/scoring/token_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// Rows whose logits are held at once.
constexpr int64_t kRows = 256;

// The largest logit; NaN if all are.
float Largest(absl::Span<const float> logits) {
  float largest = std::numeric_limits<float>::quiet_NaN();
  for (const float x : logits) largest = std::fmax(largest, x);
  return largest;
}

absl::Status CheckIsNumber(absl::Span<const float> logits) {
  if (std::isfinite(Largest(logits))) return absl::OkStatus();
  return absl::InternalError(
      "the logits are not numbers: the weights are damaged or the run that made them diverged");
}

}  // namespace

TokenScore ScoreToken(absl::Span<const float> logits, int32_t token, int64_t top_k) {
  const auto value = [&](int32_t i) {
    return std::isnan(logits[i]) ? -std::numeric_limits<double>::infinity()
                                 : static_cast<double>(logits[i]);
  };
  const auto likelier = [&](int32_t a, int32_t b) {
    return value(a) != value(b) ? value(a) > value(b) : a < b;
  };
  const auto size = static_cast<int32_t>(logits.size());
  const auto best = static_cast<int32_t>(std::find(logits.begin(), logits.end(), Largest(logits)) -
                                         logits.begin());
  double sum = 0;
  for (int32_t i = 0; i < size; ++i) sum += std::exp(value(i) - value(best));
  const double log_sum = value(best) + std::log(sum);
  TokenScore score{.log_likelihood = value(token) - log_sum, .most_likely = best, .top = {}};
  if (top_k == 0) return score;
  std::vector<int32_t> order(logits.size());
  for (int32_t i = 0; i < size; ++i) order[i] = i;
  const auto end = order.begin() + std::min<int64_t>(top_k, size);
  std::partial_sort(order.begin(), end, order.end(), likelier);
  for (auto i = order.begin(); i != end; ++i) score.top.emplace_back(*i, value(*i) - log_sum);
  return score;
}

absl::Status AppendScores(Model* model, const Tensor& hidden, absl::Span<const int32_t> tokens,
                          int64_t top_k, std::vector<TokenScore>* scores) {
  const auto count = static_cast<int64_t>(tokens.size());
  const size_t vocab_size = model->config().vocab_size, first = scores->size();
  scores->resize(first + tokens.size());
  for (int64_t begin = 0; begin < count; begin += kRows) {
    const int64_t end = std::min(begin + kRows, count);
    const std::vector<float> logits =
        model->Logits(hidden.Rows(begin, end)).To(DType::kFloat32).ToVector<float>();
    const auto row = [&](int64_t t) {
      return absl::MakeConstSpan(logits).subspan((t - begin) * vocab_size, vocab_size);
    };
    for (int64_t t = begin; t < end; ++t) RETURN_IF_ERROR(CheckIsNumber(row(t)));
    for (int64_t t = begin; t < end; ++t) {
      (*scores)[first + t] = ScoreToken(row(t), tokens[t], top_k);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> LogitsOfRow(Model* model, const Tensor& hidden, int64_t row) {
  std::vector<float> logits =
      model->Logits(hidden.Rows(row, row + 1)).To(DType::kFloat32).ToVector<float>();
  RETURN_IF_ERROR(CheckIsNumber(logits));
  return logits;
}

}  // namespace wyvern
