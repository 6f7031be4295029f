// Power laws of the loss: L = E + sum_i a_i x_i^-b_i, with or without the floor E, over compute C,
// parameters N or tokens D alone, or over N and D together (arXiv 2001.08361, 2203.15556).
#ifndef WYVERN_TRAINER_SCALING_LAW_H_
#define WYVERN_TRAINER_SCALING_LAW_H_

#include <array>
#include <string>
#include <vector>

namespace wyvern {

// FLOPs of one PFLOP/s-day, the unit of compute in laws and tables.
constexpr double kPflopsDay = 1e15 * 86400;

enum class ScalingVariable { kCompute, kParameters, kTokens };
constexpr int kNumScalingVariables = 3;

struct ScalingPoint {
  std::string name, family;
  // Compute in PFLOP/s-days, parameters, tokens; 0: not known.
  std::array<double, kNumScalingVariables> x = {0, 0, 0};
  double loss = 0;  // nats per token
};

struct LawForm {
  bool floor = false;
  std::vector<ScalingVariable> variables;  // one, or parameters and tokens

  size_t NumParameters() const { return (floor ? 1 : 0) + 2 * variables.size(); }
  std::string Name() const;     // "compute", "compute_floor", "parameters_tokens_floor"
  std::string Formula() const;  // "L = E + a C^-b"
};

struct LawTerm {
  double log_a = 0;  // natural logarithm
  double b = 0;
};

struct Law {
  LawForm form;
  double e = 0;  // 0 without a floor
  std::vector<LawTerm> terms;

  double Loss(const ScalingPoint& point) const;
  // With one variable.
  double Loss(double x) const;
  // The x at which the loss is this; infinity where the law never reaches it. With one variable.
  double Inverse(double loss) const;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SCALING_LAW_H_
