#include "trainer/verify/check_resume.h"

#include <sys/wait.h>

#include <cerrno>
#include <filesystem>
#include <map>

#include "absl/strings/str_cat.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/config/load.h"
#include "trainer/report/run_metrics.h"
#include "trainer/run/self_process.h"
#include "trainer/verify/verified_run.h"

namespace wyvern {
namespace {

// Trains the run to its end; `resume` as of `wyvern train`.
absl::Status Train(const RunConfig& run, const std::string& resume) {
  const std::string config = run.run.dir + ".yaml", log = run.run.dir + ".log";
  RETURN_IF_ERROR(WriteFileAtomically(config, ToYaml(run)));
  ASSIGN_OR_RETURN(const pid_t pid,
                   StartSelf({"train", config, "--resume", resume}, EnvironmentOfOne(), log));
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return ErrnoStatus(errno, "cannot wait for", "wyvern train");
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  constexpr size_t kShown = 2000;
  std::string said = ReadFile(log).value_or("");
  if (said.size() > kShown) said = "..." + said.substr(said.size() - kShown);
  return absl::InternalError(
      absl::StrCat("the run from ", resume == "none" ? "its initial weights" : resume,
                   WIFEXITED(status) ? absl::StrCat(" ended with ", WEXITSTATUS(status))
                                     : absl::StrCat(" was ended by signal ", WTERMSIG(status)),
                   "; it said:\n", said));
}

// The losses of steps behind `after`, as the run wrote them.
absl::StatusOr<std::map<int64_t, double>> Losses(const std::string& dir, int64_t after) {
  ASSIGN_OR_RETURN(const std::string text, ReadFileOf(kMetricsFile, dir + "/metrics.jsonl"));
  std::map<int64_t, double> losses;
  for (const auto& [step, loss] : ReadRunMetrics(text).Column("loss")) {
    if (static_cast<int64_t>(step) > after) losses[static_cast<int64_t>(step)] = loss;
  }
  return losses;
}

absl::StatusOr<ResumeCheck> Compare(const RunConfig& whole, const RunConfig& resumed,
                                    int64_t from) {
  ResumeCheck check = {.from_step = from, .to_step = kVerifiedSteps};
  const std::string last = CheckpointFolder(whole.run.dir, kVerifiedSteps);
  ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(last));
  check.num_tensors = static_cast<int64_t>(manifest.tensors.size());
  ASSIGN_OR_RETURN(check.different,
                   DifferentTensors(last, CheckpointFolder(resumed.run.dir, kVerifiedSteps)));
  ASSIGN_OR_RETURN(const auto losses, Losses(whole.run.dir, from));
  ASSIGN_OR_RETURN(const auto again, Losses(resumed.run.dir, from));
  check.num_losses = static_cast<int64_t>(losses.size());
  for (int64_t step = from + 1; step <= kVerifiedSteps; ++step) {
    const auto first = losses.find(step), second = again.find(step);
    if (first == losses.end() || second == again.end() || first->second != second->second) {
      check.different.push_back(absl::StrCat("step ", step, " loss"));
    }
  }
  return check;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> DifferentTensors(const std::string& checkpoint,
                                                          const std::string& other) {
  // The checksums of each tensor's slices, which are the same ones in both.
  const auto checksums =
      [](const std::string& path) -> absl::StatusOr<std::map<std::string, std::string>> {
    ASSIGN_OR_RETURN(const Manifest manifest, ReadManifest(path));
    std::map<std::string, std::string> of;
    for (const ManifestTensor& tensor : manifest.tensors) {
      for (const ManifestSlice& slice : tensor.slices) {
        absl::StrAppend(&of[tensor.tensor.name], absl::Hex(slice.crc32), " ");
      }
    }
    return of;
  };
  ASSIGN_OR_RETURN(const auto first, checksums(checkpoint));
  ASSIGN_OR_RETURN(const auto second, checksums(other));
  std::vector<std::string> different;
  for (const auto& [name, sum] : first) {
    const auto found = second.find(name);
    if (found == second.end() || found->second != sum) different.push_back(name);
  }
  for (const auto& [name, sum] : second) {
    if (first.count(name) == 0) different.push_back(name);
  }
  return different;
}

absl::Status TrainVerifiedRun(const RunConfig& run) {
  Say(absl::StrCat("training ", kVerifiedSteps, " steps"));
  return Train(run, "none");
}

absl::StatusOr<std::vector<ResumeCheck>> CheckResume(const RunConfig& run) {
  std::vector<ResumeCheck> checks;
  for (int64_t from = kVerifiedEvery; from < kVerifiedSteps; from += kVerifiedEvery) {
    Say(absl::StrCat("training again from step ", from));
    RunConfig resumed = run;
    resumed.run.dir = absl::StrCat(run.run.dir, "_from_", from);
    resumed.checkpoint.every = 0;  // the last alone
    const std::string start = CheckpointFolder(run.run.dir, from);
    RETURN_IF_ERROR(Train(resumed, start));
    ASSIGN_OR_RETURN(checks.emplace_back(), Compare(run, resumed, from));
    // A disk holds a few checkpoints of a large model.
    std::filesystem::remove_all(resumed.run.dir);
    std::filesystem::remove_all(start);
  }
  return checks;
}

}  // namespace wyvern
