#include "trainer/report/comparison.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "trainer/report/chart.h"
#include "trainer/report/family.h"
#include "trainer/report/page.h"
#include "trainer/report/run_metrics.h"

namespace wyvern {
namespace {

struct Run {
  std::string name;
  RunMetrics metrics;
  std::optional<RunParent> parent;
};

// Values over the tokens of their steps.
Points OverTokens(const RunMetrics& metrics, const Points& points) {
  Points result;
  for (const auto& [step, value] : points) {
    const auto tokens = metrics.rows.at(static_cast<int64_t>(step)).find("tokens");
    result.emplace_back(tokens->get<double>(), value);
  }
  return result;
}

bool HasTokens(const Run& run) {
  return run.metrics.Column("tokens").size() == run.metrics.rows.size();
}

std::string Charts(const std::vector<Run>& runs) {
  const bool tokens = std::all_of(runs.begin(), runs.end(), HasTokens);
  std::string html;
  const auto add = [&](Chart chart, ChartSeries::Style style,
                       const std::function<Points(const RunMetrics&)>& column) {
    chart.x_label = chart.x_name = tokens ? "tokens" : "step";
    if (tokens) chart.x_format = Chart::Format::kCount;
    for (const Run& run : runs) {
      const Points points = column(run.metrics);
      chart.series.push_back(
          {run.name, style, NextColor(chart), tokens ? OverTokens(run.metrics, points) : points});
    }
    html += RenderChart(chart);
  };
  const auto of = [](const std::vector<std::string>& keys) {
    return [=](const RunMetrics& metrics) { return metrics.Column(keys); };
  };
  const auto line = ChartSeries::Style::kLine, marked = ChartSeries::Style::kMarked;
  add({.title = "Training loss", .note = "nats per token, smoothed"}, line,
      [](const RunMetrics& metrics) {
        const Points loss = metrics.Column("loss");
        return Smooth(loss, SmoothWidth(loss));
      });
  const auto small = [](const std::string& title, const std::string& note) {
    return Chart{.title = title, .note = note, .width = 490, .height = 240};
  };
  add(small("Validation loss", "nats per token"), marked, of({"val_loss"}));
  add(small("Validation", "bits per byte"), marked, of({"val_bits_per_byte"}));
  std::set<std::string> sets;
  for (const Run& run : runs) sets.merge(run.metrics.Names("validation"));
  for (const std::string& set : sets) {
    add(small(absl::StrCat("Validation set ", set), "nats per token"), marked,
        of({"validation", set, "loss"}));
  }
  std::set<std::pair<std::string, std::string>> scores;
  for (const Run& run : runs) {
    for (const auto& [metric, tasks] : TasksByMetric(run.metrics)) {
      for (const std::string& task : tasks) scores.emplace(task, metric);
    }
  }
  for (const auto& [task, metric] : scores) {
    add(small(absl::StrCat("Task ", task), metric), marked, of({"evaluation", task, metric}));
  }
  Chart rate = small("Learning rate", "");
  rate.format = Chart::Format::kScientific;
  rate.from_zero = true;
  add(rate, line, of({"lr"}));
  Chart norm = small("Gradient norm", "before clipping");
  norm.from_zero = norm.allow_log = true;
  add(norm, line, of({"grad_norm"}));
  Chart speed = small("Throughput", "tokens/s");
  speed.format = Chart::Format::kCount;
  speed.from_zero = true;
  add(speed, line, of({"tokens_per_s"}));
  return html;
}

std::string Table(const std::vector<Run>& runs) {
  const auto row = [](std::string name, const std::function<std::string(const Run&)>& cell,
                      const std::vector<Run>& all) {
    std::string html = absl::StrCat("<tr><td>", name, "</td>");
    for (const Run& run : all) absl::StrAppend(&html, "<td>", EscapeHtml(cell(run)), "</td>");
    return html + "</tr>\n";
  };
  const auto last = [](const char* key, const char* format) {
    return [=](const Run& run) {
      const Points points = run.metrics.Column(key);
      if (points.empty()) return std::string("\u2013");
      return std::string(format[0] == 'n'
                             ? GroupedNumber(static_cast<int64_t>(points.back().second))
                             : absl::StrFormat("%.4f", points.back().second));
    };
  };
  std::string html = "<table>\n";
  html += row(
      "run", [](const Run& run) { return run.name; }, runs);
  html += row(
      "step", [](const Run& run) { return GroupedNumber(run.metrics.rows.rbegin()->first); }, runs);
  if (std::any_of(runs.begin(), runs.end(),
                  [](const Run& run) { return run.parent.has_value(); })) {
    html += row(
        "parent",
        [](const Run& run) {
          return run.parent.has_value()
                     ? absl::StrCat(run.parent->run, " at step ", GroupedNumber(run.parent->step))
                     : std::string("\u2013");
        },
        runs);
  }
  html += row("tokens", last("tokens", "n"), runs);
  html += row("validation loss", last("val_loss", "f"), runs);
  html += row("validation bits per byte", last("val_bits_per_byte", "f"), runs);
  html += row(
      "training loss",
      [](const Run& run) {
        const Points loss = run.metrics.Column("loss");
        return loss.empty() ? std::string("\u2013") : absl::StrFormat("%.4f", Final(loss));
      },
      runs);
  html += row(
      "tokens/s, median",
      [](const Run& run) {
        const Points speed = run.metrics.Column("tokens_per_s");
        return speed.empty() ? std::string("\u2013") : ShortNumber(Median(speed));
      },
      runs);
  html += row(
      "time",
      [](const Run& run) {
        const Points seconds = run.metrics.Column("elapsed_s");
        return seconds.empty() ? std::string("\u2013") : LongDuration(seconds.back().second);
      },
      runs);
  return html + "</table>\n";
}

}  // namespace

absl::StatusOr<std::string> RenderComparison(const std::vector<ComparedRun>& compared) {
  std::vector<Run> runs;
  for (const ComparedRun& run : compared) {
    runs.push_back({run.name, ReadRunMetrics(run.metrics_jsonl), ParentOf(run.metrics_jsonl)});
    if (runs.back().metrics.rows.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(run.name, ": its metrics hold no step, so there is nothing to report"));
    }
  }
  std::vector<FamilyMember> family;
  for (const Run& run : runs) {
    family.push_back({run.name, run.name, run.parent, run.metrics.rows.rbegin()->first});
  }
  return absl::StrCat(PageBegin("Comparison", absl::StrCat(runs.size(), " runs")),
                      "<section class=\"card\"><h2>Key figures</h2>\n", Table(runs),
                      "</section>\n<div class=\"charts\">\n", RenderFamily(family), Charts(runs),
                      "</div>\n", PageEnd());
}

}  // namespace wyvern
