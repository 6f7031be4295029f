// What a configuration will cost, before anything is allocated.
#ifndef WYVERN_TRAINER_PLAN_MODEL_COST_H_
#define WYVERN_TRAINER_PLAN_MODEL_COST_H_

#include <cstdint>
#include <string>

#include "trainer/config/run_config.h"

namespace wyvern {

// Floating-point operations of the products of one token's forward, in sequences of seq_len: two
// per weight, and each mixer's own core (the delta rule's chunkwise products, attention's visible
// pairs). Training takes three times as many; recomputation does not count.
double ForwardFlopsPerToken(const ModelConfig& config, int64_t seq_len);

// Parameters, FLOPs per token and, where the run fits so many ranks, memory
// (trainer/plan/simulate.h) as lines of text, each beginning with `prefix`.
std::string DescribeCost(const RunConfig& config, const std::string& prefix, int num_ranks = 1);

// "1.5 GB", "24.0 MB"; powers of ten.
std::string BytesText(double num_bytes);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PLAN_MODEL_COST_H_
