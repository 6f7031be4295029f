#include "trainer/report/chart.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/io/json.h"

namespace wyvern {
namespace {

constexpr int kLeft = 58, kRight = 14, kTop = 10, kBottom = 46;
constexpr int kBleed = 5;            // around the plot, so that dots on its edge are whole
constexpr size_t kMaxPoints = 1400;  // more than there are pixels
constexpr int kMaxDecades = 12;      // that have a tick each
constexpr double kLargest = std::numeric_limits<double>::max();
constexpr double kLeast = std::numeric_limits<double>::min();

struct Axis {
  double low = 0, high = 1;
  bool log = false;

  // In [0, 1] inside the range.
  double Place(double value) const {
    if (!log) return (value / 2 - low / 2) / (high / 2 - low / 2);  // the range may be infinite
    return (std::log(value) - std::log(low)) / (std::log(high) - std::log(low));
  }
};

// A logarithmic axis, longer than the values' range by this share of it at each end; by a factor
// where there is one value.
Axis LogAxis(double low, double high, double share, double factor) {
  const double pad = high > low ? share * (std::log(high) - std::log(low)) : std::log(factor);
  return {.low = std::max(kLeast, std::exp(std::log(low) - pad)),
          .high = std::min(kLargest, std::exp(std::log(high) + pad)),
          .log = true};
}

Axis LinearAxis(double low, double high) {
  return {.low = std::max(-kLargest, low), .high = std::min(kLargest, high)};
}

// The points that can be drawn: no NaN, and above 0 on a logarithmic axis. A value may be infinite:
// the curve leaves the plot.
std::vector<std::pair<double, double>> Drawable(
    const std::vector<std::pair<double, double>>& points, bool log_log) {
  std::vector<std::pair<double, double>> kept;
  for (const auto& [x, y] : points) {
    const bool in_range = !log_log || (x > 0 && y > 0);
    if (std::isfinite(x) && !std::isnan(y) && in_range) kept.emplace_back(x, y);
  }
  return kept;
}

// Keeps the least and the greatest value of each stretch, so that spikes stay visible.
std::vector<std::pair<double, double>> Thin(const std::vector<std::pair<double, double>>& points) {
  if (points.size() <= kMaxPoints) return points;
  std::vector<std::pair<double, double>> kept;
  const size_t stretches = kMaxPoints / 2;
  for (size_t s = 0; s < stretches; ++s) {
    const auto begin = points.begin() + s * points.size() / stretches;
    const auto end = points.begin() + (s + 1) * points.size() / stretches;
    auto [low, high] = std::minmax_element(
        begin, end, [](const auto& a, const auto& b) { return a.second < b.second; });
    if (high < low) std::swap(low, high);
    kept.push_back(*low);
    if (high != low) kept.push_back(*high);
  }
  kept.back() = points.back();
  return kept;
}

Axis MakeYAxis(const Chart& chart, const std::vector<ChartSeries>& series) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  const bool only_faint = std::all_of(series.begin(), series.end(), [](const ChartSeries& s) {
    return s.style == ChartSeries::Style::kFaint;
  });
  for (const ChartSeries& s : series) {
    if (s.style == ChartSeries::Style::kBand) continue;
    if (s.style == ChartSeries::Style::kFaint && !only_faint) continue;
    for (const auto& [x, y] : s.points) {
      if (!std::isfinite(y)) continue;
      low = std::min(low, y);
      high = std::max(high, y);
    }
  }
  if (low > high) return chart.log_log ? LogAxis(1, 10, 0, 1) : LinearAxis(0, 1);  // no number
  if (chart.log_log) return LogAxis(low, high, 0.06, 1.05);
  if (chart.allow_log && low > 0 && high / low > 30) {
    return {
        .low = std::max(kLeast, low / 1.2), .high = std::min(kLargest, high * 1.2), .log = true};
  }
  if (chart.from_zero && low >= 0) return LinearAxis(0, high > 0 ? high * 1.08 : 1);
  const double pad =
      high > low ? 0.12 * (high / 2 - low / 2) : std::max(std::abs(high) * 0.1, 1e-3);
  return LinearAxis(low - pad, high + pad);
}

// A tick's label; `step` is the distance to its neighbour (0: none).
std::string TickLabel(double value, double step, Chart::Format format) {
  if (value == 0) return "0";
  if (format == Chart::Format::kScientific) {
    const int exponent = static_cast<int>(std::floor(std::log10(std::abs(value)) + 1e-9));
    return absl::StrFormat("%.3ge%d", value / std::pow(10, exponent), exponent);
  }
  if (std::abs(value) >= 10000 || format == Chart::Format::kCount) return ShortNumber(value);
  const double finest = step > 0 ? step : std::abs(value);
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(finest) - 1e-9)));
  if (decimals <= 6) return absl::StrFormat("%.*f", decimals, value);
  // As many digits as tell neighbours apart.
  const double digits = std::ceil(std::log10(std::abs(value)) - std::log10(finest) - 1e-9) + 1;
  return absl::StrFormat("%.*g", static_cast<int>(std::clamp(digits, 3.0, 17.0)), value);
}

