#ifndef WYVERN_TRAINER_OPTIMIZER_SCHEDULE_H_
#define WYVERN_TRAINER_OPTIMIZER_SCHEDULE_H_

#include <cstdint>

#include "trainer/config/stages.h"

namespace wyvern {

// The learning rate of a stage as a function of the number of updates made in it so far. With W
// warm-up steps, N steps in all and a decay over the last D:
//   update < W           initial + (peak - initial) update / W, so that update W runs at the peak
//   constant             peak from there on
//   linear, cosine       from peak at update W to exactly final at update N - 1
//   wsd                  peak, then over the last D updates down to exactly final at update N - 1;
//                        with p = (update - (N - D) + 1) / D the fall is p (linear),
//                        (1 - cos(pi p)) / 2 (cosine) or sqrt(p) (1-sqrt, arXiv 2405.18392)
class Schedule {
 public:
  explicit Schedule(const Stage& stage);
  Schedule(const ScheduleSection& section, int64_t warmup_steps, int64_t decay_steps,
           int64_t total_steps);

  double RateAt(int64_t update) const;

 private:
  ScheduleSection section_;
  int64_t warmup_steps_, decay_steps_, total_steps_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_OPTIMIZER_SCHEDULE_H_
