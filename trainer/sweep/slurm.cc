#include "trainer/sweep/slurm.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

// The output of a shell command; where it fails, that is the error's message.
absl::StatusOr<std::string> OutputOf(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return absl::UnavailableError("cannot start a shell");
  std::string output;
  std::array<char, 4096> buffer;
  for (size_t n = 0; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    output.append(buffer.data(), n);
  }
  const int status = pclose(pipe);
  absl::StripAsciiWhitespace(&output);
  if (status != 0) return absl::UnavailableError(output);
  return output;
}

// `text` as one word of an #SBATCH line. sbatch reads these lines itself, by other rules than a
// shell.
std::string SbatchQuote(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("/._-=:,%+@", c);
  });
  if (plain) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

// Errors: what no quoting brings through sbatch.
absl::Status CheckSbatchWord(const std::string& what, const std::string& text) {
  if (std::none_of(text.begin(), text.end(), [](char c) { return absl::ascii_iscntrl(c); })) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--slurm: ", what,
                   ": an sbatch script cannot hold a line break or another control character"));
}

}  // namespace

std::string ShellQuote(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '/' || c == '.' || c == '_' || c == '-' || c == '=';
  });
  return plain ? text : absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

absl::StatusOr<std::string> SlurmScript(const SweepPlan& plan, const std::vector<RunState>& states,
                                        const std::string& binary, const std::string& folder) {
  if (!plan.device_given) {
    return absl::FailedPreconditionError(
        "--slurm: run.device: auto would mean the device of this machine, not of the nodes; set "
        "run.device to cuda or cpu");
  }
  const SlurmSection& slurm = plan.file.slurm;
  std::string runs;
  int64_t count = 0;
  bool cuda = false;
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    if (states[i].stage == RunStage::kFinished || states[i].stage == RunStage::kRunning) continue;
    absl::StrAppend(&runs, "  ", ShellQuote(plan.runs[i].Dir()), "\n");
    cuda |= plan.runs[i].config.run.device == Device::kCuda;
    ++count;
  }
  if (count == 0) {
    return absl::FailedPreconditionError(absl::StrCat(plan.file.dir, ": no run is left to start"));
  }
  RETURN_IF_ERROR(CheckSbatchWord("name", plan.file.name));
  RETURN_IF_ERROR(CheckSbatchWord("dir", plan.file.dir));
  RETURN_IF_ERROR(CheckSbatchWord("the folder", folder));
  for (const std::string& text : {slurm.memory, slurm.partition, slurm.account, slurm.time}) {
    RETURN_IF_ERROR(CheckSbatchWord("slurm", text));
  }
  for (const std::string& text : slurm.options) {
    RETURN_IF_ERROR(CheckSbatchWord("slurm.options", text));
  }
  if (absl::StrContains(plan.file.dir, '\\')) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--slurm: dir: '", plan.file.dir,
        "': in a file name with a backslash sbatch replaces no %A, so that all tasks would write "
        "one file; choose another folder"));
  }
  std::string script = "#!/usr/bin/env bash\n";
  const auto option = [&script](absl::string_view name, const auto&... parts) {
    absl::StrAppend(&script, "#SBATCH ", name, SbatchQuote(absl::StrCat(parts...)), "\n");
  };
  option("--job-name=", plan.file.name);
  option("--array=0-", count - 1,
         slurm.at_once > 0 ? absl::StrCat("%", slurm.at_once) : std::string());
  option("--output=", absl::StrReplaceAll(plan.file.dir, {{"%", "%%"}}), "/slurm_%A_%a.txt");
  option("--chdir=", folder);
  option("--nodes=", 1);
  option("--ntasks=", 1);
  option("--cpus-per-task=", slurm.cpus);
  if (cuda && slurm.gpus > 0) option("--gpus-per-node=", slurm.gpus);
  if (!slurm.memory.empty()) option("--mem=", slurm.memory);
  if (!slurm.partition.empty()) option("--partition=", slurm.partition);
  if (!slurm.account.empty()) option("--account=", slurm.account);
  if (!slurm.time.empty()) option("--time=", slurm.time);
  // As the user would write them there.
  for (const std::string& text : slurm.options) absl::StrAppend(&script, "#SBATCH ", text, "\n");
  // The signal comes before the time is up: the run saves, and the task is queued again. (Not
  // SIGTERM, which also comes with scancel.)
  option("--signal=", "B:USR1@120");
  absl::StrAppend(&script, "#SBATCH --requeue\n#SBATCH --open-mode=append\n");
  absl::StrAppend(&script, "set -u\nruns=(\n", runs, ")\nrun=\"${runs[$SLURM_ARRAY_TASK_ID]}\"\n");
  // One task of an array has the array's own number as its SLURM_JOB_ID, which stands for all.
  absl::StrAppend(&script, R"(task="${SLURM_ARRAY_JOB_ID:-}_$SLURM_ARRAY_TASK_ID"
stopping=0
trap 'stopping=1; scancel --signal=TERM "$task"' USR1
# A run is one process, whatever this job was submitted from.
unset RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT
)");
  for (const std::string& line : slurm.setup) absl::StrAppend(&script, line, "\n");
  absl::StrAppend(&script, R"(export OMP_NUM_THREADS="${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}"
rm -f "$run/exit_code"
code=0
if [ $stopping = 0 ]; then
  # What srun itself says goes into the task's output. %% is its word for %.
  srun --mpi=none --output="${run//%/%%}/log.txt" --open-mode=append )",
                  ShellQuote(binary), R"( train "$run/config.yaml" &
  wait $!
  code=$?
  while kill -0 $! 2>/dev/null; do
    wait $!
    code=$?
  done
fi
if [ $stopping = 1 ]; then
  scontrol requeue "$task"
elif [ $code -ne 0 ] && [ $code -ne 129 ] && [ $code -ne 130 ] && [ $code -ne 143 ]; then
  echo $code >"$run/exit_code.new" && mv "$run/exit_code.new" "$run/exit_code"
fi
exit $code
)");
  return script;
}

absl::StatusOr<std::string> SubmitSlurm(const SweepPlan& plan, const std::string& script) {
  const std::string path = plan.file.dir + "/slurm.sh", job_path = plan.file.dir + "/slurm_job";
  if (const absl::StatusOr<std::string> job = ReadFileOf(kNoteFile, job_path); job.ok()) {
    const std::string number(absl::StripAsciiWhitespace(*job));
    const auto queue = OutputOf(absl::StrCat("squeue -h -j ", ShellQuote(number), " 2>/dev/null"));
    if (queue.ok() && !queue->empty()) {
      return absl::FailedPreconditionError(absl::StrCat(
          "--slurm: the sweep's array ", number,
          " is still queued or running; wait for it, or end it with scancel ", number));
    }
  }
  RETURN_IF_ERROR(WriteFileAtomically(path, script));
  const absl::StatusOr<std::string> answer =
      OutputOf(absl::StrCat("sbatch --parsable ", ShellQuote(path), " 2>&1"));
  if (!answer.ok()) {
    return absl::UnavailableError(
        absl::StrCat("sbatch ", path, " failed: ", answer.status().message(),
                     "; the script is written: submit it where Slurm is"));
  }
  const std::string number = answer->substr(0, answer->find(';'));  // "job;cluster"
  RETURN_IF_ERROR(WriteFileAtomically(job_path, number + "\n"));
  return absl::StrCat("Submitted batch job ", number, "; wyvern sweep ", plan.file.path,
                      " --status shows its runs");
}

}  // namespace wyvern
