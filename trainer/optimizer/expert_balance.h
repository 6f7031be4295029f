// Balance of the experts' loads without a loss (arXiv 2408.15664): after each update the routers'
// correction biases move against the loads of its batch.
#ifndef WYVERN_TRAINER_OPTIMIZER_EXPERT_BALANCE_H_
#define WYVERN_TRAINER_OPTIMIZER_EXPERT_BALANCE_H_

#include <cstdint>
#include <vector>

#include "layers/model.h"

namespace wyvern {

// The load of one layer's experts in one step.
struct ExpertLoad {
  std::vector<int64_t> rows;  // of each expert: tokens that chose it

  double MaxOverMean() const;  // 1: balanced; 0 without rows
  // The entropy of the shares of the rows over that of equal shares. 1: balanced; 0: all on one
  // expert, or no rows.
  double Entropy() const;
};

// The loads of all layers with experts since Model::ZeroGradients. Empty without experts. Waits for
// the device.
std::vector<ExpertLoad> ExpertLoads(const Model& model);

// b += rate (sign(e) - mean sign(e)), e = mean load - load, for the bias b of each expert in each
// layer. `loads` are the same on all ranks of a run, and so is what becomes of the biases.
void UpdateBalance(Model* model, const std::vector<ExpertLoad>& loads, double rate);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_OPTIMIZER_EXPERT_BALANCE_H_