std::string ValueLabel(double value, Chart::Format format) {
  if (format == Chart::Format::kScientific) return absl::StrFormat("%.3g", value);
  if (format == Chart::Format::kCount) return WholeNumber(value);
  return absl::StrFormat("%.4g", value);
}

// The distance of even ticks; 0 for others.
double StepOf(const std::vector<double>& ticks) {
  if (ticks.size() < 2) return 0;
  const double step = ticks[1] - ticks[0];
  const bool even = ticks.size() == 2 || std::abs(ticks[2] - ticks[1] - step) < 1e-6 * step;
  return even ? step : 0;
}

// Even steps where the axis spans too little for powers of ten.
std::vector<double> LogAxisTicks(double low, double high) {
  std::vector<double> ticks = LogTicks(low, high);
  return ticks.size() < 3 ? LinearTicks(low, high, 6) : ticks;
}

const char* ClassOf(const ChartSeries& series) {
  if (series.style == ChartSeries::Style::kFaint) return "faint";
  if (series.style == ChartSeries::Style::kDots) return "dots";
  if (series.style == ChartSeries::Style::kBand) return "band";
  return series.style == ChartSeries::Style::kMarked ? "marked" : "line";
}

}  // namespace

int NextColor(const Chart& chart) { return static_cast<int>(chart.series.size() % 6) + 1; }

std::string EscapeHtml(absl::string_view text) {
  std::string result;
  for (const char c : Utf8(text)) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&#39;";
        break;
      default:
        result += c;
    }
  }
  return result;
}

std::string WholeNumber(double value) {
  return std::abs(value) < 1e18 ? GroupedNumber(std::llround(value))
                                : absl::StrFormat("%.4g", value);
}

std::string GroupedNumber(int64_t value) {
  const std::string digits = std::to_string(value);
  std::string result;
  for (size_t i = 0; i < digits.size(); ++i) {
    const bool starts_group = i > 0 && (digits.size() - i) % 3 == 0 && digits[i - 1] != '-';
    if (starts_group) result += ',';
    result += digits[i];
  }
  return result;
}

std::string ShortNumber(double value) {
  constexpr const char* kSuffixes[] = {"", "k", "M", "B", "T"};
  int suffix = 0;
  while (suffix < 4 && std::abs(value) >= 999.5) {
    value /= 1000;
    ++suffix;
  }
  return absl::StrFormat("%.3g%s", value, kSuffixes[suffix]);
}

std::vector<double> LinearTicks(double low, double high, int count) {
  if (!(low < high) || !std::isfinite(low) || !std::isfinite(high)) return {};
  const double rough = std::min(kLargest, 2 * (high / 2 - low / 2) / count);
  const double power = std::pow(10, std::floor(std::log10(rough)));
  if (!(power > 0)) return {};  // a denormal range
  const double mantissa = rough / power;
  double nearest = 1;  // by ratio
  for (const double factor : {2.0, 5.0, 10.0}) {
    if (mantissa * mantissa > nearest * factor) nearest = factor;
  }
  const double step = std::min(nearest, kLargest / power) < nearest ? power : nearest * power;
  std::vector<double> ticks;
  const double first = std::ceil(low / step - 1e-9);
  for (int n = 0; n <= 3 * count; ++n) {
    const double tick = (first + n) * step;
    // Far from zero, neighbours in so small a range may be one number.
    const bool inside = std::isfinite(tick) && tick <= high + 1e-9 * step;
    if (!inside || (n > 0 && tick <= ticks.back())) break;
    ticks.push_back(first + n == 0 ? 0 : tick);
  }
  return ticks;
}

std::vector<double> LogTicks(double low, double high) {
  if (!(low > 0) || !(low < high) || !std::isfinite(high)) return {};
  std::vector<double> ticks;
  const int first = static_cast<int>(std::floor(std::log10(low)));
  const int last = static_cast<int>(std::floor(std::log10(high)));
  const bool few = high / low < 1000;
  const int step = (last - first) / kMaxDecades + 1;
  for (int exponent = first; exponent <= last; exponent += step) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double tick = factor * std::pow(10, exponent);
      if ((factor == 1 || few) && tick >= low && tick <= high) ticks.push_back(tick);
    }
  }
  return ticks;
}

