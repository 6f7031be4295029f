#include "trainer/scaling/analysis.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace wyvern {
namespace {

std::vector<LawForm> Forms() {
  std::vector<LawForm> forms;
  for (const ScalingVariable v :
       {ScalingVariable::kCompute, ScalingVariable::kParameters, ScalingVariable::kTokens}) {
    forms.push_back({.floor = false, .variables = {v}});
    forms.push_back({.floor = true, .variables = {v}});
  }
  forms.push_back(
      {.floor = true, .variables = {ScalingVariable::kParameters, ScalingVariable::kTokens}});
  return forms;
}

// A percentile interval need not hold the estimate: where a law bends, refits lie to one side.
void SetInterval(std::vector<double> values, Estimate* estimate) {
  const double value = estimate->value, rounding = 1e-9 * std::abs(value);
  Interval& interval = estimate->interval;
  interval = CentralInterval(std::move(values));
  estimate->extended = value < interval.low - rounding || value > interval.high + rounding;
  interval.low = std::min(interval.low, value);
  interval.high = std::max(interval.high, value);
}

Estimate EstimateOf(const std::string& name, const LawFit& fit,
                    const std::function<double(const Law&)>& quantity) {
  Estimate estimate{.name = name, .value = quantity(fit.law)};
  std::vector<double> values;
  for (const Law& law : fit.draws) values.push_back(quantity(law));
  SetInterval(std::move(values), &estimate);
  return estimate;
}

std::vector<Estimate> Estimates(const LawFit& fit) {
  std::vector<Estimate> estimates;
  if (fit.law.form.floor) {
    estimates.push_back(EstimateOf("E", fit, [](const Law& law) { return law.e; }));
  }
  const bool joint = fit.law.terms.size() > 1;
  for (size_t i = 0; i < fit.law.terms.size(); ++i) {
    const char* a = !joint ? "a" : i == 0 ? "A" : "B";
    const char* b = !joint ? "b" : i == 0 ? "alpha" : "beta";
    estimates.push_back(
        EstimateOf(a, fit, [i](const Law& law) { return std::exp(law.terms[i].log_a); }));
    estimates.push_back(EstimateOf(b, fit, [i](const Law& law) { return law.terms[i].b; }));
  }
  return estimates;
}

void Compare(const FamilyResult& family, const FamilyResult& than, const std::string& form,
             std::vector<ComputeRatio>* ratios) {
  const LawResult* own = family.Find(form);
  const LawResult* other = than.Find(form);
  if (own == nullptr || other == nullptr) return;
  const auto compute = [](const ScalingPoint& point) { return point.x[0]; };
  const double low = std::max(compute(family.points.front()), compute(than.points.front()));
  const double high = std::min(compute(family.points.back()), compute(than.points.back()));
  if (!(low < high)) return;
  for (const double at : {low, std::sqrt(low * high), high}) {
    const auto ratio = [at](const Law& a, const Law& b) { return a.Inverse(b.Loss(at)) / at; };
    ComputeRatio result{.family = family.name, .than = than.name, .law = form, .compute = at};
    result.ratio = {.name = "ratio", .value = ratio(own->fit.law, other->fit.law)};
    if (!std::isfinite(result.ratio.value)) continue;
    std::vector<double> values;
    const size_t count = std::min(own->fit.draws.size(), other->fit.draws.size());
    for (size_t i = 0; i < count; ++i) {
      values.push_back(ratio(own->fit.draws[i], other->fit.draws[i]));
    }
    SetInterval(std::move(values), &result.ratio);
    ratios->push_back(std::move(result));
  }
}

}  // namespace

const LawResult* FamilyResult::Find(const std::string& form_name) const {
  for (const LawResult& law : laws) {
    if (law.form.Name() == form_name) return law.why_not.empty() ? &law : nullptr;
  }
  return nullptr;
}

ScalingAnalysis Analyze(const ScalingPoints& points, const FitOptions& options) {
  ScalingAnalysis analysis{.source = points};
  for (const ScalingPoint& point : points.points) {
    auto family = std::find_if(analysis.families.begin(), analysis.families.end(),
                               [&](const FamilyResult& f) { return f.name == point.family; });
    if (family == analysis.families.end()) {
      analysis.families.push_back({.name = point.family});
      family = analysis.families.end() - 1;
    }
    family->points.push_back(point);
  }
  uint64_t seed = options.seed;
  for (FamilyResult& family : analysis.families) {
    std::stable_sort(family.points.begin(), family.points.end(),
                     [](const ScalingPoint& a, const ScalingPoint& b) { return a.x[0] < b.x[0]; });
    for (const LawForm& form : Forms()) {
      LawResult result{.form = form};
      // Families are independent of each other, so their draws must be too.
      auto fit = FitLaw(family.points, form, {.num_draws = options.num_draws, .seed = ++seed});
      if (fit.ok()) {
        result.fit = *std::move(fit);
        result.estimates = Estimates(result.fit);
      } else {
        result.why_not = std::string(fit.status().message());
      }
      family.laws.push_back(std::move(result));
    }
  }
  for (size_t i = 0; i < analysis.families.size(); ++i) {
    for (size_t j = i + 1; j < analysis.families.size(); ++j) {
      for (const char* form : {"compute", "compute_floor"}) {
        Compare(analysis.families[i], analysis.families[j], form, &analysis.ratios);
      }
    }
  }
  return analysis;
}

}  // namespace wyvern
