#include "trainer/inference/generate.h"

#include <chrono>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>

#include "kernels/runtime/status.h"
#include "trainer/checkpoint/model.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/compute_target.h"
#include "trainer/report/standard_output.h"

namespace wyvern {
namespace {

struct Options {
  std::string checkpoint, prompt;
  ComputeTargetOptions target;
  GenerateOptions generate;
  bool greedy = false;
};

absl::Status RunGenerate(const Options& options) {
  RETURN_IF_ERROR(options.generate.sampling.Validate());
  ASSIGN_OR_RETURN(const ComputeTarget target, ChooseComputeTarget(options.target));
  ASSIGN_OR_RETURN(const CheckpointInfo info, OpenCheckpointAloud(options.checkpoint));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, LoadCheckpointTokenizer(info.path));
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                   LoadModel(info.path, target.device, target.compute));
  std::printf("%s", options.prompt.c_str());
  std::fflush(stdout);
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const GeneratedText generated,
                   GenerateText(model.get(), *tokenizer, options.prompt, options.generate,
                                [](const std::string& piece) {
                                  std::fwrite(piece.data(), 1, piece.size(), stdout);
                                  return FlushOutput().ok();  // else nobody reads the rest
                                }));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("\n");
  std::fflush(stdout);
  std::fprintf(stderr, "%lld tokens in %.2f s, %.1f tokens/s\n",
               static_cast<long long>(generated.num_tokens), seconds.count(),
               static_cast<double>(generated.num_tokens) / seconds.count());
  return absl::OkStatus();
}

}  // namespace

void AddGenerateCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("generate", "Continue a text");
  command
      ->add_option("CHECKPOINT", options->checkpoint,
                   "Checkpoint folder, or a run folder, of which the newest is taken")
      ->required();
  const CLI::Range positive(1, std::numeric_limits<int>::max());
  command->add_option("--prompt", options->prompt, "The text to continue")->required();
  command->add_option("--max-tokens", options->generate.max_tokens, "New tokens (256)")
      ->check(positive);
  SamplingOptions& sampling = options->generate.sampling;
  command->add_option("--temperature", sampling.temperature,
                      "Logits are divided by it (1); 0 is greedy");
  command->add_option("--top-k", sampling.top_k, "Only the k most likely tokens (0, all)");
  command->add_option("--top-p", sampling.top_p,
                      "Only the most likely tokens that reach this probability together (1, all)");
  command->add_option("--seed", sampling.seed, "The same seed gives the same text (1)");
  command->add_flag("--greedy", options->greedy,
                    "Always the most likely token, as --temperature 0");
  command
      ->add_option("--prefill-chunk", options->generate.prefill_chunk,
                   "Prompt tokens per forward (512); fewer need less memory")
      ->check(positive);
  options->target.AddTo(command);
  command->callback([=] {
    if (options->greedy) options->generate.sampling.temperature = 0;
    *exit_code = ExitCode(RunGenerate(*options));
  });
}

}  // namespace wyvern
