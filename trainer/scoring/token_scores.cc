#include "trainer/scoring/token_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/head/token_scores.h"
#include "kernels/runtime/dispatch.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// Rows whose logits are held at once.
constexpr int64_t kRows = 256;

absl::Status NoNumbers() {
  return absl::InternalError(
      "the logits are not numbers: the weights are damaged or the run that made them diverged");
}

// Rows [begin, end) of hidden, of which those from `first` on have not come before, and the logits
// of the former in fp32.
struct Window {
  int64_t begin, first, end;
  Tensor logits;
};

absl::Status ForEachWindow(Model* model, const Tensor& hidden, int64_t num_rows,
                           const std::function<absl::Status(const Window&)>& fn) {
  const int64_t at_once = std::min(kRows, hidden.dim(0));
  for (int64_t row = 0; row < num_rows;) {
    // The last product reaches back, so that all are of one height.
    const int64_t begin = std::min(row, hidden.dim(0) - at_once);
    const int64_t end = std::min(num_rows, begin + at_once);
    RETURN_IF_ERROR(
        fn({.begin = begin,
            .first = row,
            .end = end,
            .logits = model->Logits(hidden.Rows(begin, begin + at_once)).To(DType::kFloat32)}));
    row = end;
  }
  return absl::OkStatus();
}

}  // namespace

TokenScore ScoreToken(absl::Span<const float> logits, int32_t token, int64_t top_k) {
  const auto size = static_cast<int32_t>(logits.size());
  const auto value = [&](int32_t i) {
    return std::isnan(logits[i]) ? -std::numeric_limits<double>::infinity()
                                 : static_cast<double>(logits[i]);
  };
  const auto likelier = [&](int32_t a, int32_t b) {
    return value(a) != value(b) ? value(a) > value(b) : a < b;
  };
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const int32_t best = *std::min_element(order.begin(), order.end(), likelier);
  int32_t most_likely = 0;
  double minus_log_sum = 0;
  TokenScores(CpuTag(), {.num_rows = 1,
                         .vocab_size = size,
                         .logits = logits.data(),
                         .tokens = &best,
                         .log_likelihood = &minus_log_sum,
                         .most_likely = &most_likely});
  const auto log_likelihood = [&](int32_t i) { return value(i) - value(best) + minus_log_sum; };
  TokenScore score{.log_likelihood = log_likelihood(token), .most_likely = best, .top = {}};
  const auto end = order.begin() + std::min<int64_t>(top_k, size);
  std::partial_sort(order.begin(), end, order.end(), likelier);
  for (auto i = order.begin(); i != end; ++i) score.top.emplace_back(*i, log_likelihood(*i));
  return score;
}

absl::Status CheckAreNumbers(absl::Span<const float> logits) {
  float largest = std::numeric_limits<float>::quiet_NaN();
  for (const float x : logits) largest = std::fmax(largest, x);
  return std::isfinite(largest) ? absl::OkStatus() : NoNumbers();
}

absl::Status ForEachRowOfLogits(
    Model* model, const Tensor& hidden, int64_t num_rows,
    const std::function<absl::Status(int64_t row, absl::Span<const float> logits)>& fn) {
  const size_t vocab_size = model->config().vocab_size;
  return ForEachWindow(model, hidden, num_rows, [&](const Window& window) -> absl::Status {
    const std::vector<float> logits = window.logits.ToVector<float>();
    for (int64_t row = window.first; row < window.end; ++row) {
      RETURN_IF_ERROR(fn(
          row, absl::MakeConstSpan(logits).subspan((row - window.begin) * vocab_size, vocab_size)));
    }
    return absl::OkStatus();
  });
}

absl::Status ScoreRows(
    Model* model, const Tensor& hidden, const std::vector<int32_t>& tokens, int64_t top_k,
    const std::function<absl::Status(int64_t row, absl::StatusOr<TokenScore> score)>& fn) {
  const auto num_rows = static_cast<int64_t>(tokens.size());
  if (top_k > 0) {
    return ForEachRowOfLogits(model, hidden, num_rows,
                              [&](int64_t row, absl::Span<const float> logits) -> absl::Status {
                                const absl::Status numbers = CheckAreNumbers(logits);
                                if (!numbers.ok()) return fn(row, numbers);
                                return fn(row, ScoreToken(logits, tokens[row], top_k));
                              });
  }
  return ForEachWindow(model, hidden, num_rows, [&](const Window& window) -> absl::Status {
    const int64_t count = window.end - window.first;
    const Device device = model->device();
    const Tensor logits =
        window.logits.Rows(window.first - window.begin, window.end - window.begin);
    const Tensor of_window = Tensor::FromVector(std::vector<int32_t>(tokens.begin() + window.first,
                                                                     tokens.begin() + window.end),
                                                {count})
                                 .To(device);
    const Tensor log_likelihood = Tensor::Empty({count}, DType::kFloat64, device);
    const Tensor most_likely = Tensor::Empty({count}, DType::kInt32, device);
    Dispatch(device, DType::kFloat32, [&](auto tag, auto) {
      TokenScores(tag, {.num_rows = count,
                        .vocab_size = model->config().vocab_size,
                        .logits = logits.data<float>(),
                        .tokens = of_window.data<int32_t>(),
                        .log_likelihood = log_likelihood.data<double>(),
                        .most_likely = most_likely.data<int32_t>(),
                        .stream = ComputeStream()});
    });
    const std::vector<double> values = log_likelihood.ToVector<double>();
    const std::vector<int32_t> best = most_likely.ToVector<int32_t>();
    for (int64_t i = 0; i < count; ++i) {
      if (best[i] < 0) {
        RETURN_IF_ERROR(fn(window.first + i, NoNumbers()));
      } else {
        RETURN_IF_ERROR(
            fn(window.first + i,
               TokenScore{.log_likelihood = values[i], .most_likely = best[i], .top = {}}));
      }
    }
    return absl::OkStatus();
  });
}

}  // namespace wyvern
