#include "trainer/scaling/robust_fit.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"
#include "trainer/scaling/levenberg_marquardt.h"

namespace wyvern {
namespace {

constexpr double kHuber = 1.345;        // 95% of least squares' efficiency under normal noise
constexpr double kMadToSigma = 1.4826;  // of a normal distribution
constexpr double kLeastScale = 1e-13;   // of log L: below it, the points lie on the law
constexpr int kScaleIterations = 30;
constexpr double kLeastSpread = 0.05;          // of log x over the points
constexpr double kLargestCorrelation = 0.995;  // of log N and log D
// Below this share of the least loss, a floor is not to be seen.
constexpr double kNoFloor = 1e-6;
// Shares of the least loss from which floors are sought.
const std::vector<double> kFloors = {0.02, 0.3, 0.6, 0.8, 0.9, 0.97}, kRefitFloors = {0.3, 0.8};

// A law over the points at hand. The parameters theta are log E (with a floor), then log a and b
// of each term, with x in units of its geometric mean, in which they hardly depend on each other.
class Problem {
 public:
  Problem(absl::Span<const ScalingPoint> points, const LawForm& form) : form_(form) {
    for (const ScalingPoint& point : points) log_loss.push_back(std::log(point.loss));
    for (const ScalingVariable v : form.variables) {
      std::vector<double> column;
      double mean = 0;
      for (const ScalingPoint& point : points) {
        column.push_back(std::log(point.x[static_cast<size_t>(v)]));
        mean += column.back() / static_cast<double>(points.size());
      }
      for (double& x : column) x -= mean;
      centered_.push_back(std::move(column));
      log_center_.push_back(mean);
    }
  }

  size_t num_points() const { return log_loss.size(); }
  size_t num_parameters() const { return form_.NumParameters(); }

  void Evaluate(const std::vector<double>& theta, std::vector<double>* residuals,
                std::vector<double>* jacobian) const {
    const size_t n = num_points(), p = num_parameters(), first = form_.floor ? 1 : 0;
    residuals->resize(n);
    jacobian->resize(n * p);
    std::vector<double> logs(1 + form_.variables.size());
    for (size_t i = 0; i < n; ++i) {
      logs[0] = form_.floor ? theta[0] : -std::numeric_limits<double>::infinity();
      double largest = logs[0];
      for (size_t k = 0; k < centered_.size(); ++k) {
        logs[k + 1] = theta[first + 2 * k] - theta[first + 2 * k + 1] * centered_[k][i];
        largest = std::max(largest, logs[k + 1]);
      }
      double sum = 0;
      for (const double value : logs) sum += std::exp(value - largest);
      const double log_sum = largest + std::log(sum);
      (*residuals)[i] = log_loss[i] - log_sum;
      double* row = &(*jacobian)[i * p];
      if (form_.floor) row[0] = -std::exp(logs[0] - log_sum);
      for (size_t k = 0; k < centered_.size(); ++k) {
        const double share = std::exp(logs[k + 1] - log_sum);
        row[first + 2 * k] = -share;
        row[first + 2 * k + 1] = share * centered_[k][i];
      }
    }
  }

  // Lines through log (L - E) for several shares of E; with two terms, each has half of the rest at
  // the centre, with several slopes.
  std::vector<std::vector<double>> Starts(const std::vector<double>& floor_shares) const {
    const double log_least = *std::min_element(log_loss.begin(), log_loss.end());
    // log (L - E), by logarithms alone: a loss may be near the end of a double's range.
    const auto above = [&](double y, double share) {
      return y + std::log1p(-share * std::exp(log_least - y));
    };
    std::vector<std::vector<double>> starts;
    const std::vector<double> none = {0};
    for (const double share : form_.floor ? floor_shares : none) {
      double mean = 0, slope = 0, spread = 0;
      const double n = static_cast<double>(num_points());
      for (const double y : log_loss) mean += above(y, share) / n;
      for (size_t i = 0; i < num_points(); ++i) {
        slope += centered_[0][i] * (above(log_loss[i], share) - mean);
        spread += centered_[0][i] * centered_[0][i];
      }
      std::vector<double> start;
      if (form_.floor) start.push_back(std::log(share) + log_least);
      if (form_.variables.size() == 1) {
        start.insert(start.end(), {mean, -slope / spread});
        starts.push_back(start);
        continue;
      }
      for (const double alpha : {0.1, 0.3, 0.6}) {
        for (const double beta : {0.1, 0.3, 0.6}) {
          std::vector<double> both = start;
          both.insert(both.end(), {mean - std::log(2), alpha, mean - std::log(2), beta});
          starts.push_back(both);
        }
      }
    }
    return starts;
  }

