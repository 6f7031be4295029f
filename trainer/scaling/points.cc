#include "trainer/scaling/points.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "data/io/say.h"
#include "kernels/runtime/nearest.h"
#include "kernels/runtime/status.h"
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
  const absl::StatusOr<std::string> text = ReadFileOf(kMetricsFile, metrics_path);
  if (!text.ok()) return end;
  std::vector<double> losses;
  std::optional<double> val_loss;
  const MetricsLines metrics = ParseMetrics(*text);
  const std::string unreadable = UnreadableText(metrics_path, metrics.unreadable);
  if (!unreadable.empty()) SayError(absl::StrCat("warning: ", unreadable));
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
  if (value.is_string()) return value.get<std::string>();
  return value.is_number() ? ValueText(value.get<double>()) : JsonText(value);
}

// A run of sweep.json.
struct RecordedRun {
  std::string name;
  json values = json::object();
  double flops_per_token = 0, parameters = 0, tokens = 0;
  int64_t steps = 0;
};

absl::StatusOr<RecordedRun> ReadRun(const json& run, const std::string& where) {
  std::vector<std::string> faults;
  const auto find = [&](const char* key, bool (json::*is)() const noexcept, const char* what) {
    const auto found = run.is_object() ? run.find(key) : run.end();
    const bool fits = found != run.end() && ((*found).*is)();
    if (!fits) faults.push_back(absl::StrCat(where, ".", key, ": expected ", what));
    return fits ? &*found : nullptr;
  };
  RecordedRun result;
  if (const json* v = find("name", &json::is_string, "a string")) {
    result.name = v->get<std::string>();
  }
  if (const json* v = find("values", &json::is_object, "an object")) result.values = *v;
  if (const json* v = find("steps", &json::is_number_integer, "an integer")) result.steps = *v;
  for (const auto& [key, number] :
       {std::pair("flops_per_token", &result.flops_per_token),
        std::pair("parameters", &result.parameters), std::pair("tokens", &result.tokens)}) {
    if (const json* v = find(key, &json::is_number, "a number")) *number = *v;
  }
  if (absl::StrContains(result.name, '/')) faults.push_back(absl::StrCat(where, ".name: a path"));
  if (faults.empty()) return result;
  return absl::DataLossError(absl::StrCat(absl::StrJoin(faults, "\n"),
                                          "\nthe record is damaged; run the sweep's command "
                                          "once more"));
}

// ---- CSV --------------------------------------------------------------------------------------

struct CsvRow {
  size_t line = 0;  // that it begins in, from 1
  std::vector<std::string> cells;
};

// RFC 4180: cells may be quoted, and then hold commas, line ends and doubled quotes. Lines end with
// LF or CRLF. Lines without a value, and those that begin with #, are left out.
absl::StatusOr<std::vector<CsvRow>> ReadCsv(absl::string_view text, const std::string& path) {
  absl::ConsumePrefix(&text, "\xEF\xBB\xBF");  // spreadsheets begin with a byte order mark
  if (absl::StrContains(text, '\0')) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": holds zero bytes, so it is no CSV in UTF-8; save it as that"));
  }
  std::vector<CsvRow> rows;
  size_t line = 1;
  while (!text.empty()) {
    if (text[0] == '#') {
      text.remove_prefix(std::min(text.find('\n'), text.size()));
      absl::ConsumePrefix(&text, "\n");
      ++line;
      continue;
    }
    CsvRow row{.line = line, .cells = {""}};
    bool quoted = false, was_quoted = false;
    size_t at = 0;
    for (; at < text.size() && (quoted || text[at] != '\n'); ++at) {
      const char c = text[at];
      if (c == '\n') ++line;
      if (quoted && c == '"' && at + 1 < text.size() && text[at + 1] == '"') {
        row.cells.back() += text[++at];
      } else if (quoted && c == '"') {
        quoted = false;
      } else if (quoted) {
        row.cells.back() += c;
      } else if (c == '"' && absl::StripAsciiWhitespace(row.cells.back()).empty() && !was_quoted) {
        quoted = was_quoted = true;
      } else if (c == ',') {
        row.cells.emplace_back();
        was_quoted = false;
      } else {
        row.cells.back() += c;
      }
    }
    if (quoted) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", row.line, ": a quoted value has no end"));
    }
    text.remove_prefix(std::min(at + 1, text.size()));
    ++line;
    bool empty = true;  // as what a spreadsheet writes below the last row
    for (std::string& cell : row.cells) {
      cell = std::string(absl::StripAsciiWhitespace(cell));
      empty = empty && cell.empty();
    }
    if (!empty) rows.push_back(std::move(row));
  }
  return rows;
}

