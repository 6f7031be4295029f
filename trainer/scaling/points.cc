#include "trainer/scaling/points.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "data/file.h"
#include "kernels/runtime/status.h"
#include "trainer/config/nearest.h"
#include "trainer/report/metrics_file.h"
#include "trainer/sweep/sweep_file.h"

namespace wyvern {
namespace {

using nlohmann::json;

struct RunEnd {
  int64_t step = -1;
  std::optional<double> loss;  // the one that the fit is of
};

RunEnd EndOf(const std::string& metrics_path, const std::string& which) {
  RunEnd end;
  const absl::StatusOr<std::string> text = ReadFile(metrics_path);
  if (!text.ok()) return end;
  std::vector<double> losses;
  std::optional<double> val_loss;
  const MetricsLines metrics = ParseMetrics(*text);
  const std::string unreadable = UnreadableText(metrics_path, metrics.unreadable);
  if (!unreadable.empty()) std::fprintf(stderr, "warning: %s\n", unreadable.c_str());
  for (const MetricsLine& line : metrics.lines) {
    end.step = line.step;
    const auto number = [&line](const char* key) -> std::optional<double> {
      const auto found = line.row.find(key);
      if (found == line.row.end() || !found->is_number()) return std::nullopt;
      return found->get<double>();
    };
    if (const auto loss = number("loss")) losses.push_back(*loss);
    val_loss = number("val_loss");  // of the last step, or none
  }
  if (which == "val_loss") {
    end.loss = val_loss;
  } else if (!losses.empty()) {
    const size_t count = std::max<size_t>(1, losses.size() / 10);
    double sum = 0;
    for (size_t i = losses.size() - count; i < losses.size(); ++i) sum += losses[i];
    end.loss = sum / static_cast<double>(count);
  }
  return end;
}

std::string TextOf(const json& value) {
  return value.is_string() ? value.get<std::string>() : ValueText(value.get<double>());
}

}  // namespace

absl::StatusOr<ScalingPoints> PointsOfSweep(const std::string& path) {
  std::error_code error;
  const bool folder = std::filesystem::is_directory(path, error);
  ASSIGN_OR_RETURN(const FitSource source,
                   ReadFitSource(folder ? absl::StrCat(path, "/sweep.yaml") : path));
  const std::string dir = folder ? path : source.dir;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(dir + "/sweep.json"));
  const json record = json::parse(text, nullptr, false);
  if (!record.is_object() || !record.contains("runs") || !record["runs"].is_array()) {
    return absl::DataLossError(absl::StrCat(dir, "/sweep.json: not the record of a sweep"));
  }
  ScalingPoints result;
  result.title = source.name;
  result.loss = source.fit.loss == "val_loss" ? "validation loss after the last step"
                                              : "training loss, mean of the last tenth of steps";
  std::vector<std::string> names, faults;
  for (const json& run : record["runs"]) {
    ScalingPoint point{.name = run.value("name", "")};
    names.push_back(point.name);
    const json values = run.value("values", json::object());
    if (!source.fit.family.empty()) {
      if (!values.contains(source.fit.family)) {
        faults.push_back(absl::StrCat("fit.family: run ", point.name, " has no '",
                                      source.fit.family, "'; run the sweep's command once more"));
        continue;
      }
      point.family = TextOf(values[source.fit.family]);
    }
    const double tokens = run.value("tokens", 0.0);
    point.x = {run.value("flops_per_token", 0.0) * tokens / kPflopsDay,
               run.value("parameters", 0.0), tokens};
    const RunEnd end = EndOf(absl::StrCat(dir, "/", point.name, "/metrics.jsonl"), source.fit.loss);
    const int64_t steps = run.value("steps", int64_t{0});
    point.loss = end.loss.value_or(0);
    std::string reason;
    for (const FitSection::Exclusion& exclusion : source.fit.exclude) {
      if (exclusion.run == point.name) reason = exclusion.reason;
    }
    if (reason.empty() && end.step < steps) {
      reason =
          end.step < 0 ? "not begun" : absl::StrCat("not finished: step ", end.step, " of ", steps);
    } else if (reason.empty() && !(point.loss > 0)) {
      reason = absl::StrCat("no ", source.fit.loss, " at its last step");
    }
    if (reason.empty()) {
      result.points.push_back(std::move(point));
    } else {
      result.excluded.emplace_back(std::move(point), std::move(reason));
    }
  }
  for (const FitSection::Exclusion& exclusion : source.fit.exclude) {
    if (std::find(names.begin(), names.end(), exclusion.run) != names.end()) continue;
    const std::string nearest = Nearest(exclusion.run, names);
    faults.push_back(absl::StrCat(exclusion.where, ": fit.exclude: no run is named '",
                                  exclusion.run, "'", nearest.empty() ? "" : "; did you mean '",
                                  nearest, nearest.empty() ? "" : "'?"));
  }
  if (!faults.empty()) return absl::InvalidArgumentError(absl::StrJoin(faults, "\n"));
  return result;
}

