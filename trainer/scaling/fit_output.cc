#include "trainer/scaling/fit_output.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "kernels/runtime/status.h"
#include "trainer/report/chart.h"
#include "trainer/report/page.h"

namespace wyvern {
namespace {

constexpr int kCurvePoints = 60;

std::string NameOf(const std::string& family) { return family.empty() ? "all" : family; }

const char* ExtendedText(const Estimate& estimate) {
  return estimate.extended ? ", extended to the estimate" : "";
}

std::string EstimateText(const Estimate& estimate) {
  return absl::StrFormat("%s %.4g (%.4g to %.4g%s)", estimate.name, estimate.value,
                         estimate.interval.low, estimate.interval.high, ExtendedText(estimate));
}

std::string LawText(const LawResult& law) {
  if (!law.why_not.empty()) return law.why_not;
  std::vector<std::string> parts;
  for (const Estimate& estimate : law.estimates) parts.push_back(EstimateText(estimate));
  return absl::StrCat(absl::StrJoin(parts, "  "),
                      absl::StrFormat("  scatter %.2g%%", 100 * law.fit.scale));
}

std::string RatioText(const ComputeRatio& r) {
  return absl::StrFormat(
      "%s needs %.3f (%.3f to %.3f%s) times the compute of %s at %.4g PFLOP/s-days",
      NameOf(r.family), r.ratio.value, r.ratio.interval.low, r.ratio.interval.high,
      ExtendedText(r.ratio), NameOf(r.than), r.compute);
}

// JSON has no infinity: a null stands for it.
nlohmann::json ToJson(const Estimate& estimate) {
  nlohmann::json json = {
      {"value", estimate.value}, {"low", estimate.interval.low}, {"high", estimate.interval.high}};
  if (estimate.extended) json["extended"] = true;
  return json;
}

nlohmann::json ToJson(const ScalingPoint& point) {
  nlohmann::json json = {{"name", point.name}, {"family", point.family}};
  const char* keys[] = {"compute_pflops_days", "parameters", "tokens"};
  for (int i = 0; i < kNumScalingVariables; ++i) {
    if (point.x[i] > 0) json[keys[i]] = point.x[i];
  }
  if (point.loss > 0) json["loss"] = point.loss;
  return json;
}

std::string PlotOf(const ScalingAnalysis& analysis, ScalingVariable variable, bool wide) {
  const char* titles[] = {"Loss and compute", "Loss and parameters", "Loss and tokens"};
  const char* labels[] = {"compute (PFLOP/s-days)", "parameters", "tokens"};
  const char* names[] = {"compute", "parameters", "tokens"};
  const size_t v = static_cast<size_t>(variable);
  Chart chart{.title = titles[v],
              .note = "nats per token; bands: 95% intervals of the power laws; thin: with a floor",
              .x_label = labels[v],
              .log_log = true,
              .x_format = v == 0 ? Chart::Format::kPlain : Chart::Format::kCount,
              .x_name = names[v]};
  if (!wide) {
    chart.width = 490;
    chart.height = 300;
    chart.note = "";
  }
  std::vector<ChartSeries> dots, lines, bands;
  for (size_t f = 0; f < analysis.families.size(); ++f) {
    const FamilyResult& family = analysis.families[f];
    const int color = 1 + static_cast<int>(f % 6);
    ChartSeries points{
        .label = NameOf(family.name), .style = ChartSeries::Style::kDots, .color = color};
    for (const ScalingPoint& point : family.points) {
      if (point.x[v] > 0) points.points.emplace_back(point.x[v], point.loss);
    }
    if (points.points.empty()) continue;
    std::sort(points.points.begin(), points.points.end());
    const double low = points.points.front().first, high = points.points.back().first;
    const auto curve = [&](const std::function<double(double)>& loss, bool backwards) {
      std::vector<std::pair<double, double>> line;
      for (int i = 0; i <= kCurvePoints; ++i) {
        const double share = static_cast<double>(backwards ? kCurvePoints - i : i) / kCurvePoints;
        const double x = std::exp(std::lerp(std::log(low), std::log(high), share));
        line.emplace_back(x, loss(x));
      }
      return line;
    };
    dots.push_back(std::move(points));
    for (const bool floor : {false, true}) {
      const LawResult* law = family.Find(LawForm{floor, {variable}}.Name());
      if (law == nullptr) continue;
      const auto loss = [law](double x) { return law->fit.law.Loss(x); };
      lines.push_back({.label = absl::StrCat(NameOf(family.name), ": ", law->form.Formula()),
                       .style = floor ? ChartSeries::Style::kFaint : ChartSeries::Style::kLine,
                       .color = color,
                       .points = curve(loss, false)});
      if (floor) continue;
      const auto interval = [law](double x) {
        std::vector<double> losses;
        for (const Law& drawn : law->fit.draws) losses.push_back(drawn.Loss(x));
        return CentralInterval(std::move(losses));
      };
      ChartSeries band{.style = ChartSeries::Style::kBand, .color = color};
      band.points = curve([&](double x) { return interval(x).low; }, false);
      for (auto& point : curve([&](double x) { return interval(x).high; }, true)) {
        band.points.push_back(point);
      }
      bands.push_back(std::move(band));
    }
  }
  // Powers of ten for the compute of small runs.
  for (const ChartSeries& s : dots) {
    if (v == 0 && s.points.front().first < 0.01) chart.x_format = Chart::Format::kScientific;
  }
  // The dots come first: the pointer's read-out goes by the first series.
  chart.series = dots;
  chart.series.insert(chart.series.end(), bands.begin(), bands.end());
  chart.series.insert(chart.series.end(), lines.begin(), lines.end());
  return RenderChart(chart);
}

std::string Card(const std::string& title,
                 const std::vector<std::pair<std::string, std::string>>& rows) {
  if (rows.empty()) return "";
  std::string html =
      absl::StrCat("<section class=\"card\"><h2>", EscapeHtml(title), "</h2>\n<table>\n");
  for (const auto& [name, value] : rows) {
    absl::StrAppend(&html, "<tr><td>", EscapeHtml(name), "</td><td>", EscapeHtml(value),
                    "</td></tr>\n");
  }
  return html + "</table>\n</section>\n";
}

std::string PointText(const ScalingPoint& point) {
  std::vector<std::string> parts;
  if (point.loss > 0) parts.push_back(absl::StrFormat("loss %.4f", point.loss));
  if (point.x[0] > 0) parts.push_back(absl::StrFormat("%.4g PFLOP/s-days", point.x[0]));
  if (point.x[1] > 0) parts.push_back(ShortNumber(point.x[1]) + " parameters");
  if (point.x[2] > 0) parts.push_back(ShortNumber(point.x[2]) + " tokens");
  return absl::StrJoin(parts, ", ");
}

}  // namespace

std::string FitTable(const ScalingAnalysis& analysis) {
  std::string text =
      absl::StrCat(analysis.source.title, ": ", analysis.source.points.size(), " points; ",
                   analysis.source.loss, "\nintervals of 95%; C in PFLOP/s-days\n");
  for (const FamilyResult& family : analysis.families) {
    absl::StrAppend(&text, "\n", NameOf(family.name), ", ", family.points.size(), " points\n");
    size_t width = 4;
    for (const ScalingPoint& point : family.points) width = std::max(width, point.name.size());
    for (size_t i = 0; i < family.points.size(); ++i) {
      absl::StrAppendFormat(&text, "  %-*s  %s\n", static_cast<int>(width), family.points[i].name,
                            PointText(family.points[i]));
    }
    for (const LawResult& law : family.laws) {
      absl::StrAppendFormat(&text, "  %-32s %s\n", law.form.Formula(), LawText(law));
    }
  }
  if (!analysis.ratios.empty()) absl::StrAppend(&text, "\nat equal loss\n");
  for (const ComputeRatio& ratio : analysis.ratios) {
    absl::StrAppend(&text, "  ", RatioText(ratio), " (",
                    ratio.law == "compute" ? "L = a C^-b" : "L = E + a C^-b", ")\n");
  }
  if (!analysis.source.excluded.empty()) absl::StrAppend(&text, "\nleft out\n");
  for (const auto& [point, reason] : analysis.source.excluded) {
    absl::StrAppend(&text, "  ", point.name, ": ", reason, "\n");
  }
  return text;
}

std::string FitJson(const ScalingAnalysis& analysis) {
  nlohmann::json json = {
      {"title", analysis.source.title},      {"loss", analysis.source.loss},
      {"compute_unit_flops", kPflopsDay},    {"interval", 0.95},
      {"families", nlohmann::json::array()}, {"compute_ratios", nlohmann::json::array()},
      {"excluded", nlohmann::json::array()}};
  for (const FamilyResult& family : analysis.families) {
    nlohmann::json entry = {{"name", family.name}, {"points", nlohmann::json::array()}};
    for (const ScalingPoint& point : family.points) entry["points"].push_back(ToJson(point));
    for (const LawResult& law : family.laws) {
      nlohmann::json fit = {{"formula", law.form.Formula()}};
      if (!law.why_not.empty()) {
        fit["not_fitted"] = law.why_not;
      } else {
        fit["scatter_log_loss"] = law.fit.scale;
        for (const Estimate& estimate : law.estimates) {
          fit["parameters"][estimate.name] = ToJson(estimate);
        }
        fit["residuals_log_loss"] = law.fit.residuals;
      }
      entry["laws"][law.form.Name()] = std::move(fit);
    }
    json["families"].push_back(std::move(entry));
  }
  for (const ComputeRatio& ratio : analysis.ratios) {
    json["compute_ratios"].push_back({{"family", ratio.family},
                                      {"than", ratio.than},
                                      {"law", ratio.law},
                                      {"compute_pflops_days", ratio.compute},
                                      {"ratio", ToJson(ratio.ratio)}});
  }
  for (const auto& [point, reason] : analysis.source.excluded) {
    nlohmann::json entry = ToJson(point);
    entry["reason"] = reason;
    json["excluded"].push_back(std::move(entry));
  }
  return JsonText(json, 2) + "\n";
}

std::string FitPage(const ScalingAnalysis& analysis) {
  std::string html =
      PageBegin(analysis.source.title,
                absl::StrCat("Scaling laws of ", analysis.source.points.size(), " points; ",
                             analysis.source.loss, "; intervals of 95%; compute in PFLOP/s-days"));
  absl::StrAppend(&html, "<div class=\"charts\">\n",
                  PlotOf(analysis, ScalingVariable::kCompute, true),
                  PlotOf(analysis, ScalingVariable::kParameters, false),
                  PlotOf(analysis, ScalingVariable::kTokens, false), "</div>\n");
  std::vector<std::pair<std::string, std::string>> ratios, excluded;
  for (const ComputeRatio& ratio : analysis.ratios) {
    ratios.emplace_back(ratio.law == "compute" ? "L = a C^-b" : "L = E + a C^-b", RatioText(ratio));
  }
  absl::StrAppend(&html, Card("Compute at equal loss", ratios));
  for (const FamilyResult& family : analysis.families) {
    std::vector<std::pair<std::string, std::string>> laws, points;
    for (const LawResult& law : family.laws) laws.emplace_back(law.form.Formula(), LawText(law));
    for (const ScalingPoint& point : family.points) {
      points.emplace_back(point.name, PointText(point));
    }
    absl::StrAppend(&html, Card(NameOf(family.name) + ": laws", laws),
                    Card(NameOf(family.name) + ": points", points));
  }
  for (const auto& [point, reason] : analysis.source.excluded) {
    excluded.emplace_back(point.name, reason);
  }
  return html + Card("Left out", excluded) + PageEnd();
}

absl::Status WriteFit(const std::string& folder, const ScalingAnalysis& analysis) {
  RETURN_IF_ERROR(MakeFolders(folder));
  RETURN_IF_ERROR(WriteFileAtomically(folder + "/fit.json", FitJson(analysis)));
  return WriteFileAtomically(folder + "/report.html", FitPage(analysis));
}

}  // namespace wyvern
