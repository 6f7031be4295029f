// The lines of metrics.jsonl read back, by whoever reads them.
#ifndef WYVERN_TRAINER_REPORT_METRICS_FILE_H_
#define WYVERN_TRAINER_REPORT_METRICS_FILE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace wyvern {

struct MetricsLine {
  int64_t step = 0;
  nlohmann::json row;      // an object
  absl::string_view text;  // of the line, without its end
};

struct MetricsLines {
  std::vector<MetricsLine> lines;   // as they come in the file
  std::vector<int64_t> unreadable;  // numbers, from 1, of whole lines that are no metrics
  bool torn = false;  // the last one is a part of a line, as a killed process leaves it
};

// A damaged line costs that line alone. `text` outlives the result.
MetricsLines ParseMetrics(absl::string_view text);

// "PATH: line 3 cannot be read and is left out"; empty if all can.
std::string UnreadableText(const std::string& path, const std::vector<int64_t>& unreadable);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REPORT_METRICS_FILE_H_