// Recognises the words for "no" that spreadsheets and programs write into a column of flags.
bool SaysNo(const std::string& text) {
  for (const char* no : {"", "0", "no", "n", "false", "f"}) {
    if (absl::EqualsIgnoreCase(text, no)) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<ScalingPoints> PointsOfSweep(const std::string& path) {
  std::error_code error;
  const bool folder = std::filesystem::is_directory(path, error);
  ASSIGN_OR_RETURN(const FitSource source,
                   ReadFitSource(folder ? absl::StrCat(path, "/sweep.yaml") : path));
  const std::string dir = folder ? path : source.dir;
  ASSIGN_OR_RETURN(const json record, ReadJsonFile(dir + "/sweep.json"));
  if (!record.is_object() || !record.contains("runs") || !record["runs"].is_array()) {
    return absl::DataLossError(absl::StrCat(dir, "/sweep.json: not the record of a sweep"));
  }
  ScalingPoints result;
  result.title = source.name;
  result.loss = source.fit.loss == "val_loss" ? "validation loss after the last step"
                                              : "training loss, mean of the last tenth of steps";
  std::vector<std::string> names, faults;
  for (const json& recorded : record["runs"]) {
    ASSIGN_OR_RETURN(const RecordedRun run,
                     ReadRun(recorded, absl::StrCat(dir, "/sweep.json: runs.", names.size())));
    ScalingPoint point{.name = run.name};
    names.push_back(point.name);
    const json& values = run.values;
    if (!source.fit.family.empty()) {
      if (!values.contains(source.fit.family)) {
        faults.push_back(absl::StrCat("fit.family: run ", point.name, " has no '",
                                      source.fit.family, "'; run the sweep's command once more"));
        continue;
      }
      point.family = TextOf(values[source.fit.family]);
    }
    point.x = {run.flops_per_token * run.tokens / kPflopsDay, run.parameters, run.tokens};
    const RunEnd end = EndOf(absl::StrCat(dir, "/", point.name, "/metrics.jsonl"), source.fit.loss);
    point.loss = end.loss.value_or(0);
    std::string reason;
    for (const FitSection::Exclusion& exclusion : source.fit.exclude) {
      if (exclusion.run == point.name) reason = exclusion.reason;
    }
    if (reason.empty() && end.step < run.steps) {
      reason = end.step < 0 ? "not begun"
                            : absl::StrCat("not finished: step ", end.step, " of ", run.steps);
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
  ASSIGN_OR_RETURN(const std::string text, ReadFileOf(kTableFile, path));
  const std::vector<std::string> known = {"family",     "name",   "compute", "flops",
                                          "parameters", "tokens", "loss",    "exclude"};
  ASSIGN_OR_RETURN(const std::vector<CsvRow> rows, ReadCsv(text, path));
  std::vector<std::string> header, faults;
  const auto fault = [&](size_t line, const auto&... parts) {
    faults.push_back(absl::StrCat(path, ":", line, ": ", parts...));
  };
  ScalingPoints result;
  result.title = std::filesystem::path(path).stem().string();
  result.loss = "loss of " + std::filesystem::path(path).filename().string();
  const auto has = [&header](const char* name) {
    return std::find(header.begin(), header.end(), name) != header.end();
  };
  for (const auto& [line, cells] : rows) {
    if (header.empty()) {
      header = cells;
      std::set<std::string> seen;
      for (const std::string& name : header) {
        if (!seen.insert(name).second) fault(line, "column '", name, "' is given twice");
        if (std::find(known.begin(), known.end(), name) != known.end()) continue;
        const std::string nearest = Nearest(name, known);
        fault(line, "unknown column '", name, "'; ",
              nearest.empty() ? absl::StrCat("the columns are ", absl::StrJoin(known, ", "))
                              : absl::StrCat("did you mean '", nearest, "'?"));
      }
      if (!has("loss")) fault(line, "no column 'loss'");
      if (has("compute") && has("flops")) fault(line, "compute and flops are the same; keep one");
      continue;
    }
    if (cells.size() != header.size()) {
      fault(line, "expected ", header.size(), " values, got ", cells.size());
      continue;
    }
    ScalingPoint point{.name = absl::StrCat("line ", line)};
    std::string reason;
    for (size_t k = 0; k < cells.size(); ++k) {
      const std::string& name = header[k];
      if (name == "family") point.family = cells[k];
      if (name == "name") point.name = cells[k];
      if (name == "exclude" && !SaysNo(cells[k])) reason = cells[k];
      if (name == "family" || name == "name" || name == "exclude") continue;
      double value = 0;
      const bool number = absl::SimpleAtod(cells[k], &value) && std::isfinite(value);
      if (name == "flops") value /= kPflopsDay;
      if (!number || value < std::numeric_limits<double>::min()) {
        fault(line, name, ": expected a number above 0, got '", cells[k], "'");
        continue;
      }
      if (name == "compute" || name == "flops") point.x[0] = value;
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
  if (header.empty()) fault(1, "expected a header such as family,compute,loss");
  if (faults.empty() && result.points.empty()) {
    const size_t excluded = result.excluded.size();
    if (excluded == 0) {
      fault(1, "holds no point below its header");
    } else {
      faults.push_back(
          absl::StrCat(path, ": the column exclude leaves out ",
                       excluded == 1 ? "the only point" : absl::StrCat("all ", excluded, " points"),
                       " (0, no, false or nothing keeps one)"));
    }
  }
  if (!faults.empty()) return absl::InvalidArgumentError(absl::StrJoin(faults, "\n"));
  return result;
}

}  // namespace wyvern
