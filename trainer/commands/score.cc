#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "data/io/output_file.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/chat_record.h"
#include "trainer/checkpoint/model.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/compute_target.h"
#include "trainer/commands/on_ranks.h"
#include "trainer/commands/serve_model.h"
#include "trainer/requests/request.h"
#include "trainer/requests/share.h"

namespace wyvern {
namespace {

struct Options {
  std::string checkpoint, requests = "-", output = "-";
  ComputeTargetOptions target;
  EncoderOptions encoder;
  ModelWorkerOptions worker;
  bool serve = false;
  ServeOptions server;
};

// A checkpoint without its weights.
struct Opened {
  ComputeTarget target;
  std::string checkpoint;
  int64_t vocab_size = 0;
  std::unique_ptr<Tokenizer> tokenizer;  // null: the checkpoint holds none
};

absl::StatusOr<Opened> Open(const Options& options, const CheckpointInfo& info) {
  Opened opened;
  ASSIGN_OR_RETURN(opened.target, ChooseComputeTarget(options.target));
  opened.checkpoint = info.path;
  ASSIGN_OR_RETURN(const ModelConfig config, CheckpointModelConfig(info));
  opened.vocab_size = config.vocab_size;
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = LoadCheckpointTokenizer(info.path);
  if (tokenizer.ok()) {
    opened.tokenizer = *std::move(tokenizer);
  } else if (!absl::IsNotFound(tokenizer.status())) {
    return tokenizer.status();
  }
  return opened;
}

absl::Status Serve(const Options& options) {
  ASSIGN_OR_RETURN(const CheckpointInfo info, OpenCheckpointAloud(options.checkpoint));
  ASSIGN_OR_RETURN(Opened opened, Open(options, info));
  if (opened.tokenizer == nullptr) {
    return absl::NotFoundError(absl::StrCat(info.path,
                                            ": holds no tokenizer, so that no texts can "
                                            "be served"));
  }
  const std::string name =
      std::filesystem::path(AbsolutePath(options.checkpoint)).filename().string();
  ASSIGN_OR_RETURN(ChatOptions chat, CheckpointChat(info, opened.tokenizer.get()));
  ASSIGN_OR_RETURN(const ServedModel served,
                   ServedModel::Make(name, std::move(opened.tokenizer), std::move(chat),
                                     opened.vocab_size, options.encoder));
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                   LoadModel(info.path, opened.target.device, opened.target.compute));
  return ServeModel(served, model.get(), options.server, options.worker);
}

// Rank 0's files, which it alone may have: the checkpoint's folder and the lines of the requests.
struct Inputs {
  std::string checkpoint, lines;
  std::optional<Output> output;
};

absl::StatusOr<Inputs> OpenInputs(const Options& options) {
  Inputs inputs;
  ASSIGN_OR_RETURN(const CheckpointInfo info, OpenCheckpointAloud(options.checkpoint));
  inputs.checkpoint = info.path;  // a run may save another one meanwhile
  if (options.output != "-") {
    ASSIGN_OR_RETURN(inputs.output, ClaimFile(options.output));
  }
  ASSIGN_OR_RETURN(inputs.lines,
                   ReadFile(options.requests == "-" ? "/dev/stdin" : options.requests));
  return inputs;
}

struct RankAnswers {
  std::string lines;
  int64_t tokens_read = 0;
};

absl::StatusOr<RankAnswers> AnswerShare(const Options& options, const std::string& checkpoint,
                                        const std::string& lines, World* world) {
  ASSIGN_OR_RETURN(const CheckpointInfo info, OpenCheckpoint(checkpoint));
  ASSIGN_OR_RETURN(const Opened opened, Open(options, info));
  const RequestEncoder encoder(opened.tokenizer.get(), opened.vocab_size, options.encoder);
  ASSIGN_OR_RETURN(
      std::vector<Request> requests,
      ParseRequests(lines, options.requests == "-" ? "standard input" : options.requests, encoder));
  requests = ShareOfRank(std::move(requests), world->rank(), world->size());
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                   LoadModel(info.path, opened.target.device, opened.target.compute));
  Scorer scorer(model.get(), options.worker.scorer);
  ASSIGN_OR_RETURN(const std::vector<nlohmann::json> answers,
                   Answer(&scorer, encoder.tokenizer(), requests));
  RankAnswers share{.lines = "", .tokens_read = scorer.counts().tokens};
  for (const nlohmann::json& answer : answers) {
    absl::StrAppend(&share.lines, JsonText(answer), "\n");
  }
  return share;
}

