// The ranks of a run tell each other once a step what is new, in one exchange that goes on while
// they compute.
#ifndef WYVERN_TRAINER_PARALLEL_STEP_AGREEMENT_H_
#define WYVERN_TRAINER_PARALLEL_STEP_AGREEMENT_H_

#include <cstdint>
#include <memory>

#include "kernels/comm/world.h"
#include "trainer/parallel/wait_share.h"

namespace wyvern {

// As a rank starts the exchange of a step; of all ranks, once that is done.
struct StepNews {
  bool data_failed = false;  // the next step's batches cannot be had; then: on some rank
  int64_t next_targets = 0;  // counted targets in them; then: on all ranks together
  bool log_failed = false;   // the line of the step before was not written
  int stop_signal = 0;       // has come; 0: none
  bool saver_busy = false;   // the checkpoint in flight is still being written
  WaitShares waits;          // from the exchange before to this one; `own` is this rank's
};

// The ranks' exchanges. Step n starts its own before its forward and finishes it behind its
// backward, so the only wait is hidden. What comes too late for it travels in that of step n + 1.
class StepAgreement {
 public:
  // `world` outlives it. Ranks whose number in a row is `context` count the same targets.
  StepAgreement(World* world, int64_t context);

  // Starts the exchange of a step. All ranks call it, and Finish behind it.
  void Start(const StepNews& own);
  // Moves it on without waiting.
  void Progress() { reduction_->Progress(); }
  // Waits for the news of all ranks.
  const StepNews& Finish();

  // The news of all ranks, from the exchange that was finished last.
  const StepNews& news() const { return news_; }
  // Counted targets of the step that has started its exchange, as the one before told.
  int64_t num_targets() const { return num_targets_; }
  int64_t num_exchanges() const { return reduction_->num_finished(); }

 private:
  World* const world_;
  const int64_t context_;
  const std::unique_ptr<BackgroundReduction> reduction_;
  WaitMeter meter_;
  double own_share_ = 0;
  StepNews news_;
  int64_t num_targets_ = 0;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PARALLEL_STEP_AGREEMENT_H_
