#ifndef WYVERN_TRAINER_INIT_MODEL_DIFFERENCES_H_
#define WYVERN_TRAINER_INIT_MODEL_DIFFERENCES_H_

#include <string>
#include <vector>

#include "layers/model_config.h"

namespace wyvern {

// The differences of two models beyond the shapes of their tensors: "norm_eps: 1e-06 there, 1e-05
// here", "layers 2 to 4, rope_theta: ...". Mixers are compared layer by layer, whatever their
// names. Keys that bear on initial values alone are left out.
std::vector<std::string> ModelDifferences(const ModelConfig& there, const ModelConfig& here);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_INIT_MODEL_DIFFERENCES_H_
