#include "trainer/inference/eval.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/io/json.h"
#include "data/io/json_members.h"
#include "data/io/output_file.h"
#include "data/sampling/sampler.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/model.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/compute_target.h"
#include "trainer/commands/on_ranks.h"
#include "trainer/config/load.h"
#include "trainer/config/stages.h"
#include "trainer/evaluation/evaluate.h"

namespace wyvern {
namespace {

struct Options {
  std::string checkpoint, data, output;
  std::vector<std::string> tasks;
  ComputeTargetOptions target;
  int64_t batches = 0;
  int64_t batch = 0;    // samples at a time; 0: EvalSamplesAtOnce
  int64_t seq_len = 0;  // 0, nothing: as the checkpoint's run was trained
  std::optional<DocumentBoundary> boundary;
  std::optional<SamplePacking> packing;
  bool json = false;
  // These are of the tasks.
  EncoderOptions encoder;
  ScorerOptions scorer;
  int64_t limit = 0;  // documents of each; 0: all
};

void Print(const Options& options, const EvalResult& result, double seconds) {
  std::printf("loss        %.6f nats per token\nperplexity  %.4f\n", result.loss,
              result.perplexity);
  if (const std::optional<double> bits = result.BitsPerByte()) {
    std::printf("bits        %.6f per byte of the %lld predicted\n", *bits,
                static_cast<long long>(result.num_bytes));
  }
  std::printf("samples     %lld tokens, document boundary %s, packing %s\n",
              static_cast<long long>(options.seq_len), Name(*options.boundary),
              Name(*options.packing));
  std::printf("tokens      %lld, of which %lld predicted; %.0f tokens/s\n",
              static_cast<long long>(result.num_tokens), static_cast<long long>(result.num_targets),
              static_cast<double>(result.num_tokens) / seconds);
  std::printf("\n%-17s %12s %10s\n", "position", "predictions", "loss");
  for (const EvalResult::Bucket& bucket : result.positions) {
    const std::string range = bucket.end - bucket.begin == 1
                                  ? absl::StrCat(bucket.begin)
                                  : absl::StrCat(bucket.begin, " to ", bucket.end - 1);
    std::printf("%-17s %12lld %10.6f\n", range.c_str(), static_cast<long long>(bucket.num_targets),
                bucket.loss);
  }
}

absl::Status CheckData(const Options& options, const Model& model, const TokenStore& store) {
  const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer =
      LoadCheckpointTokenizer(options.checkpoint);
  if (tokenizer.ok()) {
    RETURN_IF_ERROR(store.CheckTokenizer(**tokenizer));
  } else if (!absl::IsNotFound(tokenizer.status())) {
    return tokenizer.status();
  }
  if (store.info().vocab_size > model.config().vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.data, ": its tokenizer has ", store.info().vocab_size,
                     " tokens, the model's vocabulary only ", model.config().vocab_size));
  }
  return absl::OkStatus();
}

// How the run packs the documents of this store.
SamplePacking PackingOf(const RunConfig& config, const std::string& store) {
  const std::string folder = SourceFolder(std::filesystem::path(store).parent_path().string());
  for (const RunSource& source : SourcesOf(config)) {
    if (SourceFolder(source.source.dir) == folder) return source.source.packing;
  }
  for (const ValidationSet& set : config.validation.sets) {
    if (SourceFolder(set.dir) == folder) return set.packing;
  }
  return SamplePacking::kSplit;
}

// Fills in what the user left open from the run that wrote the checkpoint; an imported model has
// none.
absl::Status ResolveSamples(Options* options) {
  ASSIGN_OR_RETURN(const CheckpointInfo info, OpenCheckpointAloud(options->checkpoint));
  options->checkpoint = info.path;  // a run may save another one meanwhile
  RunConfig config;
  const JsonMembers meta(info.meta, absl::StrCat(info.path, "/", kManifestName), "meta");
  if (meta.Has("config")) {
    ASSIGN_OR_RETURN(const std::string text, meta.String("config"));
    ASSIGN_OR_RETURN(config, ParseRunConfig(text, info.path));
  }
  if (options->seq_len == 0) options->seq_len = config.data.seq_len;
  if (!options->boundary.has_value()) options->boundary = config.data.document_boundary;
  if (!options->packing.has_value()) options->packing = PackingOf(config, options->data);
  return absl::OkStatus();
}