absl::Status Score(const Options& options, World* world) {
  const bool main = world->rank() == 0;
  const auto start = std::chrono::steady_clock::now();
  if (world->size() > 1 && options.target.device != "cpu" && CudaAvailable()) {
    RETURN_IF_ERROR(world->SelectGpu());
  }
  absl::StatusOr<Inputs> inputs = main ? OpenInputs(options) : absl::StatusOr<Inputs>(Inputs());
  RETURN_IF_ERROR(Agree(world->host(), inputs.status()));
  const std::string checkpoint = GatherTexts(world->host(), inputs->checkpoint).front();
  const std::string lines = GatherTexts(world->host(), inputs->lines).front();
  const absl::StatusOr<RankAnswers> share = AnswerShare(options, checkpoint, lines, world);
  RETURN_IF_ERROR(Agree(world->host(), share.status()));
  const std::string answers = LinesInOrder(GatherTexts(world->host(), share->lines));
  int64_t tokens_read = 0;
  for (const std::string& of_rank : GatherTexts(world->host(), absl::StrCat(share->tokens_read))) {
    tokens_read += std::stoll(of_rank);
  }
  absl::Status written;
  if (main && inputs->output.has_value()) {
    written = inputs->output->CommitFile(answers);
  } else if (main) {
    std::fwrite(answers.data(), 1, answers.size(), stdout);
  }
  RETURN_IF_ERROR(Agree(world->host(), written));
  if (main) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::fprintf(stderr, "%td requests, %lld tokens read in %.2f s\n",
                 std::count(answers.begin(), answers.end(), '\n'),
                 static_cast<long long>(tokens_read), seconds.count());
  }
  return absl::OkStatus();
}

}  // namespace

void AddScoreCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "score",
      "Log-likelihoods of texts, and what the model writes behind prompts; a server of these");
  command
      ->add_option("CHECKPOINT", options->checkpoint,
                   "Checkpoint folder, or a run folder, of which the newest is taken")
      ->required();
  auto* const requests = command->add_option(
      "REQUESTS", options->requests,
      "File of one request a line, in JSON (docs/evaluation.md); default -: standard input");
  auto* const output =
      command->add_option("--output", options->output,
                          "File that appears when all requests are answered, one line each; "
                          "default -: standard output");
  const int64_t most = std::numeric_limits<int32_t>::max();
  command
      ->add_option("--max-length", options->encoder.max_length,
                   "Tokens that the model reads of a request at most: contexts are cut from the "
                   "left, long texts divided into windows (0, any number)")
      ->check(CLI::Range(int64_t{0}, most));
  command->add_flag("--add-bos", options->encoder.add_bos,
                    "Begin every text with bos, as some imported models need it");
  command
      ->add_option("--batch-tokens", options->worker.scorer.tokens_at_once,
                   "Tokens at a time (4096), which change the results by rounding alone")
      ->check(CLI::Range(int64_t{1}, most));
  auto* const serve = command->add_flag(
      "--serve", options->serve,
      "Answer requests of OpenAI's completions protocol over HTTP until a signal comes");
  serve->excludes(requests)->excludes(output);
  command
      ->add_option("--host", options->server.host,
                   "Address that --serve takes (127.0.0.1, which only this machine reaches)")
      ->needs(serve);
  command->add_option("--port", options->server.port, "Its port (8000); 0: any free one")
      ->needs(serve)
      ->check(CLI::Range(0, 65535));
  command
      ->add_option_function<double>(
          "--time-limit",
          [options](double seconds) {
            options->worker.time_limit = std::chrono::duration<double>(seconds);
          },
          "Seconds after which --serve gives up a request (600)")
      ->needs(serve)
      ->check(CLI::PositiveNumber);
  options->target.AddTo(command);
  command->callback([=] {
    *exit_code = options->serve ? ExitCode(Serve(*options))
                                : OnAllRanks([&](World* world) { return Score(*options, world); });
  });
}

}  // namespace wyvern
