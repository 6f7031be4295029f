// The cost of a configuration, before anything is allocated.
#ifndef WYVERN_TRAINER_PLAN_COST_TEXT_H_
#define WYVERN_TRAINER_PLAN_COST_TEXT_H_

#include <string>

#include "trainer/config/run_config.h"

namespace wyvern {

// Parameters, FLOPs per token and, where the run fits so many ranks, memory
// (trainer/plan/simulate.h) as lines of text, each beginning with `prefix`.
std::string DescribeCost(const RunConfig& config, const std::string& prefix, int num_ranks = 1);

// "1.5 GB", "24.0 MB"; powers of ten.
std::string BytesText(double num_bytes);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PLAN_COST_TEXT_H_
