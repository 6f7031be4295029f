// Minimises a Huber loss of residuals that a handful of parameters determine.
#ifndef WYVERN_TRAINER_SCALING_LEVENBERG_MARQUARDT_H_
#define WYVERN_TRAINER_SCALING_LEVENBERG_MARQUARDT_H_

#include <functional>
#include <vector>

namespace wyvern {

// Fills `residuals` [n] and, row by row, `jacobian` [n x p], the derivatives of the residuals.
using ResidualFunction =
    std::function<void(const std::vector<double>& parameters, std::vector<double>* residuals,
                       std::vector<double>* jacobian)>;

// The loss of one residual: r^2 / 2 up to the threshold, linear beyond.
double HuberLoss(double residual, double threshold);

// Goes downhill from `parameters` until the loss falls no further; returns the loss.
double MinimizeHuber(const ResidualFunction& function, double threshold,
                     std::vector<double>* parameters);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SCALING_LEVENBERG_MARQUARDT_H_
