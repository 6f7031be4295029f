#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "data/io/terminal.h"
#include "kernels/runtime/status.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/usage.h"
#include "trainer/report/standard_output.h"
#include "trainer/run/stop_signal.h"
#include "trainer/sweep/local_runner.h"
#include "trainer/sweep/plan.h"
#include "trainer/sweep/run_state.h"
#include "trainer/sweep/slurm.h"
#include "trainer/sweep/status_table.h"
#include "trainer/sweep/sweep_folder.h"

namespace wyvern {
namespace {

struct Options {
  std::string path;
  int64_t jobs = 1;
  double rate = 0;
  bool dry_run = false, status = false, slurm = false, prepare = false;
};

void Print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// On a terminal the table is rewritten until no run is in progress any more.
absl::Status ShowStatus(const SweepPlan& plan) {
  const bool live = StdoutIsTerminal();
  for (size_t rows = 0;;) {
    const std::vector<RunState> states = ReadRunStates(plan.runs);
    std::string text = rows > 0 ? "\033[" + std::to_string(rows) + "A\033[J" : "";
    const std::vector<std::string> lines = StatusLines(plan, states, plan.runs.size());
    for (const std::string& line : lines) text += line + "\n";
    rows = lines.size();
    const bool running = std::any_of(states.begin(), states.end(), [](const RunState& state) {
      return state.stage == RunStage::kRunning;
    });
    if (!live || !running) {
      Print(text + FailureText(plan, states));
      return absl::OkStatus();
    }
    Print(text);
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

absl::Status Sweep(const Options& options) {
  ASSIGN_OR_RETURN(const SweepPlan plan, AsUsage(LoadSweep(options.path)));
  if (options.status) return ShowStatus(plan);
  const std::vector<RunState> states = ReadRunStates(plan.runs);
  std::string script;
  if (options.slurm) {
    std::error_code error;
    const std::string binary = std::filesystem::read_symlink("/proc/self/exe", error).string();
    ASSIGN_OR_RETURN(
        script, SlurmScript(plan, states, binary, std::filesystem::current_path(error).string()));
  }
  if (options.dry_run) {
    Print(PlanTable(plan, states, ChooseRate(plan, states, options.rate)));
    if (options.slurm) Print("\n" + script);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(WriteSweepFolder(plan));
  const absl::Status data = PrepareSweepData(plan);
  if (options.prepare) return data;
  if (!options.slurm) {
    OutputIsOnlyALog();
    return RunSweepLocally(plan, options.jobs);
  }
  ASSIGN_OR_RETURN(const std::string answer, SubmitSlurm(plan, script));
  Print(answer + "\n");
  return absl::OkStatus();
}

}  // namespace

void AddSweepCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("sweep", "Train every combination of a sweep's axes, or list them");
  command->add_option("SWEEP", options->path, "YAML file")->required();
  command->add_option("--jobs", options->jobs, "runs at the same time; each with its own GPU")
      ->check(CLI::Range(1, 1024));
  CLI::Option* dry_run =
      command->add_flag("--dry-run", options->dry_run,
                        "list the runs with parameters, FLOPs and hours; print Slurm's script");
  command
      ->add_option("--rate", options->rate,
                   "FLOPs per second of one run, for the hours of --dry-run")
      ->check(CheckPositive)
      ->needs(dry_run);
  CLI::Option* slurm =
      command->add_flag("--slurm", options->slurm, "write and submit a Slurm array");
  command->add_flag("--status", options->status, "show how far the runs are")
      ->excludes(dry_run)
      ->excludes(slurm);
  command
      ->add_flag("--prepare", options->prepare,
                 "write the runs' folders and make their data; `wyvern train DIR/RUN/config.yaml` "
                 "then trains one, whoever starts it")
      ->excludes("--dry-run")
      ->excludes("--status")
      ->excludes(slurm);
  command->callback([=] {
    const StopAtOnce outside_of_runs;
    *exit_code = ExitCode(Sweep(*options));
    const int stopped = StoppedExitCode(StopSignal::Received());
    if (*exit_code != 0 && stopped != 0) *exit_code = stopped;
  });
}

}  // namespace wyvern
