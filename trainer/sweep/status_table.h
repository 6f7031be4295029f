// Tables about a sweep's runs, as text.
#ifndef WYVERN_TRAINER_SWEEP_STATUS_TABLE_H_
#define WYVERN_TRAINER_SWEEP_STATUS_TABLE_H_

#include <string>
#include <vector>

#include "trainer/sweep/plan.h"
#include "trainer/sweep/run_state.h"

namespace wyvern {

// How fast runs are taken to be, and where that comes from.
struct SweepRate {
  double flops = 0;  // per second, of one run; 0: not known
  std::string source;
};

// `given` when above 0; otherwise the median of what the runs of this sweep have reached; otherwise
// 40% of the rate of large matmuls on this machine (data sheet or measured). None of the three
// when the runs need a GPU that is not here.
SweepRate ChooseRate(const SweepPlan& plan, const std::vector<RunState>& states, double given);

// One line a run: parameters, tokens, FLOPs, hours at the rate, stage; then the sums.
std::string PlanTable(const SweepPlan& plan, const std::vector<RunState>& states,
                      const SweepRate& rate);

// One line a run: stage, steps, losses, speed, time left. With more than max_rows runs, those that
// run or failed, and how many others there are.
std::vector<std::string> StatusLines(const SweepPlan& plan, const std::vector<RunState>& states,
                                     size_t max_rows);

// "3 finished, 1 running, 4 waiting".
std::string CountText(const std::vector<RunState>& states);

// "train-small: exit code 1: last line of its log\n  log: runs/x/train-small/log.txt" for every
// failed run; empty when there is none.
std::string FailureText(const SweepPlan& plan, const std::vector<RunState>& states);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SWEEP_STATUS_TABLE_H_