std::string RenderChart(const Chart& chart) {
  std::vector<ChartSeries> series;
  for (const ChartSeries& s : chart.series) {
    std::vector<std::pair<double, double>> points = Drawable(s.points, chart.log_log);
    if (points.empty()) continue;
    series.push_back(s);
    series.back().points = s.style == ChartSeries::Style::kBand ? std::move(points) : Thin(points);
  }
  if (series.empty()) return "";
  Axis x{.low = std::numeric_limits<double>::infinity(),
         .high = -std::numeric_limits<double>::infinity()};
  for (const ChartSeries& s : series) {
    if (s.style == ChartSeries::Style::kBand) continue;
    x.low = std::min(x.low, s.points.front().first);
    x.high = std::max(x.high, s.points.back().first);
  }
  if (chart.log_log) {
    x = LogAxis(x.low, x.high, 0.03, 2);
  } else if (x.low == x.high) {
    x = {.low = x.low - 1, .high = x.high + 1};
  }
  const Axis y = MakeYAxis(chart, series);
  const double plot_width = chart.width - kLeft - kRight;
  const double plot_height = chart.height - kTop - kBottom;
  const auto to_x = [&](double value) { return kLeft + plot_width * x.Place(value); };
  const auto to_y = [&](double value) { return kTop + plot_height * (1 - y.Place(value)); };

  std::string legend;
  nlohmann::json data = {
      {"plot", {kLeft, kTop, plot_width, plot_height}},
      {"x", {x.low, x.high}},
      {"y", {y.low, y.high}},
      {"log", y.log},
      {"log_x", x.log},
      {"x_name", chart.x_name},
      {"format", static_cast<int>(chart.format)},
      {"series", nlohmann::json::array()},
  };
  for (const ChartSeries& s : series) {
    if (s.style == ChartSeries::Style::kBand) continue;
    data["series"].push_back({{"label", s.label}, {"color", s.color}, {"points", s.points}});
    if (series.size() == 1) break;
    absl::StrAppend(&legend, "<span class=\"key\"><i class=\"", ClassOf(s), " c", s.color,
                    "\"></i>", EscapeHtml(s.label));
    if (s.style != ChartSeries::Style::kFaint && !chart.log_log) {
      absl::StrAppend(&legend, " <b>", ValueLabel(s.points.back().second, chart.format), "</b>");
    }
    absl::StrAppend(&legend, "</span>");
  }

  std::string svg = absl::StrFormat("<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">",
                                    chart.width, chart.height, EscapeHtml(chart.title));
  const std::vector<double> y_ticks =
      y.log ? LogAxisTicks(y.low, y.high)
            : LinearTicks(y.low, y.high, std::max(3, static_cast<int>(plot_height / 38)));
  const double y_step = StepOf(y_ticks);
  for (const double tick : y_ticks) {
    const double at = to_y(tick);
    absl::StrAppendFormat(&svg,
                          "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                          "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
                          kLeft, chart.width - kRight, at, at, kLeft - 8, at + 4,
                          TickLabel(tick, y_step, chart.format));
  }
  const double bottom = kTop + plot_height;
  const std::vector<double> x_ticks =
      x.log ? LogAxisTicks(x.low, x.high)
            : LinearTicks(x.low, x.high, std::max(4, static_cast<int>(plot_width / 110)));
  const double x_step = StepOf(x_ticks);
  for (const double tick : x_ticks) {
    absl::StrAppendFormat(
        &svg,
        "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
        "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>",
        to_x(tick), to_x(tick), bottom, bottom + 4, to_x(tick), bottom + 18,
        TickLabel(tick, x_step, chart.x_format));
  }
  absl::StrAppendFormat(
      &svg,
      "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
      "<text class=\"label\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>",
      kLeft, chart.width - kRight, bottom, bottom, kLeft + plot_width / 2, chart.height - 8,
      EscapeHtml(chart.x_label));
  // A nested drawing cuts what leaves the plot.
  const double inner_x = kLeft - kBleed, inner_width = plot_width + 2 * kBleed;
  absl::StrAppendFormat(&svg,
                        "<svg x=\"%.0f\" y=\"%d\" width=\"%.0f\" height=\"%.0f\" "
                        "viewBox=\"%.0f %d %.0f %.0f\">",
                        inner_x, kTop, inner_width, plot_height, inner_x, kTop, inner_width,
                        plot_height);
  for (const ChartSeries& s : series) {
    const bool dots = s.style == ChartSeries::Style::kDots;
    if (!dots)
      absl::StrAppend(&svg, "<polyline class=\"", ClassOf(s), " c", s.color, "\" points=\"");
    for (const auto& [px, py] : s.points) {
      if (dots) break;
      // Far outside of the plot is as good as beyond every number.
      const double at = std::clamp(to_y(y.log ? std::max(py, y.low / 10) : py), -1e4, 1e4);
      absl::StrAppendFormat(&svg, "%.1f,%.1f ", to_x(px), at);
    }
    if (!dots) absl::StrAppend(&svg, "\"/>");
    if (dots || s.style == ChartSeries::Style::kMarked || s.points.size() == 1) {
      for (const auto& [px, py] : s.points) {
        absl::StrAppendFormat(&svg, "<circle class=\"c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>",
                              s.color, to_x(px), std::clamp(to_y(py), -1e4, 1e4));
      }
    }
  }
  absl::StrAppend(&svg, "</svg><g class=\"cursor\"></g></svg>");
  return absl::StrCat("<figure", chart.width > 600 ? " class=\"wide\"" : "", " data-chart=\"",
                      EscapeHtml(JsonText(data)), "\">\n<figcaption><h2>", EscapeHtml(chart.title),
                      "</h2><span class=\"note\">", EscapeHtml(chart.note), "</span>", legend,
                      "</figcaption>\n<div class=\"plot\">", svg,
                      "<div class=\"tip\" hidden></div></div>\n</figure>\n");
}

}  // namespace wyvern
