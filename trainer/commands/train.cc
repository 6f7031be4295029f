#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "data/io/say.h"
#include "kernels/runtime/gpu.h"
#include "kernels/runtime/host_memory.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/parent_record.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/load_config.h"
#include "trainer/commands/on_ranks.h"
#include "trainer/config/load.h"
#include "trainer/config/stages.h"
#include "trainer/inference/generate.h"
#include "trainer/loop/train_loop.h"
#include "trainer/plan/cost_text.h"
#include "trainer/plan/micro_batch.h"
#include "trainer/report/report.h"
#include "trainer/report/standard_output.h"
#include "trainer/run/preflight.h"
#include "trainer/run/run_plan.h"
#include "trainer/run/stop_signal.h"

namespace wyvern {
namespace {

std::string DeviceText(const RunPlan& plan) {
  return absl::StrCat(plan.device == Device::kCuda ? CurrentGpu().name : "cpu", ", ",
                      plan.compute == DType::kBf16 ? "bf16" : "fp32");
}

std::string MeshText(const RunPlan& plan) {
  const MeshShape& mesh = plan.mesh;
  return absl::StrCat("replicate ", mesh.replicate, " x shard ", mesh.shard, " x context ",
                      mesh.context, mesh.expert == 1 ? "" : absl::StrCat(", expert ", mesh.expert));
}

absl::StatusOr<std::string> Sample(TrainingRun* run) {
  const GenerateSection& section = run->plan().config.generate;
  if (section.prompt.empty()) return std::string();
  GenerateOptions options;
  options.max_tokens = section.tokens;
  options.sampling = section.sampling;
  options.add_bos = run->data().adds_bos;
  ASSIGN_OR_RETURN(const GeneratedText generated,
                   GenerateText(run->model(), *run->data().tokenizer, section.prompt, options));
  return section.prompt + generated.text;
}

bool HasMetrics(const std::string& run_dir) {
  const absl::StatusOr<std::string> text = ReadFileOf(kMetricsFile, run_dir + "/metrics.jsonl");
  return text.ok() && !text->empty();
}

absl::Status Report(TrainingRun* run, const std::string& sample) {
  const RunConfig& config = run->plan().config;
  ReportInput input;
  input.title = config.run.name;
  input.facts = {{"parameters", absl::StrCat(run->model()->num_parameters())},
                 {"device", DeviceText(run->plan())},
                 {"steps", absl::StrCat(run->counters().step)},
                 {"skipped steps", absl::StrCat(run->counters().step - run->counters().updates)},
                 {"configuration", ConfigHash(config)}};
  if (!run->parent().is_null()) input.facts.emplace_back("parent", DescribeParent(run->parent()));
  input.config = ToYaml(config);
  input.sample = sample;
  // None of a run that came into this folder when it was finished: its metrics stayed behind.
  const bool has_steps = run->first_step() < run->counters().step || HasMetrics(config.RunDir());
  if (has_steps) {
    RETURN_IF_ERROR(WriteReport(config.RunDir(), input, config.RunDir() + "/report.html"));
  }
  // For `wyvern report`, later.
  if (!sample.empty()) {
    RETURN_IF_ERROR(WriteFileAtomically(config.RunDir() + "/sample.txt", sample));
  }
  if (!sample.empty()) Say(absl::StrCat("\nsample: ", sample, "\n"));
  const std::string dir = AbsolutePath(config.RunDir());
  Say(absl::StrCat("run folder: ", dir));
  if (has_steps) Say(absl::StrCat("report:     ", dir, "/report.html"));
  const auto& first = run->counters().first_val_loss;
  const auto& last = run->counters().last_val_loss;
  if (first.has_value() && last.has_value() && std::isfinite(*last)) {
    const double percent = 100 * (*first - *last) / *first;
    Say(absl::StrFormat("validation loss: %.4f at the start, %.4f after step %d: %s by %.1f%%",
                        *first, *last, run->counters().step, percent >= 0 ? "fell" : "rose",
                        percent >= 0 ? percent : -percent));
  }
  return absl::OkStatus();
}

// All ranks take part: the sample needs the parameters of each. A sample that fails costs no
// report.
absl::Status Finish(TrainingRun* run, World* world) {
  const absl::StatusOr<std::string> sample = Sample(run);
  const absl::Status sampled = Agree(world->host(), sample.status());
  RETURN_IF_ERROR(Agree(world->host(), world->rank() == 0
                                           ? Report(run, sampled.ok() ? *sample : std::string())
                                           : absl::OkStatus()));
  if (sampled.ok()) return absl::OkStatus();
  return absl::Status(sampled.code(),
                      absl::StrCat("the run is trained and saved; its sample (generate.prompt) "
                                   "failed: ",
                                   sampled.message()));
}

// Bytes that a planned peak of a rank may take, the least of all ranks.
double MemoryOfRank(const RunPlan& plan, World* world) {
  double negated =
      plan.device == Device::kCuda
          ? -PlannedGpuBytes(static_cast<double>(CurrentGpu().total_bytes))
          : -PlannedHostBytes(static_cast<double>(HostMemoryBytes()), world->local_size());
  world->host().AllReduce(&negated, &negated, 1, DType::kFloat64, ReduceOp::kMax);
  return -negated;
}

// `stopped_code`: the exit code, where a signal ended the run before its last step.
absl::Status TrainOnRanks(const absl::StatusOr<RunConfig>& loaded, const std::string& resume,
                          World* world, int* stopped_code) {
  RETURN_IF_ERROR(Agree(world->host(), loaded.status()));
  const RunConfig& config = *loaded;
  const Operation training(absl::StrCat("training in ", config.RunDir()));
  // Before anything that the ranks do together rests on it.
  std::optional<Preflight> preflight;
  if (world->size() > 1) RETURN_IF_ERROR(preflight.emplace(config, world).CheckRanks());
  ASSIGN_OR_RETURN(RunPlan plan, ResolveRunOnRanks(config, world));
  if (config.train.micro_batch == kAutoMicroBatch) {
    const absl::StatusOr<RunConfig> chosen =
        ChooseMicroBatches(config, world->size(), MemoryOfRank(plan, world));
    RETURN_IF_ERROR(Agree(world->host(), chosen.status()));
    ASSIGN_OR_RETURN(plan, ResolveRunOnRanks(*chosen, world));
  }
  std::string start = absl::StrCat(config.run.name, " on ", DeviceText(plan), "\n",
                                   DescribeCost(plan.config, "  ", world->size()));
  if (world->size() > 1) {
    absl::StrAppend(&start, "  ranks             ", world->size(), ": ", MeshText(plan), "\n");
  }
  for (const Stage& stage : plan.stages) {
    const int64_t wanted = StagesOf(config)[static_cast<size_t>(stage.index)].micro_batch;
    if (stage.micro_batch == wanted) continue;
    absl::StrAppend(&start, "  micro batches     ", plan.MicroBatchesOfRank(stage), " of ",
                    stage.micro_batch, " samples at most",
                    stage.name.empty() ? "" : absl::StrCat(" in ", stage.name), "\n");
  }
  if (plan.device == Device::kCuda && CurrentGpu().peak_bf16_flops > 0) {
    absl::StrAppendFormat(
        &start, "  MFU               train FLOPs per second over %.0f TFLOP/s (%s, dense bf16)\n",
        CurrentGpu().peak_bf16_flops / 1e12, CurrentGpu().name);
  }
  Say(absl::StripSuffix(start, "\n"));
  ASSIGN_OR_RETURN(
      const std::unique_ptr<TrainingRun> run,
      TrainingRun::Open(plan, resume, world, preflight.has_value() ? &*preflight : nullptr));
  if (preflight.has_value()) Say(absl::StripSuffix(preflight->Table(), "\n"));
  if (run->finished()) {
    Say(absl::StrCat("this run is finished: all ", run->counters().step, " steps are done (",
                     config.RunDir(), ")",
                     plan.stages.back().DecaySteps() == 0
                         ? ""
                         : "; to train on, branch from a step before the decay: wyvern branch "
                           "RUN@STEP NEW"));
  }
  RETURN_IF_ERROR(run->Run());
  if (!run->finished()) {
    *stopped_code = StoppedExitCode(run->stop_signal(), world->size());
    return absl::OkStatus();  // the run is saved
  }
  return Finish(run.get(), world);
}

int Train(const std::string& path, const std::vector<std::string>& sets,
          const std::string& resume) {
  OutputIsOnlyALog();
  const StopAtOnce outside_of_training;
  const absl::StatusOr<RunConfig> config = LoadConfigAndTasks(path, sets);
  int stopped_code = 0;
  const int code = OnAllRanks(
      config, [&](World* world) { return TrainOnRanks(config, resume, world, &stopped_code); });
  return code == 0 ? stopped_code : code;
}

}  // namespace

void AddTrainCommand(CLI::App& app, int* exit_code) {
  struct Options {
    std::string path, resume = "auto";
    std::vector<std::string> sets;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("train", "Prepare the data, train or resume, evaluate, report");
  command->add_option("CONFIG", options->path, "YAML file")->required();
  command->add_option("--set", options->sets, "key=value: overrides a key of the file");
  command
      ->add_option(
          "--resume", options->resume,
          "auto (the newest checkpoint of the run folder), none, RUN@STEP, a step of the run "
          "folder, or a path")
      ->check([](const std::string& resume) {
        std::error_code error;
        if (resume == "auto" || resume == "none" || resume.find('/') != std::string::npos ||
            std::filesystem::exists(resume, error) || CheckpointPath(resume, ".") != resume) {
          return std::string();  // what is wrong with a path shows where it is read
        }
        return absl::StrCat("'", resume,
                            "' is none of auto, none, RUN@STEP, a step and a checkpoint's folder");
      });
  command->callback([=] { *exit_code = Train(options->path, options->sets, options->resume); });
}

}  // namespace wyvern