  // `log_least` of the losses that theta was fitted to.
  Law ToLaw(const std::vector<double>& theta, double log_least) const {
    Law law{.form = form_};
    const size_t first = form_.floor ? 1 : 0;
    if (form_.floor && theta[0] >= std::log(kNoFloor) + log_least) law.e = std::exp(theta[0]);
    for (size_t k = 0; k < log_center_.size(); ++k) {
      const double b = theta[first + 2 * k + 1];
      law.terms.push_back({theta[first + 2 * k] + b * log_center_[k], b});
    }
    return law;
  }

  std::vector<double> log_loss;

 private:
  const LawForm form_;
  std::vector<std::vector<double>> centered_;  // [variable][point], log x minus its mean
  std::vector<double> log_center_;
};

struct Solution {
  std::vector<double> theta, residuals;
  double scale = 0;  // robust standard deviation
};

double Median(std::vector<double> values) {
  const size_t half = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + half, values.end());
  if (values.size() % 2 == 1) return values[half];
  return (values[half] + *std::max_element(values.begin(), values.begin() + half)) / 2;
}

// theta is empty where the loss is a number at none of the starts.
Solution Solve(const Problem& problem, const std::vector<std::vector<double>>& starts) {
  const double n = static_cast<double>(problem.num_points());
  const double freedom = std::max(1.0, n - static_cast<double>(problem.num_parameters()));
  const ResidualFunction function =
      [&problem](const std::vector<double>& theta, std::vector<double>* residuals,
                 std::vector<double>* jacobian) { problem.Evaluate(theta, residuals, jacobian); };
  Solution best;
  double best_loss = std::numeric_limits<double>::infinity();
  std::vector<double> jacobian;
  for (std::vector<double> theta : starts) {
    // Least squares first; it knows no scale.
    const double loss = MinimizeHuber(function, std::numeric_limits<double>::infinity(), &theta);
    if (!(loss < best_loss)) continue;
    best_loss = loss;
    best.theta = std::move(theta);
  }
  if (best.theta.empty()) return best;
  double mad = 0;
  for (int i = 0; i < kScaleIterations; ++i) {
    problem.Evaluate(best.theta, &best.residuals, &jacobian);
    std::vector<double> sizes;
    for (const double r : best.residuals) sizes.push_back(std::abs(r));
    const double next = std::max(kLeastScale, kMadToSigma * Median(sizes) * std::sqrt(n / freedom));
    if (std::abs(next - mad) <= 1e-6 * next) break;
    mad = next;
    MinimizeHuber(function, kHuber * mad, &best.theta);
  }
  problem.Evaluate(best.theta, &best.residuals, &jacobian);
  // The standard deviation that the estimate's own variance goes with (Huber's formula).
  double squares = 0, inside = 0;
  for (const double r : best.residuals) {
    const double cut = std::min(std::abs(r), kHuber * mad);
    squares += cut * cut;
    inside += std::abs(r) <= kHuber * mad ? 1 : 0;
  }
  best.scale = std::max(kLeastScale, std::sqrt(squares / freedom) * n / std::max(1.0, inside));
  return best;
}

// Fits to the fitted law with new noise.
class Bootstrap {
 public:
  Bootstrap(const Problem& problem, const Solution& solution, uint64_t seed)
      : noisy_(problem), fitted_(problem.log_loss), random_(seed) {
    for (size_t i = 0; i < fitted_.size(); ++i) fitted_[i] -= solution.residuals[i];
  }

  Solution Refit(double scale, const std::vector<std::vector<double>>& starts) {
    for (size_t i = 0; i < fitted_.size(); ++i) {
      noisy_.log_loss[i] = fitted_[i] + scale * normal_(random_);
    }
    return Solve(noisy_, starts);
  }

