// Times whole training steps of a configuration and says where the time goes.
#ifndef WYVERN_TRAINER_BENCH_STEP_BENCH_H_
#define WYVERN_TRAINER_BENCH_STEP_BENCH_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/comm/world.h"
#include "trainer/bench/device_rates.h"
#include "trainer/bench/op_timer.h"
#include "trainer/config/run_config.h"

namespace wyvern {

struct StepBenchOptions {
  int64_t sequences = 0;      // of a micro batch; 0: train.micro_batch
  int64_t seq_len = 0;        // 0: data.seq_len
  int64_t micro_batches = 1;  // of a step
  int64_t warmup = 3;         // steps before the measured ones
  int64_t steps = 10;         // measured ones
};

// The spans of one class in one pass; figures of one step.
struct ClassTime {
  std::string name;
  Pass pass = Pass::kForward;
  double num_ranges = 0, ms = 0;
  double flops = 0, bytes = 0;  // necessary ones
  double bound_ms = 0;          // what each range takes at the device's rates, added up
};

struct StepBench {
  std::string model, precision;
  StepBenchOptions options;  // resolved
  int64_t recompute_blocks = 0;
  int64_t num_parameters = 0, num_updates = 0;
  std::vector<double> step_ms;    // of each measured step, on the host's clock, as in training
  double first_step_seconds = 0;  // from the start of the process to the end of the first step
  double flops = 0;               // necessary FLOPs of one step
  int64_t peak_bytes = 0;
  int64_t num_ranks = 1;
  int64_t num_readers = 1;  // ranks, or CP groups, with batches of their own
  std::string mesh;         // "replicate 2, shard 4 (zero 3)"; empty on one rank
  int64_t state_bytes = 0;  // of parameters, gradients and optimizer between steps, on this rank
  double first_loss = 0, last_loss = 0;
  DeviceRates rates;
  std::vector<ClassTime> classes;  // by class, then by pass

  double MedianMs() const;
  double TokensPerSecond() const;  // of all ranks
  // FLOPs per second over the data sheet's rate; those that each mixer needs,
  // recomputation not counted. 0 where there is no such rate.
  double Mfu() const;
  // The time of the median step beyond its spans: launches the device waited for, the host between
  // steps, work without a span, a lower clock of a card that is never idle.
  double OutsideMs() const;

  std::string Table() const;
  nlohmann::json Json() const;  // one flat object, `classes` a list
};

// Groups spans of `num_steps` steps; per step.
std::vector<ClassTime> SumByClass(const std::vector<TimedRange>& ranges, int64_t num_steps,
                                  const DeviceRates& rates);
// One object for each.
nlohmann::json ClassesJson(const std::vector<ClassTime>& classes);

// Trains the configuration's model from its initial values on random tokens, every sequence one
// document; no file is read or written. On several ranks each, or each CP group, has
// `micro_batches` of its own, whatever train.batch_tokens says, and all of them call this. Error:
// the device is absent, a step was not finite.
absl::StatusOr<StepBench> BenchStep(const RunConfig& config, const StepBenchOptions& options,
                                    World* world);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_BENCH_STEP_BENCH_H_
