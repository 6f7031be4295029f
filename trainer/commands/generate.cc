#include "trainer/inference/generate.h"

#include <chrono>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "data/io/bounded_file.h"
#include "data/io/json.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/chat_record.h"
#include "trainer/checkpoint/model.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/compute_target.h"
#include "trainer/inference/chat.h"
#include "trainer/report/standard_output.h"

namespace wyvern {
namespace {

struct Options {
  std::string checkpoint, prompt;
  bool is_chat = false;
  std::string messages;  // of a chat: the file of a conversation, in the place of the prompt
  ComputeTargetOptions target;
  GenerateOptions generate;
  bool greedy = false;
};

// The conversation that the model is to continue.
absl::StatusOr<nlohmann::ordered_json> Conversation(const Options& options) {
  using nlohmann::ordered_json;
  if (options.messages.empty()) {
    return ordered_json{
        {"messages", ordered_json::array({{{"role", "user"}, {"content", options.prompt}}})}};
  }
  const std::string path = options.messages == "-" ? "/dev/stdin" : options.messages;
  ASSIGN_OR_RETURN(const std::string text, ReadFileOf(kConversationFile, path));
  ASSIGN_OR_RETURN(ordered_json read, ParseOrderedJson(text, options.messages));
  if (read.is_array()) return ordered_json{{"messages", std::move(read)}};
  return read;
}

absl::StatusOr<std::unique_ptr<ChatTemplate>> TemplateOf(const CheckpointInfo& info,
                                                         const Tokenizer& tokenizer) {
  ASSIGN_OR_RETURN(const ChatOptions chat, CheckpointChat(info, &tokenizer));
  if (!chat.source.empty()) return ChatTemplate::Make(chat);
  return absl::FailedPreconditionError(
      absl::StrCat("--chat: ", info.path,
                   " has no chat template: its run trained on no conversations (format: chat), and "
                   "its tokenizer "
                   "came without one; give the prompt as the model knows it, without --chat"));
}

absl::Status RunGenerate(const Options& options) {
  const bool is_chat = options.is_chat || !options.messages.empty();
  nlohmann::ordered_json conversation;
  if (is_chat) {
    ASSIGN_OR_RETURN(conversation, Conversation(options));
  }
  RETURN_IF_ERROR(options.generate.sampling.Validate());
  ASSIGN_OR_RETURN(const ComputeTarget target, ChooseComputeTarget(options.target));
  ASSIGN_OR_RETURN(const CheckpointInfo info, OpenCheckpointAloud(options.checkpoint));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, LoadCheckpointTokenizer(info.path));
  std::unique_ptr<ChatTemplate> chat;
  if (is_chat) {
    ASSIGN_OR_RETURN(chat, TemplateOf(info, *tokenizer));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                   LoadModel(info.path, target.device, target.compute));
  GenerateOptions generate = options.generate;
  generate.add_bos = CheckpointAddsBos(info);
  if (!is_chat) std::printf("%s", options.prompt.c_str());
  std::fflush(stdout);
  const auto show = [](const std::string& piece) {
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    return FlushOutput().ok();  // else nobody reads the rest
  };
  const auto start = std::chrono::steady_clock::now();
  GeneratedText generated;
  if (is_chat) {
    ASSIGN_OR_RETURN(generated,
                     GenerateTurn(model.get(), *tokenizer, *chat, conversation, generate, show));
  } else {
    ASSIGN_OR_RETURN(generated,
                     GenerateText(model.get(), *tokenizer, options.prompt, generate, show));
  }
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
  command->add_option("CHECKPOINT", options->checkpoint, kCheckpointHelp)->required();
  const CLI::Range positive(1, std::numeric_limits<int>::max());
  auto* prompt = command->add_option("--prompt", options->prompt, "The text to continue");
  command->add_flag("--chat", options->is_chat,
                    "The prompt is a user's message: print the assistant's answer, by the chat "
                    "template of the run or its tokenizer");
  auto* messages =
      command
          ->add_option("--messages", options->messages,
                       "JSON of a conversation to continue so: a list of messages, or an object "
                       "with messages; -: stdin")
          ->excludes(prompt);
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
    if (prompt->count() == 0 && messages->count() == 0) {
      throw CLI::RequiredError("--prompt or --messages");
    }
    if (options->greedy) options->generate.sampling.temperature = 0;
    *exit_code = ExitCode(RunGenerate(*options));
  });
}

}  // namespace wyvern
