#include "trainer/report/run_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "trainer/report/metrics_file.h"

namespace wyvern {
namespace {

// The value to which the keys lead, each inside the value of the one before; null: none.
const nlohmann::json* FindAt(const nlohmann::json& row, const std::vector<std::string>& keys) {
  const nlohmann::json* value = &row;
  for (const std::string& key : keys) {
    const auto found = value->is_object() ? value->find(key) : value->end();
    if (found == value->end()) return nullptr;
    value = &*found;
  }
  return value;
}

}  // namespace

Points RunMetrics::Column(const std::vector<std::string>& keys) const {
  Points points;
  for (const auto& [step, row] : rows) {
    const nlohmann::json* value = FindAt(row, keys);
    if (value != nullptr && value->is_number() && std::isfinite(value->get<double>())) {
      points.emplace_back(static_cast<double>(step), value->get<double>());
    }
  }
  return points;
}

std::set<std::string> RunMetrics::Names(const std::vector<std::string>& keys) const {
  std::set<std::string> names;
  for (const auto& [step, row] : rows) {
    const nlohmann::json* object = FindAt(row, keys);
    if (object == nullptr || !object->is_object()) continue;
    for (const auto& [name, value] : object->items()) names.insert(name);
  }
  return names;
}

std::map<std::string, std::set<std::string>> TasksByMetric(const RunMetrics& metrics) {
  std::map<std::string, std::set<std::string>> tasks;
  for (const std::string& task : metrics.Names("evaluation")) {
    for (const std::string& metric : metrics.Names({"evaluation", task})) {
      if (!absl::EndsWith(metric, "_stderr")) tasks[metric].insert(task);
    }
  }
  return tasks;
}

RunMetrics ReadRunMetrics(const std::string& metrics_jsonl) {
  RunMetrics metrics;
  MetricsLines lines = ParseMetrics(metrics_jsonl);
  metrics.num_unreadable = static_cast<int64_t>(lines.unreadable.size()) + (lines.torn ? 1 : 0);
  for (MetricsLine& line : lines.lines) metrics.rows[line.step] = std::move(line.row);
  return metrics;
}

int64_t SmoothWidth(const Points& points) {
  return std::max<int64_t>(1, static_cast<int64_t>(points.size()) / 40) | 1;
}

Points Smooth(const Points& points, int64_t width) {
  std::vector<double> sums(points.size() + 1, 0);
  for (size_t i = 0; i < points.size(); ++i) sums[i + 1] = sums[i] + points[i].second;
  Points result;
  const auto size = static_cast<int64_t>(points.size());
  for (int64_t i = 0; i < size; ++i) {
    const int64_t reach = std::min(width / 2, i);
    const int64_t end = std::min(size, i + reach + 1);
    result.emplace_back(points[i].first,
                        (sums[end] - sums[i - reach]) / static_cast<double>(end - (i - reach)));
  }
  return result;
}

double Median(const Points& points) {
  std::vector<double> values;
  for (const auto& [x, y] : points) values.push_back(y);
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

double Largest(const Points& points) {
  double largest = -std::numeric_limits<double>::infinity();
  for (const auto& [x, y] : points) largest = std::max(largest, y);
  return largest;
}

double Final(const Points& points) {
  const size_t count = std::clamp<size_t>(points.size() / 10, 1, 50);
  double sum = 0;
  for (size_t i = points.size() - count; i < points.size(); ++i) sum += points[i].second;
  return sum / static_cast<double>(count);
}

std::string LongDuration(double seconds) {
  if (seconds < 90) return absl::StrFormat("%.1f s", seconds);
  const auto minutes = static_cast<int64_t>(std::llround(seconds / 60));
  if (minutes < 90) return absl::StrCat(minutes, " min");
  return absl::StrFormat("%d h %02d min", minutes / 60, minutes % 60);
}

}  // namespace wyvern
