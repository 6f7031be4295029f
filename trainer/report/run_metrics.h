// The figures of a run as its reports show them.
#ifndef WYVERN_TRAINER_REPORT_RUN_METRICS_H_
#define WYVERN_TRAINER_REPORT_RUN_METRICS_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace wyvern {

using Points = std::vector<std::pair<double, double>>;

struct RunMetrics {
  std::map<int64_t, nlohmann::json> rows;  // by step
  int64_t num_unreadable = 0;

  // (step, value) wherever the keys, each inside the value of the one before, lead to a finite
  // number.
  Points Column(const std::vector<std::string>& keys) const;
  Points Column(const char* key) const { return Column(std::vector<std::string>{key}); }
  // The keys of the objects in all rows to which these keys lead.
  std::set<std::string> Names(const std::vector<std::string>& keys) const;
  std::set<std::string> Names(const char* key) const {
    return Names(std::vector<std::string>{key});
  }
};

// The tasks of evaluation that have each metric, without the standard errors.
std::map<std::string, std::set<std::string>> TasksByMetric(const RunMetrics& metrics);

// The last of several lines with one step counts. Lines that cannot be read are counted.
RunMetrics ReadRunMetrics(const std::string& metrics_jsonl);

// The mean over the `width` points around each one. At the start the window shrinks evenly, since
// the curve is steep there; at the end it loses what lies beyond.
Points Smooth(const Points& points, int64_t width);
// A width for Smooth that leaves about 40 independent points, odd.
int64_t SmoothWidth(const Points& points);

// Statistics of the values of `points`, which must not be empty.
double Median(const Points& points);
double Largest(const Points& points);
// The mean of the last tenth, at most 50 steps: one step's loss is noise.
double Final(const Points& points);

// "1.5 s", "12 min", "3 h 05 min".
std::string LongDuration(double seconds);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REPORT_RUN_METRICS_H_
