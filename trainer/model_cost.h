// What a configuration will cost, before anything is allocated.
#ifndef WYVERN_TRAINER_MODEL_COST_H_
#define WYVERN_TRAINER_MODEL_COST_H_

#include <cstdint>
#include <string>

#include "trainer/run_config.h"

namespace wyvern {

// Floating-point operations of the products of one token's forward, in sequences of seq_len: two
// per weight, and each mixer's own core (the delta rule's chunkwise products, attention's visible
// pairs). Training takes three times as many; recomputation does not count.
double ForwardFlopsPerToken(const ModelConfig& config, int64_t seq_len);

struct MemoryEstimate {
  int64_t parameter_bytes = 0;  // values and masters
  int64_t gradient_bytes = 0;
  int64_t optimizer_bytes = 0;
  int64_t activation_bytes = 0;  // kept for backward at the largest moment; an estimate
  int64_t Total() const {
    return parameter_bytes + gradient_bytes + optimizer_bytes + activation_bytes;
  }
};
// Of one rank of a training run on its device, between steps but for the activations. `shards`: the
// ranks that divide a model among themselves.
MemoryEstimate EstimateMemory(const RunConfig& config, int64_t shards = 1);

// Parameters, FLOPs per token and memory as lines of text, each beginning with `prefix`.
std::string DescribeCost(const RunConfig& config, const std::string& prefix, int64_t shards = 1);

// "1.5 GB", "24.0 MB"; powers of ten.
std::string BytesText(double num_bytes);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_MODEL_COST_H_
