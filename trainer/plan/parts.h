#ifndef WYVERN_TRAINER_PLAN_PARTS_H_
#define WYVERN_TRAINER_PLAN_PARTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "layers/model_config.h"

namespace wyvern {

// A kind of module of a model: "kda mixers", "experts".
struct ModelPart {
  std::string name;
  int64_t parameters = 0;
  int64_t active_parameters = 0;  // that take part in the work on one token
  double product_flops = 0;       // of one token's forward, two per weight of a matmul
};

// In the order of the forward. What mixers do beyond matmuls with weights is not in it.
std::vector<ModelPart> PartsOf(const ModelConfig& config);

// A table of the parts, and of FLOPs per token in sequences of seq_len.
std::string DescribeParts(const ModelConfig& config, int64_t seq_len);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PLAN_PARTS_H_
