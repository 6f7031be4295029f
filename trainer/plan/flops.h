#ifndef WYVERN_TRAINER_PLAN_FLOPS_H_
#define WYVERN_TRAINER_PLAN_FLOPS_H_

#include <cstdint>

#include "layers/model_config.h"

namespace wyvern {

// FLOPs of the matmuls of one token in a document of `seq_len` tokens, as the
// ops count them (EstimateCost) when the model runs on the meta device.
struct TokenFlops {
  double forward = 0;
  double training = 0;  // forward and backward; recomputation does not count
};

// `config` is valid and seq_len at least 1. Results are remembered, as a sweep asks for the same
// model many times. One thread at a time may call it.
TokenFlops FlopsPerToken(const ModelConfig& config, int64_t seq_len);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PLAN_FLOPS_H_