 private:
  Problem noisy_;
  std::vector<double> fitted_;
  std::mt19937_64 random_;
  std::normal_distribution<double> normal_;
};

absl::Status CheckPoints(absl::Span<const ScalingPoint> points, const LawForm& form) {
  if (points.size() <= form.NumParameters()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "needs ", form.NumParameters() + 1, " points or more, there are ", points.size()));
  }
  std::vector<std::vector<double>> centered;
  for (const ScalingVariable v : form.variables) {
    const std::string name = LawForm{.variables = {v}}.Name();
    std::vector<double> column;
    for (const ScalingPoint& point : points) {
      const double x = point.x[static_cast<size_t>(v)];
      if (!(x > 0)) {
        return absl::FailedPreconditionError(absl::StrCat(name, ": not known of ", point.name));
      }
      column.push_back(std::log(x));
    }
    const auto [low, high] = std::minmax_element(column.begin(), column.end());
    if (*high - *low < kLeastSpread) {
      return absl::FailedPreconditionError(absl::StrCat(name, ": hardly varies over the points"));
    }
    double mean = 0;
    for (const double x : column) mean += x / static_cast<double>(column.size());
    for (double& x : column) x -= mean;
    centered.push_back(std::move(column));
  }
  if (centered.size() == 2) {
    double xy = 0, xx = 0, yy = 0;
    for (size_t i = 0; i < points.size(); ++i) {
      xy += centered[0][i] * centered[1][i];
      xx += centered[0][i] * centered[0][i];
      yy += centered[1][i] * centered[1][i];
    }
    if (std::abs(xy) > kLargestCorrelation * std::sqrt(xx * yy)) {
      return absl::FailedPreconditionError(
          "parameters and tokens vary in proportion over the points, so their terms cannot be told "
          "apart; vary the tokens per parameter");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LawFit> FitLaw(absl::Span<const ScalingPoint> points, const LawForm& form,
                              const FitOptions& options) {
  RETURN_IF_ERROR(CheckPoints(points, form));
  Problem problem(points, form);
  const Solution solution = Solve(problem, problem.Starts(kFloors));
  if (solution.theta.empty()) {
    return absl::FailedPreconditionError("no curve of this form comes near the points");
  }
  const double log_least = *std::min_element(problem.log_loss.begin(), problem.log_loss.end());
  LawFit fit;
  fit.law = problem.ToLaw(solution.theta, log_least);
  fit.residuals = solution.residuals;
  fit.scale = solution.scale;
  Bootstrap bootstrap(problem, solution, options.seed);
  for (int draw = 0; draw < options.num_draws; ++draw) {
    const Solution again = bootstrap.Refit(solution.scale, {solution.theta});
    if (again.theta.empty()) continue;
    const double ratio = solution.scale / again.scale;
    if (form.floor) {
      // The floor ends at 0 and bends everything beside it, so these are refits, not mirrored ones;
      // their noise is as much larger or smaller than the fit's as the fit's may be mistaken.
      std::vector<std::vector<double>> starts = problem.Starts(kRefitFloors);
      starts.push_back(solution.theta);
      const Solution refit = bootstrap.Refit(solution.scale * ratio, starts);
      if (!refit.theta.empty()) fit.draws.push_back(problem.ToLaw(refit.theta, log_least));
    } else {
      std::vector<double> theta = solution.theta;
      for (size_t k = 0; k < theta.size(); ++k) theta[k] -= ratio * (again.theta[k] - theta[k]);
      fit.draws.push_back(problem.ToLaw(theta, log_least));
    }
  }
  return fit;
}

Interval CentralInterval(std::vector<double> values) {
  values.erase(std::remove_if(values.begin(), values.end(), [](double v) { return std::isnan(v); }),
               values.end());
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (values.empty()) return {-kInfinity, kInfinity};
  std::sort(values.begin(), values.end());
  const auto quantile = [&values](double q) {
    const double at = q * static_cast<double>(values.size() - 1);
    const size_t i = static_cast<size_t>(at);
    const double rest = at - static_cast<double>(i);
    if (rest == 0 || i + 1 == values.size() || !std::isfinite(values[i])) return values[i];
    if (!std::isfinite(values[i + 1])) return values[i + 1];  // infinity less itself is no number
    return values[i] + rest * (values[i + 1] - values[i]);
  };
  return {quantile(0.025), quantile(0.975)};
}

}  // namespace wyvern
