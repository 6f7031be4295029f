// Fitting a law to points.
#ifndef WYVERN_TRAINER_SCALING_ROBUST_FIT_H_
#define WYVERN_TRAINER_SCALING_ROBUST_FIT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "trainer/scaling/law.h"

namespace wyvern {

struct LawFit {
  Law law;
  double scale = 0;               // of the noise in log L: a robust standard deviation
  std::vector<double> residuals;  // log L - log L of the law, in the order of the points
  // Laws that the points leave possible; percentiles of any quantity of them are its interval.
  std::vector<Law> draws;
};

struct FitOptions {
  int num_draws = 1000;
  uint64_t seed = 1;
};

// Minimises the Huber loss of the residuals of log L (threshold 1.345 of their scale, which is
// their median magnitude at the solution), by Levenberg-Marquardt from many starts.
//
// The draws are a parametric bootstrap: normal noise of the fit's scale is added to the fitted law
// and the law is fitted again. Without a floor they are a bootstrap-t: the error of that refit, in
// units of its own scale, is taken from the fit; their percentiles are then exact at any number of
// points, which resampling a handful of points is far from. With a floor they are refits to noise
// whose scale is spread as that of refits is.
//
// Errors: too few points (one more than parameters at least), a variable that is not known
// everywhere or hardly varies, parameters and tokens that vary in proportion, no curve near them.
absl::StatusOr<LawFit> FitLaw(absl::Span<const ScalingPoint> points, const LawForm& form,
                              const FitOptions& options = {});

struct Interval {
  double low = 0, high = 0;
};
// The central 95% of the values. Infinities are values too; NaN is left out, and without any other
// value nothing is excluded.
Interval CentralInterval(std::vector<double> values);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SCALING_ROBUST_FIT_H_
