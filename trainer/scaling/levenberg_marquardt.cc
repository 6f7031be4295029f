#include "trainer/scaling/levenberg_marquardt.h"

#include <algorithm>
#include <cmath>

namespace wyvern {
namespace {

constexpr int kMaxIterations = 200;
constexpr double kMaxDamping = 1e12;
constexpr double kTolerance = 1e-13;  // relative, of the loss

double TotalLoss(const std::vector<double>& residuals, double threshold) {
  double loss = 0;
  for (const double r : residuals) loss += HuberLoss(r, threshold);
  return loss;
}

// Solves the symmetric positive definite A x = y, both overwritten; false when A is not.
bool CholeskySolve(std::vector<double>* a, std::vector<double>* y) {
  const size_t p = y->size();
  auto& A = *a;
  for (size_t j = 0; j < p; ++j) {
    for (size_t i = j; i < p; ++i) {
      double sum = A[i * p + j];
      for (size_t k = 0; k < j; ++k) sum -= A[i * p + k] * A[j * p + k];
      if (i == j) {
        if (!(sum > 0)) return false;
        A[i * p + i] = std::sqrt(sum);
      } else {
        A[i * p + j] = sum / A[j * p + j];
      }
    }
  }
  for (size_t i = 0; i < p; ++i) {
    for (size_t k = 0; k < i; ++k) (*y)[i] -= A[i * p + k] * (*y)[k];
    (*y)[i] /= A[i * p + i];
  }
  for (size_t i = p; i-- > 0;) {
    for (size_t k = i + 1; k < p; ++k) (*y)[i] -= A[k * p + i] * (*y)[k];
    (*y)[i] /= A[i * p + i];
  }
  return true;
}

}  // namespace

double HuberLoss(double residual, double threshold) {
  const double size = std::abs(residual);
  return size <= threshold ? size * size / 2 : threshold * (size - threshold / 2);
}

double MinimizeHuber(const ResidualFunction& function, double threshold,
                     std::vector<double>* parameters) {
  const size_t p = parameters->size();
  std::vector<double> residuals, jacobian, next_residuals, next_jacobian;
  function(*parameters, &residuals, &jacobian);
  double loss = TotalLoss(residuals, threshold), damping = 1e-3;
  for (int iteration = 0; iteration < kMaxIterations && damping < kMaxDamping; ++iteration) {
    std::vector<double> normal(p * p, 0), step(p, 0);
    for (size_t i = 0; i < residuals.size(); ++i) {
      const double size = std::abs(residuals[i]);
      const double weight = size <= threshold ? 1 : threshold / size;
      const double* row = &jacobian[i * p];
      for (size_t j = 0; j < p; ++j) {
        step[j] -= weight * row[j] * residuals[i];
        for (size_t k = 0; k <= j; ++k) normal[j * p + k] += weight * row[j] * row[k];
      }
    }
    for (size_t j = 0; j < p; ++j) normal[j * p + j] *= 1 + damping;
    if (!CholeskySolve(&normal, &step)) {
      damping *= 10;
      continue;
    }
    std::vector<double> next = *parameters;
    for (size_t j = 0; j < p; ++j) next[j] += step[j];
    function(next, &next_residuals, &next_jacobian);
    const double next_loss = TotalLoss(next_residuals, threshold);
    if (!(next_loss < loss)) {  // a loss that is not finite is no progress either
      damping *= 10;
      continue;
    }
    const bool settled = loss - next_loss <= kTolerance * loss;
    *parameters = std::move(next);
    residuals.swap(next_residuals);
    jacobian.swap(next_jacobian);
    loss = next_loss;
    if (settled) break;
    damping = std::max(damping / 10, 1e-12);
  }
  return loss;
}

}  // namespace wyvern