absl::StatusOr<EvalResult> EvalData(const Options& options, Model* model) {
  ASSIGN_OR_RETURN(const std::shared_ptr<TokenStore> store, TokenStore::Open(options.data));
  RETURN_IF_ERROR(CheckData(options, *model, *store));
  const SequentialSampler sampler(store, options.seq_len, *options.boundary, *options.packing);
  if (sampler.num_samples() == 0) {
    return absl::InvalidArgumentError(absl::StrCat(options.data, ": nothing to predict, it holds ",
                                                   store->num_tokens(), " tokens"));
  }
  const std::vector<int64_t> samples = EvalSamples(sampler, options.batches);
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, store->MakeStoreTokenizer());
  const TokenBytes bytes(*tokenizer);
  Evaluator evaluator(model, /*mesh=*/nullptr, &bytes);
  const auto at_once =
      static_cast<size_t>(options.batch > 0 ? options.batch : EvalSamplesAtOnce(options.seq_len));
  for (size_t first = 0; first < samples.size(); first += at_once) {
    ASSIGN_OR_RETURN(const Batch batch,
                     sampler.Sample(absl::MakeConstSpan(samples).subspan(first, at_once)));
    evaluator.Add(batch);
  }
  return evaluator.Result();
}

absl::Status CheckLoss(const Options& options, const EvalResult& result) {
  if (std::isfinite(result.loss)) return absl::OkStatus();
  return absl::DataLossError(
      result.num_targets == 0
          ? absl::StrCat("the loss is not a number; ", options.data,
                         ": no document has a second token to predict")
          : absl::StrCat("the loss is not a number; ", options.checkpoint,
                         ": its weights are not finite, or so large that sums overflow; take an "
                         "earlier checkpoint, or import the model anew"));
}

// The results and where they go; on several ranks rank 0 has them alone.
struct Report {
  std::optional<Output> output;
  std::optional<EvalResult> data;
  double data_seconds = 0;
  std::vector<TaskResult> tasks;

  absl::Status Measure(const Options& options, Model* model) {
    if (options.data.empty()) return absl::OkStatus();
    const auto start = std::chrono::steady_clock::now();
    ASSIGN_OR_RETURN(data, EvalData(options, model));
    data_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return absl::OkStatus();
  }

  absl::Status Show(const Options& options) {
    nlohmann::json json = nlohmann::json::object();
    if (data.has_value()) json = data->ToJson();
    if (!tasks.empty()) json.update(ResultsJson(tasks));
    const std::string text = JsonText(json, 2) + "\n";
    if (options.json) {
      std::printf("%s", text.c_str());
    } else {
      if (data.has_value()) Print(options, *data, data_seconds);
      if (data.has_value() && !tasks.empty()) std::printf("\n");
      if (!tasks.empty()) std::printf("%s", ResultsText(tasks).c_str());
    }
    if (output.has_value()) RETURN_IF_ERROR(output->CommitFile(text));
    return data.has_value() ? CheckLoss(options, *data) : absl::OkStatus();
  }
};

absl::StatusOr<Report> OpenReport(Options* options) {
  Report report;
  RETURN_IF_ERROR(ResolveSamples(options));
  if (!options->output.empty()) {
    ASSIGN_OR_RETURN(report.output, ClaimFile(options->output));
  }
  return report;
}

absl::Status RunEval(Options options) {
  ASSIGN_OR_RETURN(Report report, OpenReport(&options));
  ASSIGN_OR_RETURN(const ComputeTarget target, ChooseComputeTarget(options.target));
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                   LoadModel(options.checkpoint, target.device, target.compute));
  RETURN_IF_ERROR(report.Measure(options, model.get()));
  return report.Show(options);
}

// Each rank has this before it scores tasks.
struct Loaded {
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<PreparedTask> tasks;
  std::unique_ptr<Model> model;
};

absl::StatusOr<Loaded> LoadTasks(const Options& options, const std::string& checkpoint) {
  Loaded loaded;
  ASSIGN_OR_RETURN(std::vector<Task> tasks, ReadTasks(options.tasks));
  ASSIGN_OR_RETURN(const ComputeTarget target, ChooseComputeTarget(options.target));
  ASSIGN_OR_RETURN(const CheckpointInfo info, OpenCheckpoint(checkpoint));
  ASSIGN_OR_RETURN(const ModelConfig config, CheckpointModelConfig(info));
  ASSIGN_OR_RETURN(loaded.tokenizer, LoadCheckpointTokenizer(info.path));
  const RequestEncoder encoder(loaded.tokenizer.get(), config.vocab_size, options.encoder);
  ASSIGN_OR_RETURN(loaded.tasks, PrepareTasks(std::move(tasks), options.limit, encoder));
  ASSIGN_OR_RETURN(loaded.model, LoadModel(info.path, target.device, target.compute));
  return loaded;
}

