// Every law of every family of points, and what one family needs of the other's compute.
#ifndef WYVERN_TRAINER_SCALING_ANALYSIS_H_
#define WYVERN_TRAINER_SCALING_ANALYSIS_H_

#include <string>
#include <vector>

#include "trainer/scaling/points.h"
#include "trainer/scaling/robust_fit.h"

namespace wyvern {

struct Estimate {
  std::string name;  // "a", "b", "E", "alpha" ...
  double value = 0;
  Interval interval;      // of 95%, and the value
  bool extended = false;  // as far as the value, which lay outside of the 95%
};

struct LawResult {
  LawForm form;
  std::string why_not;  // empty: fitted
  LawFit fit;
  std::vector<Estimate> estimates;
};

struct FamilyResult {
  std::string name;
  std::vector<ScalingPoint> points;  // by compute
  std::vector<LawResult> laws;

  // The fitted law of this form, or null.
  const LawResult* Find(const std::string& form_name) const;
};

// At equal loss, `family` needs `ratio` times the compute of `than`, which spends `compute`.
struct ComputeRatio {
  std::string family, than, law;
  double compute = 0;  // PFLOP/s-days
  Estimate ratio;
};

struct ScalingAnalysis {
  ScalingPoints source;
  std::vector<FamilyResult> families;  // in the order of the points
  // Two families each, at the ends and the middle of the compute that both have.
  std::vector<ComputeRatio> ratios;
};

ScalingAnalysis Analyze(const ScalingPoints& points, const FitOptions& options = {});

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SCALING_ANALYSIS_H_
