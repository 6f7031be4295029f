// A sweep as a Slurm array: one task a run.
#ifndef WYVERN_TRAINER_SWEEP_SLURM_H_
#define WYVERN_TRAINER_SWEEP_SLURM_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/sweep/plan.h"
#include "trainer/sweep/run_state.h"

namespace wyvern {

// The sbatch script for the runs that are neither finished nor running. Each task trains one run in
// its folder, resumes from its last checkpoint when it is requeued, and leaves its exit code there.
// `binary` is the program, `folder` where paths begin. Error: run.device left to the machine, which
// would be the one that submits; nothing left to run.
absl::StatusOr<std::string> SlurmScript(const SweepPlan& plan, const std::vector<RunState>& states,
                                        const std::string& binary, const std::string& folder);

// Writes DIR/slurm.sh, hands it to sbatch and keeps the job's number in DIR/slurm_job; returns a
// line that names it. Errors: the array before is still in the queue; no sbatch, or one that
// refuses.
absl::StatusOr<std::string> SubmitSlurm(const SweepPlan& plan, const std::string& script);

// `text` as one word of a shell.
std::string ShellQuote(const std::string& text);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SWEEP_SLURM_H_
