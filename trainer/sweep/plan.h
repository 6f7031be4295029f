// The runs of a sweep, each with its configuration.
#ifndef WYVERN_TRAINER_SWEEP_PLAN_H_
#define WYVERN_TRAINER_SWEEP_PLAN_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/config/stages.h"
#include "trainer/sweep/sweep_file.h"

namespace wyvern {

struct SweepRun {
  std::string name;
  RunConfig config;  // resolved; run.name and run.dir are this run's
  std::vector<Stage> stages;
  // The sweep's values for this run: labels of axes, variables, configuration keys.
  std::map<std::string, SweepValue> values;
  int64_t parameters = 0;
  double flops_per_token = 0;  // of training

  std::string Dir() const { return config.run.dir; }
  std::string LogPath() const { return config.run.dir + "/log.txt"; }
  int64_t Steps() const { return stages.back().end_step(); }
  double Tokens() const { return static_cast<double>(stages.back().end_token()); }
  double Flops() const { return flops_per_token * Tokens(); }
};

struct SweepPlan {
  SweepFile file;
  std::vector<SweepRun> runs;  // the last axis runs fastest
  bool device_given = false;   // run.device is not auto
};

// Reads a sweep and resolves its runs. The error lists every fault of the file, of expressions and
// of each run's configuration, with file and line.
//
// Expressions may name: variables, axes (the point's label), configuration keys (what this run
// gives them, else the base, else the default), and
//   parameters       of the run's model
//   flops_per_token  of training in sequences of data.seq_len
absl::StatusOr<SweepPlan> LoadSweep(const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SWEEP_PLAN_H_
