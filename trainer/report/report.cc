#include "trainer/report/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "data/io/say.h"
#include "kernels/runtime/memory_text.h"
#include "kernels/runtime/status.h"
#include "trainer/report/chart.h"
#include "trainer/report/family.h"
#include "trainer/report/metrics_file.h"
#include "trainer/report/page.h"
#include "trainer/report/run_metrics.h"

namespace wyvern {
namespace {

std::string Change(double from, double to) {
  return absl::StrFormat("%s%.1f%% from %.3f", to <= from ? "\u2212" : "+",
                         100 * std::abs(1 - to / from), from);
}

struct Tile {
  std::string name, value, detail;
};

std::vector<Tile> Tiles(const RunMetrics& metrics) {
  std::vector<Tile> tiles;
  const Points loss = metrics.Column("loss"), val = metrics.Column("val_loss");
  if (!val.empty()) {
    tiles.push_back({"Validation loss", absl::StrFormat("%.4f", val.back().second),
                     val.size() > 1 ? Change(val.front().second, val.back().second)
                                    : absl::StrFormat("at step %.0f", val.back().first)});
  }
  if (!loss.empty()) {
    tiles.push_back({"Training loss", absl::StrFormat("%.4f", Final(loss)),
                     Change(loss.front().second, Final(loss))});
  }
  const Points tokens = metrics.Column("tokens");
  if (!tokens.empty()) {
    tiles.push_back({"Tokens", ShortNumber(tokens.back().second),
                     absl::StrCat("in ", GroupedNumber(metrics.rows.rbegin()->first), " steps")});
  }
  const Points speed = metrics.Column("tokens_per_s");
  if (!speed.empty()) {
    const Points time = metrics.Column("step_ms");
    tiles.push_back(
        {"Tokens/s", ShortNumber(Median(speed)),
         time.empty() ? "median" : absl::StrFormat("median; %.4g ms a step", Median(time))});
  }
  const Points mfu = metrics.Column("mfu");
  if (!mfu.empty()) {
    tiles.push_back({"MFU", absl::StrFormat("%.1f%%", 100 * Median(mfu)), "median, of the peak"});
  }
  const Points bytes = metrics.Column("peak_bytes");
  if (!bytes.empty()) {
    tiles.push_back({"Peak memory", MemoryText(Largest(bytes)), "of tensors"});
  }
  return tiles;
}

std::vector<std::pair<std::string, std::string>> ComputedFacts(const RunMetrics& metrics) {
  std::vector<std::pair<std::string, std::string>> facts;
  const Points val = metrics.Column("val_loss");
  if (!val.empty()) {
    const auto best = std::min_element(
        val.begin(), val.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    facts.emplace_back("Best validation loss",
                       absl::StrFormat("%.4f at step %.0f (perplexity %.2f)", best->second,
                                       best->first, std::exp(best->second)));
  }
  const Points bits = metrics.Column("val_bits_per_byte");
  if (!bits.empty()) {
    facts.emplace_back("Validation bits per byte",
                       absl::StrFormat("%.4f at step %.0f", bits.back().second, bits.back().first));
  }
  const Points tokens = metrics.Column("tokens");
  if (!tokens.empty()) {
    facts.emplace_back("Training tokens", WholeNumber(tokens.back().second));
  }
  double seconds = 0;
  for (const auto& [step, ms] : metrics.Column("step_ms")) seconds += ms / 1000;
  if (seconds > 0) facts.emplace_back("Time in steps", LongDuration(seconds));
  int64_t skipped = 0;
  for (const auto& [step, row] : metrics.rows) {
    const auto flag = row.find("skipped");
    if (flag != row.end() && flag->is_boolean() && flag->get<bool>()) ++skipped;
  }
  if (skipped > 0) {
    facts.emplace_back("Skipped updates",
                       absl::StrCat(skipped, " (loss or gradient was not finite)"));
  }
  if (metrics.num_unreadable > 0) {
    facts.emplace_back("Unreadable metrics", absl::StrCat(metrics.num_unreadable, " lines"));
  }
  return facts;
}

// "step", with the tokens of one when these are the same throughout.
std::string StepLabel(const RunMetrics& metrics) {
  const Points tokens = metrics.Column("tokens");
  if (tokens.empty() || tokens.back().first <= 0) return "step";
  const double per_step = tokens.back().second / tokens.back().first;
  for (const auto& [step, count] : tokens) {
    if (std::abs(count - step * per_step) > 0.5) return "step";
  }
  return absl::StrCat("step  (", WholeNumber(per_step), " tokens each)");
}

// The lines of the runs that a branch continues, the oldest run's first, as far as they are there.
std::string Ancestors(const std::string& text) {
  constexpr int kMaxGenerations = 16;
  std::string lines, of_child = text;
  for (int i = 0; i < kMaxGenerations; ++i) {
    const std::optional<RunParent> parent = ParentOf(of_child);
    if (!parent.has_value() || !parent->continues) break;
    absl::StatusOr<std::string> of_parent =
        ReadFileOf(kMetricsFile, parent->run + "/metrics.jsonl");
    if (!of_parent.ok()) break;
    std::string before;
    for (const MetricsLine& line : ParseMetrics(*of_parent).lines) {
      if (line.step <= parent->step) absl::StrAppend(&before, line.text, "\n");
    }
    lines.insert(0, before);
    of_child = *std::move(of_parent);
  }
  return lines;
}

// Curves of validation sets and of sources, where the run tells them apart.
std::string NamedCharts(const RunMetrics& metrics, const std::string& x_label) {
  const auto small = [&](const char* title, const char* note) {
    return Chart{.title = title, .note = note, .x_label = x_label, .width = 490, .height = 240};
  };
  Chart sets = small("Validation sets", "nats per token"),
        bits = small("Bits per byte", "validation"),
        sources = small("Loss by source", "nats per token, smoothed"),
        epochs = small("Epochs", "by source");
  epochs.from_zero = true;
  const auto add = [](Chart* chart, const std::string& label, ChartSeries::Style style,
                      Points points) {
    chart->series.push_back({label, style, NextColor(*chart), std::move(points)});
  };
  const auto marked = ChartSeries::Style::kMarked, line = ChartSeries::Style::kLine;
  add(&bits, "all sources", marked, metrics.Column("val_bits_per_byte"));
  for (const std::string& name : metrics.Names("validation")) {
    add(&sets, name, marked, metrics.Column({"validation", name, "loss"}));
    add(&bits, name, marked, metrics.Column({"validation", name, "bits_per_byte"}));
  }
  for (const std::string& name : metrics.Names("epochs")) {
    const Points loss = metrics.Column({"loss_by_source", name});
    add(&sources, name, line, Smooth(loss, SmoothWidth(loss)));
    add(&epochs, name, line, metrics.Column({"epochs", name}));
  }
  std::string html =
      RenderChart(sets) + RenderChart(bits) + RenderChart(sources) + RenderChart(epochs);
  for (const auto& [metric, tasks] : TasksByMetric(metrics)) {
    Chart chart = small(absl::StrCat("Tasks: ", metric).c_str(), "");
    for (const std::string& task : tasks) {
      add(&chart, task, marked, metrics.Column({"evaluation", task, metric}));
    }
    html += RenderChart(chart);
  }
  return html;
}

std::string Charts(const RunMetrics& metrics, const RunMetrics& ancestors) {
  const std::string x_label = StepLabel(metrics);
  const Points loss = metrics.Column("loss");
  const int64_t width = SmoothWidth(loss);
  std::string html;
  Chart chart{.title = "Loss", .note = "nats per token", .x_label = x_label};
  if (width > 1) {
    chart.series = {{"training, each step", ChartSeries::Style::kFaint, 1, loss},
                    {absl::StrCat("training, mean of ", width), ChartSeries::Style::kLine, 1,
                     Smooth(loss, width)}};
  } else {
    chart.series = {{"training", ChartSeries::Style::kLine, 1, loss}};
  }
  chart.series.push_back(
      {"validation", ChartSeries::Style::kMarked, 2, metrics.Column("val_loss")});
  chart.series.push_back(
      {"parent, training", ChartSeries::Style::kLine, 3, Smooth(ancestors.Column("loss"), width)});
  chart.series.push_back(
      {"parent, validation", ChartSeries::Style::kMarked, 4, ancestors.Column("val_loss")});
  html += RenderChart(chart);
  html += NamedCharts(metrics, x_label);

  const auto add = [&](const char* key, const char* label, Chart small) {
    small.x_label = x_label;
    small.width = 490;
    small.height = 240;
    small.series = {{label, ChartSeries::Style::kLine, 1, metrics.Column(key)}};
    html += RenderChart(small);
  };
  add("lr", "learning rate",
      {.title = "Learning rate", .format = Chart::Format::kScientific, .from_zero = true});
  add("grad_norm", "gradient norm",
      {.title = "Gradient norm", .note = "before clipping", .from_zero = true, .allow_log = true});
  add("tokens_per_s", "tokens/s",
      {.title = "Throughput",
       .note = "tokens/s",
       .format = Chart::Format::kCount,
       .from_zero = true});
  // Where there is no MFU, on the CPU, its place shows the time.
  if (metrics.Column("mfu").empty()) {
    add("step_ms", "step time", {.title = "Step time", .note = "ms", .from_zero = true});
  }
  add("mfu", "MFU", {.title = "MFU", .note = "share of the GPU's peak", .from_zero = true});
  return html;
}

std::string Table(const std::vector<std::pair<std::string, std::string>>& facts) {
  std::string html = "<table>\n";
  for (const auto& [name, value] : facts) {
    absl::StrAppend(&html, "<tr><td>", EscapeHtml(name), "</td><td>", EscapeHtml(value),
                    "</td></tr>\n");
  }
  return html + "</table>\n";
}

}  // namespace

absl::StatusOr<std::string> RenderReport(const std::string& metrics_jsonl,
                                         const ReportInput& input) {
  const RunMetrics metrics = ReadRunMetrics(metrics_jsonl);
  if (metrics.rows.empty()) {
    return absl::InvalidArgumentError("the metrics hold no step, so there is nothing to report");
  }
  std::string html = PageBegin(
      input.title,
      absl::StrCat("Training report, step ", GroupedNumber(metrics.rows.rbegin()->first)));
  html += "<div class=\"tiles\">\n";
  for (const Tile& tile : Tiles(metrics)) {
    absl::StrAppend(&html, "<div class=\"tile\"><div class=\"name\">", EscapeHtml(tile.name),
                    "</div><div class=\"value\">", EscapeHtml(tile.value),
                    "</div><div class=\"detail\">", EscapeHtml(tile.detail), "</div></div>\n");
  }
  absl::StrAppend(&html, "</div>\n<div class=\"charts\">\n",
                  Charts(metrics, ReadRunMetrics(input.ancestors)), "</div>\n");
  std::vector<std::pair<std::string, std::string>> facts = input.facts;
  for (auto& fact : ComputedFacts(metrics)) facts.push_back(std::move(fact));
  absl::StrAppend(&html, "<section class=\"card\"><h2>Key facts</h2>\n", Table(facts),
                  "</section>\n");
  if (!input.sample.empty()) {
    absl::StrAppend(&html, "<section class=\"card\"><h2>Sample</h2>\n<pre>",
                    EscapeHtml(input.sample), "</pre></section>\n");
  }
  if (!input.config.empty()) {
    absl::StrAppend(&html,
                    "<section class=\"card\"><details><summary>Configuration</summary>\n<pre>",
                    EscapeHtml(input.config), "</pre></details></section>\n");
  }
  return html + PageEnd();
}

absl::Status WriteReport(const std::string& run_dir, const ReportInput& input,
                         const std::string& output) {
  const std::string path = absl::StrCat(run_dir, "/metrics.jsonl");
  ASSIGN_OR_RETURN(const std::string text, ReadFileOf(kMetricsFile, path));
  const std::string unreadable = UnreadableText(path, ParseMetrics(text).unreadable);
  if (!unreadable.empty()) SayError(absl::StrCat("warning: ", unreadable));
  ReportInput with_ancestors = input;
  with_ancestors.ancestors = Ancestors(text);
  ASSIGN_OR_RETURN(const std::string html, RenderReport(text, with_ancestors));
  return WriteFileAtomically(output, html);
}

}  // namespace wyvern