// All ranks have the whole model and divide the tasks' requests; rank 0 measures the loss.
absl::Status RunEvalOnRanks(Options options, World* world) {
  const bool main = world->rank() == 0;
  if (world->size() > 1 && options.target.device != "cpu" && CudaAvailable()) {
    RETURN_IF_ERROR(world->SelectGpu());
  }
  absl::StatusOr<Report> report = main ? OpenReport(&options) : absl::StatusOr<Report>(Report());
  RETURN_IF_ERROR(Agree(world->host(), report.status()));
  const std::string checkpoint = GatherTexts(world->host(), options.checkpoint).front();
  const absl::StatusOr<Loaded> loaded = LoadTasks(options, checkpoint);
  RETURN_IF_ERROR(Agree(world->host(), loaded.status()));
  RETURN_IF_ERROR(Agree(world->host(),
                        main ? report->Measure(options, loaded->model.get()) : absl::OkStatus()));
  Scorer scorer(loaded->model.get(), options.scorer);
  ASSIGN_OR_RETURN(report->tasks,
                   EvaluateTasks(loaded->tasks, &scorer, loaded->tokenizer.get(),
                                 {.index = world->rank(), .count = world->size()}, world->host(),
                                 /*resample=*/main));
  return Agree(world->host(), main ? report->Show(options) : absl::OkStatus());
}

}  // namespace

void AddEvalCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("eval", "Loss and perplexity on a token store; scores of tasks");
  command->add_option("CHECKPOINT", options->checkpoint, kCheckpointHelp)->required();
  auto* const what = command->add_option_group("What to evaluate");
  what->add_option("--data", options->data, "Token store, such as data/text/val.h5");
  auto* const tasks = what->add_option("--tasks", options->tasks,
                                       "Files of tasks in lm-eval's form (docs/evaluation.md)");
  tasks->expected(1, -1);
  what->require_option(1, 2);
  const int64_t most = (int64_t{1} << 31) - 1;  // products of two stay countable
  command
      ->add_option(
          "--batches", options->batches,
          "Batches of 8 samples, spread evenly over the store; default 0: all of it. The same "
          "number as validation.batches gives the same loss.")
      ->check(CLI::Range(int64_t{0}, most));
  command
      ->add_option(
          "--batch", options->batch,
          "Samples at a time, which change the result by rounding alone (as in training: those "
          "of 4096 tokens, at most 8)")
      ->check(CLI::Range(int64_t{1}, most));
  command
      ->add_option("--seq-len", options->seq_len, "Tokens per sample (as in training, else 2048)")
      ->check(CLI::Range(int64_t{1}, most));
  command
      ->add_option_function<std::string>(
          "--document-boundary",
          [options](const std::string& name) {
            options->boundary = name == "none" ? DocumentBoundary::kNone : DocumentBoundary::kReset;
          },
          "reset (state starts anew at each document) or none (as in training, else reset)")
      ->check(CLI::IsMember({"reset", "none"}));
  command
      ->add_option_function<std::string>(
          "--packing",
          [options](const std::string& name) {
            options->packing = name == "whole" ? SamplePacking::kWhole : SamplePacking::kSplit;
          },
          "whole (no document is split) or split (as in training, else split)")
      ->check(CLI::IsMember({"split", "whole"}));
  command->add_flag("--json", options->json, "Print one JSON object instead of a table");
  command->add_option("--output", options->output, "File that gets this object, too");
  command->add_option("--limit", options->limit, "Documents of each task, the first ones (0, all)")
      ->needs(tasks)
      ->check(CLI::Range(int64_t{0}, most));
  command
      ->add_option("--max-length", options->encoder.max_length,
                   "Tokens that the model reads of a task's request at most: contexts are cut from "
                   "the left, long texts divided into windows (0, any number)")
      ->needs(tasks)
      ->check(CLI::Range(int64_t{0}, most));
  command
      ->add_flag("--add-bos", options->encoder.add_bos,
                 "Begin every text of a task with bos, as some imported models need it")
      ->needs(tasks);
  command
      ->add_option("--batch-tokens", options->scorer.tokens_at_once,
                   "Tokens of tasks at a time (4096), which change the results by rounding alone")
      ->needs(tasks)
      ->check(CLI::Range(int64_t{1}, most));
  options->target.AddTo(command);
  command->callback([=] {
    *exit_code = options->tasks.empty()
                     ? ExitCode(RunEval(*options))
                     : OnAllRanks([&](World* world) { return RunEvalOnRanks(*options, world); });
  });
}

}  // namespace wyvern
