// Sweeps as the program runs them.
#include "absl/strings/str_cat.h"
#include "tests/trainer/sweep/sweep_fixture.h"
#include "trainer/sweep/local_runner.h"
#include "trainer/sweep/run_state.h"
#include "trainer/sweep/slurm.h"
#include "trainer/sweep/status_table.h"

namespace wyvern {
namespace {

using RunSweepTest = SweepTest;

constexpr char kSeeds[] =
    "set: {train.steps: 4, schedule.warmup_steps: 1, checkpoint.every: 0, validation.every: 4}\n"
    "axes: [{list: {run.seed: [1, 2, 3]}}]\n";

TEST_F(RunSweepTest, TrainsEveryRunAndSkipsTheFinishedOnes) {
  const std::string sweep = WriteSweep(kSeeds);
  const ProcessResult dry = Wyvern({"sweep", sweep, "--dry-run", "--rate", "1e9"});
  EXPECT_EQ(dry.exit_code, 0) << dry.err;
  ExpectParts(dry.out, {"seed_1 ", "seed_3 ", "waiting", "0.001 TFLOP/s (given)"});
  EXPECT_FALSE(std::filesystem::exists(Path("sweep")));

  const ProcessResult result = Wyvern({"sweep", sweep, "--jobs", "2"});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  ExpectParts(result.out,
              {"started  seed_1", "finished  seed_3", ": validation loss", "4/4", "3 finished"});
  for (const char* run : {"seed_1", "seed_2", "seed_3"}) {
    EXPECT_EQ(Metrics(Path("sweep/") + run).size(), 5u);
    ExpectParts(Read(Path("sweep/") + run + "/config.yaml"), {absl::StrCat("name: ", run)});
  }
  EXPECT_EQ(Read(Path("sweep/sweep.yaml")), Read(sweep));
  const auto record = nlohmann::json::parse(Read(Path("sweep/sweep.json")));
  EXPECT_EQ(record["runs"][1]["values"]["run.seed"], 2);
  EXPECT_EQ(record["runs"][1]["tokens"], 4 * 256);

  const ProcessResult again = Wyvern({"sweep", sweep});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(again.out.find("started"), std::string::npos) << again.out;
  ExpectParts(Wyvern({"sweep", sweep, "--dry-run"}).out,
              {"measured: the median of 3 runs of this sweep", "finished"});
}

TEST_F(RunSweepTest, PreparesWhatAnotherSchedulerStarts) {
  const std::string sweep = WriteSweep(kSeeds);
  const ProcessResult prepared = Wyvern({"sweep", sweep, "--prepare"});
  EXPECT_EQ(prepared.exit_code, 0) << prepared.err;
  EXPECT_TRUE(std::filesystem::exists(Path("sweep/sweep.json")));
  EXPECT_FALSE(std::filesystem::exists(Path("sweep/seed_2/metrics.jsonl")));
  for (const char* run : {"seed_1", "seed_3"}) {
    EXPECT_EQ(Wyvern({"train", Path(absl::StrCat("sweep/", run, "/config.yaml"))}).exit_code, 0);
  }
  ExpectParts(Wyvern({"sweep", sweep, "--status"}).out, {"2 finished, 1 waiting"});

  const ProcessResult lost =
      Wyvern({"sweep",
              WriteSweep(absl::StrCat("set: {data.sources.0.dir: ", Path("lost"),
                                      ", data.sources.0.text: [", Path("gone.txt"),
                                      "]}\naxes: [{list: {run.seed: [7]}}]\n")),
              "--prepare"});
  EXPECT_EQ(lost.exit_code, 1);
  ExpectParts(lost.err, {"gone.txt"});
}

TEST_F(RunSweepTest, AFailingRunDoesNotStopTheOthers) {
  const std::string sweep = WriteSweep(absl::StrCat(
      "set: {train.steps: 3, schedule.warmup_steps: 1}\naxes:\n  - points:\n"
      "      lost: {data.sources.0.dir: ",
      Path("lost"), ", data.sources.0.text: [", Path("gone.txt"), "]}\n      good: {}\n"));
  const ProcessResult result = Wyvern({"sweep", sweep});
  EXPECT_EQ(result.exit_code, 1);
  ExpectParts(result.out, {"FAILED  lost", "gone.txt", "finished  good", "1 finished, 1 FAILED"});
  ExpectParts(result.err, {"lost: exit code 1: ", "gone.txt", Path("sweep/lost/log.txt")});
  const ProcessResult status = Wyvern({"sweep", sweep, "--status"});
  EXPECT_EQ(status.exit_code, 0);
  ExpectParts(status.out, {"lost FAILED", "good finished", Path("sweep/lost/log.txt")});

  WriteText("gone.txt", SomeText(3, 40));  // the cause is gone, so the same command resumes
  const ProcessResult again = Wyvern({"sweep", sweep});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  ExpectParts(again.out, {"started  lost", "2 finished"});
  EXPECT_EQ(again.out.find("started  good"), std::string::npos);
}

TEST_F(RunSweepTest, AStoppedSweepGoesOnToTheSameLosses) {
  const std::string sweep = WriteSweep(
      "set: {train.steps: 120, checkpoint.every: 20, validation: {every: 0, batches: null}}\n"
      "axes: [{list: {run.seed: [1, 2]}}]\n");
  const Process process = Start({"sweep", sweep});
  ASSERT_TRUE(WaitUntil(
      process, [&] { return std::filesystem::exists(Checkpoint(Path("sweep/seed_1"), 20)); }));
  kill(process.pid, SIGTERM);
  const ProcessResult stopped = Wait(process);
  EXPECT_EQ(stopped.exit_code, 143);
  ExpectParts(stopped.out, {"stopping: the runs save first", "stopped  seed_1"});
  EXPECT_EQ(stopped.out.find("seed_2  ("), std::string::npos) << stopped.out;

  ASSERT_EQ(Wyvern({"sweep", sweep, "--jobs", "2"}).exit_code, 0);
  ASSERT_EQ(Wyvern({"train", Path("sweep/seed_1/config.yaml"), "--set", "run.dir=" + Path("alone")})
                .exit_code,
            0);
  EXPECT_EQ(Metrics(Path("sweep/seed_1")), Metrics(Path("alone")));
}

TEST_F(RunSweepTest, ARunBegunOtherwiseIsNotMixedUp) {
  ASSERT_EQ(Wyvern({"sweep", WriteSweep(kSeeds)}).exit_code, 0);
  const ProcessResult changed =
      Wyvern({"sweep", WriteSweep("set: {train.steps: 9, schedule.warmup_steps: 1, "
                                  "checkpoint.every: 0, validation.every: 4}\n"
                                  "axes: [{list: {run.seed: [1, 4]}}]\n")});
  EXPECT_EQ(changed.exit_code, 1);
  ExpectParts(changed.err, {"1 run was begun with another configuration",
                            Path("sweep/seed_1") + ": train.steps: 4 -> 9"});
  EXPECT_FALSE(std::filesystem::exists(Path("sweep/seed_4")));
}

TEST_F(RunSweepTest, TheSlurmScriptHoldsTheRunsThatAreLeft) {
  const SweepPlan plan = Plan(absl::StrCat(kSeeds,
                                           "slurm: {partition: gpu, cpus: 3, time: "
                                           "\"1:00:00\", at_once: 2, options: "
                                           "[--constraint=h100], setup: [module load x]}"));
  std::vector<RunState> states(3);
  states[1].stage = RunStage::kFinished;
  const auto script = SlurmScript(plan, states, "/opt/my wyvern", "/data");
  ASSERT_TRUE(script.ok()) << script.status();
  ExpectParts(
      *script,
      {"#SBATCH --array=0-1%2\n", "#SBATCH --partition=gpu\n", "#SBATCH --cpus-per-task=3\n",
       "#SBATCH --time=1:00:00\n", "#SBATCH --constraint=h100\n", "#SBATCH --chdir=/data\n",
       "#SBATCH --requeue\n", Path("sweep/seed_1") + "\n  " + Path("sweep/seed_3") + "\n)",
       "module load x\n", " '/opt/my wyvern' train \"$run/config.yaml\" &"});
  EXPECT_EQ(script->find("seed_2"), std::string::npos);
  // A task asks for itself alone, not for SLURM_JOB_ID, which may stand for the whole array.
  ExpectParts(*script, {"scancel --signal=TERM \"$task\"", "scontrol requeue \"$task\""});
  EXPECT_EQ(script->find("SLURM_JOB_ID"), std::string::npos);
  EXPECT_EQ(script->find("gpus"), std::string::npos);  // the runs are on the CPU
  WriteText("script.sh", *script);
  EXPECT_EQ(std::system(absl::StrCat("bash -n ", Path("script.sh")).c_str()), 0);

  // Each task, run as Slurm would, leaves its exit code where the table finds it.
  std::filesystem::create_directories(Path("bin"));
  WriteText("bin/srun", "#!/bin/sh\nexit 7\n");
  std::filesystem::create_directories(Path("sweep/seed_3"));
  std::filesystem::permissions(Path("bin/srun"), std::filesystem::perms::owner_all);
  std::system(
      absl::StrCat("PATH=", Path("bin"), ":$PATH SLURM_ARRAY_TASK_ID=1 bash ", Path("script.sh"))
          .c_str());
  EXPECT_EQ(ReadRunStates(plan.runs)[2].stage, RunStage::kFailed);
  EXPECT_EQ(ReadRunStates(plan.runs)[2].exit_code, 7);

  SweepPlan automatic = plan;
  automatic.device_given = false;
  ExpectParts(std::string(SlurmScript(automatic, states, "x", "/").status().message()),
              {"run.device: auto"});
}

TEST_F(RunSweepTest, TheSlurmScriptQuotesNamesAndRefusesWhatSbatchCannotTake) {
  SweepPlan plan = Plan(kSeeds);
  const std::vector<RunState> states(3);
  plan.file.name = "my \"run\" #1";
  plan.file.dir = Path("50% of it");
  plan.file.slurm.account = "a b";
  const auto script = SlurmScript(plan, states, "/opt/my wyvern", "/my data");
  ASSERT_TRUE(script.ok()) << script.status();
  ExpectParts(*script, {"#SBATCH --job-name=\"my \\\"run\\\" #1\"\n",
                        "#SBATCH --output=\"" + Path("50%% of it") + "/slurm_%A_%a.txt\"\n",
                        "#SBATCH --chdir=\"/my data\"\n", "#SBATCH --account=\"a b\"\n"});
  SweepPlan bad = plan;
  bad.file.name = "two\nlines";
  ExpectParts(std::string(SlurmScript(bad, states, "x", "/").status().message()),
              {"--slurm: name: an sbatch script cannot hold a line break"});
  bad = plan;
  bad.file.slurm.options = {"--comment=x\nrm -r /"};
  ExpectParts(std::string(SlurmScript(bad, states, "x", "/").status().message()),
              {"slurm.options"});
  bad = plan;
  bad.file.dir = "a\\b";
  ExpectParts(std::string(SlurmScript(bad, states, "x", "/").status().message()), {"backslash"});
}

TEST(VisibleDeviceOfSlot, DividesTheGpus) {
  EXPECT_EQ(VisibleDeviceOfSlot(0, "", 1), "");
  EXPECT_EQ(VisibleDeviceOfSlot(0, "", 4), "0");
  EXPECT_EQ(VisibleDeviceOfSlot(5, "", 4), "1");
  EXPECT_EQ(VisibleDeviceOfSlot(1, "3,6", 8), "6");
  EXPECT_EQ(VisibleDeviceOfSlot(2, "3,6", 8), "3");
  EXPECT_EQ(VisibleDeviceOfSlot(1, "3", 8), "");
  EXPECT_EQ(VisibleDeviceOfSlot(1, "GPU-a,GPU-b", 8), "GPU-b");
}

}  // namespace
}  // namespace wyvern
