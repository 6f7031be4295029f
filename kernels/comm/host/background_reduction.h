// A reduction over all ranks of a run that proceeds while the ranks compute.
#ifndef WYVERN_KERNELS_COMM_HOST_BACKGROUND_REDUCTION_H_
#define WYVERN_KERNELS_COMM_HOST_BACKGROUND_REDUCTION_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/comm/communicator.h"
#include "kernels/comm/host/transport.h"

namespace wyvern {

// Reduces a few integers in ceil(log2 N) rounds for any number N of ranks. A rank sends one message
// a round, of each number twice at most.
//
// A rank knows the reduction over m ranks and over m + 1, itself and those behind it. A message
// from the rank behind these has the same of that one, so that m becomes 2m or 2m + 1. The bits of
// N - 1 say which, and in the end m + 1 is N. (A variant of the dissemination of Bruck et al.,
// 1997, for sums.)
class BackgroundReduction {
 public:
  // `ops`: of each number. All ranks of `transport` have the same; null: one rank alone. It
  // outlives this, and has no other use of its Post and Take.
  BackgroundReduction(Transport* transport, std::vector<ReduceOp> ops);

  // Begins a reduction; the one before is finished.
  void Start(const std::vector<int64_t>& own);
  // Goes as far as it can without waiting for a rank. To be called now and then.
  void Progress() { Advance(/*wait=*/false); }
  // Waits for the result.
  const std::vector<int64_t>& Finish();

  int64_t num_finished() const { return num_finished_; }

 private:
  struct Round {
    bool odd;          // m becomes 2m + 1
    int distance;      // to the rank from which this one receives
    size_t num_parts;  // of a message: over m + 1 ranks, and over m where that is needed
  };
  Round NextRound() const;
  void PostRound();
  void Advance(bool wait);
  std::vector<int64_t> Reduced(std::vector<int64_t> own, const int64_t* more) const;

  Transport* const transport_;
  const std::vector<ReduceOp> ops_;
  bool running_ = false;
  int rounds_left_ = 0;
  int num_ranks_ = 0;                  // m
  std::vector<int64_t> fewer_, more_;  // over m ranks, and over m + 1
  int64_t num_finished_ = 0;
};

}  // namespace wyvern

#endif  // WYVERN_KERNELS_COMM_HOST_BACKGROUND_REDUCTION_H_
