// The stages of a run: parts that follow one another, each with its own rate, lengths and batches.
#ifndef WYVERN_TRAINER_CONFIG_STAGES_H_
#define WYVERN_TRAINER_CONFIG_STAGES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/runtime/checked_math.h"
#include "trainer/config/run_config.h"

namespace wyvern {

// A stage with every value that holds in it.
struct Stage {
  std::string name;        // empty: the only one, of a run without `stages`
  int64_t index = 0;       // from 0
  int64_t first_step = 0;  // steps before it
  int64_t num_steps = 0;
  int64_t first_token = 0;  // tokens consumed before it
  int64_t seq_len = 0, batch_tokens = 0, micro_batch = 0;
  double balance_rate = 0;
  ScheduleSection schedule;

  // Both stay at the largest number where a configuration that is not valid asks for more.
  int64_t end_step() const { return SaturatedSum(first_step, num_steps); }
  int64_t end_token() const {
    return SaturatedSum(first_token, SaturatedProduct(num_steps, batch_tokens));
  }
  int64_t WarmupSteps() const;
  int64_t DecaySteps() const;
  // The number over all ranks together.
  int64_t MicroBatchesPerStep() const { return batch_tokens / (micro_batch * seq_len); }
  // The sample of its length (data/sampling/sampler.h) at which it begins: as many whole ones as
  // hold the tokens seen before it. Samples of each length have an order of their own; it goes
  // on from there, so that epochs continue, and what a run reads depends on its stages up to there
  // alone.
  int64_t FirstSample() const { return (first_token + seq_len - 1) / seq_len; }
  // The sample at which step `step` of the run, one of this stage, begins.
  int64_t SampleAt(int64_t step) const {
    return FirstSample() + (step - first_step) * (batch_tokens / seq_len);
  }
};

// In order; one at least. Without config.stages it is the whole run.
std::vector<Stage> StagesOf(const RunConfig& config);

// The stage of step `step`, counted from 0; the last one for those beyond the end.
const Stage& StageOfStep(const std::vector<Stage>& stages, int64_t step);

// Tokens of the steps before step `step`.
int64_t TokensBefore(const std::vector<Stage>& stages, int64_t step);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CONFIG_STAGES_H_