absl::StatusOr<ScalingPoints> PointsOfCsv(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const std::vector<std::string> known = {"family",     "name",   "compute", "flops",
                                          "parameters", "tokens", "loss",    "exclude"};
  std::vector<std::string> lines = absl::StrSplit(text, '\n');
  std::vector<std::string> header, faults;
  const auto fault = [&](size_t line, const auto&... parts) {
    faults.push_back(absl::StrCat(path, ":", line + 1, ": ", parts...));
  };
  ScalingPoints result;
  result.title = std::filesystem::path(path).stem().string();
  result.loss = "loss of " + std::filesystem::path(path).filename().string();
  const auto has = [&header](const char* name) {
    return std::find(header.begin(), header.end(), name) != header.end();
  };
  for (size_t i = 0; i < lines.size(); ++i) {
    if (absl::StripAsciiWhitespace(lines[i]).empty() || lines[i][0] == '#') continue;
    std::vector<std::string> cells = absl::StrSplit(lines[i], ',');
    for (std::string& cell : cells) cell = std::string(absl::StripAsciiWhitespace(cell));
    if (header.empty()) {
      header = cells;
      for (const std::string& name : header) {
        if (std::find(known.begin(), known.end(), name) != known.end()) continue;
        const std::string nearest = Nearest(name, known);
        fault(i, "unknown column '", name, "'; ",
              nearest.empty() ? absl::StrCat("the columns are ", absl::StrJoin(known, ", "))
                              : absl::StrCat("did you mean '", nearest, "'?"));
      }
      if (!has("loss")) fault(i, "no column 'loss'");
      if (has("compute") && has("flops")) fault(i, "compute and flops are the same; keep one");
      continue;
    }
    if (cells.size() != header.size()) {
      fault(i, "expected ", header.size(), " values, got ", cells.size());
      continue;
    }
    ScalingPoint point{.name = absl::StrCat("line ", i + 1)};
    std::string reason;
    for (size_t k = 0; k < cells.size(); ++k) {
      const std::string& name = header[k];
      if (name == "family") point.family = cells[k];
      if (name == "name") point.name = cells[k];
      if (name == "exclude") reason = cells[k];
      if (name == "family" || name == "name" || name == "exclude") continue;
      double value = 0;
      if (!absl::SimpleAtod(cells[k], &value) || !std::isfinite(value) || value <= 0) {
        fault(i, name, ": expected a number above 0, got '", cells[k], "'");
        continue;
      }
      if (name == "compute") point.x[0] = value;
      if (name == "flops") point.x[0] = value / kPflopsDay;
      if (name == "parameters") point.x[1] = value;
      if (name == "tokens") point.x[2] = value;
      if (name == "loss") point.loss = value;
    }
    if (reason.empty()) {
      result.points.push_back(std::move(point));
    } else {
      result.excluded.emplace_back(std::move(point), std::move(reason));
    }
  }
  if (header.empty()) fault(0, "expected a header such as family,compute,loss");
  if (faults.empty() && result.points.empty()) fault(0, "holds no point");
  if (!faults.empty()) return absl::InvalidArgumentError(absl::StrJoin(faults, "\n"));
  return result;
}

}  // namespace wyvern
