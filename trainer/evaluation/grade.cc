// The worth of answers (trainer/evaluation/prepared_task.h).
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "data/tokenizer/lowercase.h"
#include "kernels/runtime/check.h"
#include "trainer/evaluation/bootstrap.h"
#include "trainer/evaluation/prepared_task.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

// The first of the largest; as NumPy's argmax, which takes what is no number for larger than all.
int64_t ArgMax(const std::vector<double>& values) {
  size_t best = 0;
  for (size_t i = 1; i < values.size(); ++i) {
    if (std::isnan(values[best])) break;
    if (values[i] > values[best] || std::isnan(values[i])) best = i;
  }
  return static_cast<int64_t>(best);
}

double ScoreChoice(Metric metric, const DocumentKey& key, absl::Span<const Json> answers) {
  std::vector<double> values;
  for (size_t i = 0; i < answers.size(); ++i) {
    double value = answers[i]["log_likelihood"].get<double>();
    if (metric == Metric::kAccNorm) value /= static_cast<double>(key.characters[i]);
    if (metric == Metric::kAccBytes) value /= static_cast<double>(key.bytes[i]);
    values.push_back(value);
  }
  const int64_t chosen = ArgMax(values);
  return std::find(key.right.begin(), key.right.end(), chosen) != key.right.end() ? 1 : 0;
}

std::string Normalized(const TaskMetric& metric, const std::string& text) {
  std::string normalized;
  for (const char c : metric.ignore_case ? Lowercase(text) : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (metric.ignore_punctuation && absl::ascii_ispunct(byte)) continue;
    if (metric.ignore_numbers && absl::ascii_isdigit(byte)) continue;
    normalized.push_back(c);
  }
  return normalized;
}

double ScoreText(const TaskMetric& metric, const std::string& text, const std::string& target) {
  switch (metric.metric) {
    case Metric::kExactMatch:
      return Normalized(metric, text) == Normalized(metric, target) ? 1 : 0;
    case Metric::kContains:
      return absl::StrContains(Lowercase(text), Lowercase(target)) ? 1 : 0;
    case Metric::kWordRecall: {
      const std::string lower = Lowercase(text);
      double found = 0, words = 0;
      for (const absl::string_view word : absl::StrSplit(target, ' ', absl::SkipEmpty())) {
        found += absl::StrContains(lower, Lowercase(word)) ? 1 : 0;
        ++words;
      }
      return words == 0 ? 1 : found / words;
    }
    default:
      CHECK(false, "no metric of texts: ", Name(metric.metric));
      return 0;
  }
}

// Whether the document has choices, but none that is right.
bool HasNoRightChoice(const DocumentKey& key) {
  const auto count = static_cast<int64_t>(key.characters.size());
  return count > 0 && std::none_of(key.right.begin(), key.right.end(),
                                   [&](int64_t i) { return i >= 0 && i < count; });
}

// A value and what it is divided by, where a metric has one.
struct Item {
  double value = 0, weight = 1;
};

Item Score(const TaskMetric& metric, const DocumentKey& key, absl::Span<const Json> answers) {
  switch (metric.metric) {
    case Metric::kAcc:
      if (key.characters.empty()) return {.value = answers[0]["is_greedy"].get<bool>() ? 1.0 : 0.0};
      return {.value = ScoreChoice(metric.metric, key, answers)};
    case Metric::kAccNorm:
    case Metric::kAccBytes:
      return {.value = ScoreChoice(metric.metric, key, answers)};
    case Metric::kPerplexity:
      return {.value = answers[0]["log_likelihood"].get<double>()};
    case Metric::kWordPerplexity:
      return {.value = answers[0]["log_likelihood"].get<double>(),
              .weight = static_cast<double>(key.num_words)};
    case Metric::kBytePerplexity:
    case Metric::kBitsPerByte:
      return {.value = answers[0]["log_likelihood"].get<double>(),
              .weight = static_cast<double>(key.num_bytes)};
    case Metric::kExactMatch:
    case Metric::kContains:
    case Metric::kWordRecall: {
      const auto text = answers[0]["text"].get<std::string>();
      if (!key.one_suffices) return {.value = ScoreText(metric, text, key.targets[0])};
      const bool any = std::any_of(
          key.targets.begin(), key.targets.end(),
          [&](const std::string& target) { return ScoreText(metric, text, target) > 0; });
      return {.value = any ? 1.0 : 0.0};
    }
  }
  return {};
}

double MeanError(absl::Span<const Item> items, double mean) {
  double squares = 0;
  for (const Item& item : items) squares += (item.value - mean) * (item.value - mean);
  const auto count = static_cast<double>(items.size());
  return std::sqrt(squares / (count - 1)) / std::sqrt(count);
}

MetricResult Aggregate(Metric metric, absl::Span<const Item> items, bool resample) {
  double sum = 0, weights = 0;
  for (const Item& item : items) {
    sum += item.value;
    weights += item.weight;
  }
  MetricResult result{.metric = metric, .value = sum / weights, .standard_error = std::nullopt};
  switch (metric) {
    case Metric::kWordPerplexity:
    case Metric::kBytePerplexity:
      result.value = std::exp(-result.value);
      break;
    case Metric::kBitsPerByte:
      result.value = -result.value / std::log(2.0);
      break;
    case Metric::kPerplexity:
      result.value = std::exp(-result.value);
      if (resample && items.size() > 1) {
        std::vector<double> values;
        for (const Item& item : items) values.push_back(item.value);
        result.standard_error = PerplexityError(values);
      }
      break;
    default:
      if (items.size() > 1) result.standard_error = MeanError(items, result.value);
  }
  return result;
}

}  // namespace

TaskResult Grade(const PreparedTask& task, absl::Span<const Json> answers, bool resample) {
  CHECK(answers.size() == task.requests.size(), "answers: ", answers.size(), " of ",
        task.requests.size());
  TaskResult result{.name = task.task.name,
                    .num_documents = static_cast<int64_t>(task.documents.size()),
                    .num_without_choice = std::count_if(task.documents.begin(),
                                                        task.documents.end(), HasNoRightChoice),
                    .metrics = {}};
  for (const TaskMetric& metric : task.task.metrics) {
    std::vector<Item> items;
    size_t at = 0;
    for (const DocumentKey& key : task.documents) {
      items.push_back(Score(metric, key, answers.subspan(at, key.num_requests)));
      at += key.num_requests;
    }
    result.metrics.push_back(Aggregate(metric.metric, items, resample));
  }
  return result;
}

}  // namespace wyvern
