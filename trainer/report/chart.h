// Line charts as inline SVG.
#ifndef WYVERN_TRAINER_REPORT_CHART_H_
#define WYVERN_TRAINER_REPORT_CHART_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace wyvern {

struct ChartSeries {
  // kMarked: a line with a dot at each point; kDots: the dots alone; kBand: the inside of the
  // closed line through the points, without a legend.
  enum class Style { kLine, kFaint, kMarked, kDots, kBand };

  std::string label;
  Style style = Style::kLine;
  int color = 1;  // 1 to 6: the style sheet's --line-1 ...
  // (x, y), by x except of a band. Those without a finite x, or whose y is NaN, are left out.
  std::vector<std::pair<double, double>> points;
};

struct Chart {
  enum class Format { kPlain, kScientific, kCount };  // 3.25; 3e-4; 25k

  std::string title;
  std::string note;  // beside the title: the unit, or how it was measured
  std::string x_label;
  Format format = Format::kPlain;
  bool from_zero = false;  // the vertical axis starts at 0
  bool allow_log = false;  // a logarithmic vertical axis where the values span much
  bool log_log = false;    // both axes logarithmic: values above 0
  Format x_format = Format::kPlain;
  std::string x_name = "step";  // in the pointer's read-out
  int width = 960, height = 330;
  std::vector<ChartSeries> series;  // those that are kFaint or kBand do not set the range
};

// The color of one more series, in turn.
int NextColor(const Chart& chart);

// An HTML figure with title, axes and curves, and with a legend that holds each series' last
// value where there is more than one; the data of
// the pointer's read-out is in its data-chart attribute. Empty if no series has a point.
std::string RenderChart(const Chart& chart);

// & < > " ' as entities; bytes that are not UTF-8 as U+FFFD.
std::string EscapeHtml(absl::string_view text);

// "1,234,567", and "1.23M".
std::string GroupedNumber(int64_t value);
std::string WholeNumber(double value);  // grouped; "1e+18" from there on
std::string ShortNumber(double value);

// Round values in [low, high], about `count` of them, at most three times as many. Empty unless low
// < high, both finite.
std::vector<double> LinearTicks(double low, double high, int count);
// Powers of ten, with 2 and 5 between them where these are few; of many, every n-th. Empty unless 0
// < low < high, both finite.
std::vector<double> LogTicks(double low, double high);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_REPORT_CHART_H_
