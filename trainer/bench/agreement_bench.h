// Times what a step's control data costs among the ranks of a run.
#ifndef WYVERN_TRAINER_BENCH_AGREEMENT_BENCH_H_
#define WYVERN_TRAINER_BENCH_AGREEMENT_BENCH_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "kernels/comm/world.h"

namespace wyvern {

// Seconds: medians of the slowest rank's times. Nothing else runs beside.
struct AgreementBench {
  int num_ranks = 1;
  bool tcp = false;                 // over TCP; else over MPI, or one rank
  double agreement_s = 0;           // one StepAgreement, from its start to its end
  double sum_s = 0;                 // one sum of a number, for which all ranks wait
  double ring_s = 0;                // one number of each rank goes around a ring
  std::optional<double> meeting_s;  // over TCP: all ranks meet once more
  int64_t open_files = 0;           // of the rank that has most

  nlohmann::json Json() const;
  std::string ToString() const;  // one line
};

// All ranks call it and get the same. `repeats`: of each time. Errors: those of the meeting.
absl::StatusOr<AgreementBench> BenchAgreement(World* world, int repeats);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_BENCH_AGREEMENT_BENCH_H_
